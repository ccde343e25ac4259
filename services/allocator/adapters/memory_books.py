"""The books of leases in memory, by the same rules as the scripts, said in Python.

It is the model that the real store is compared with, so it knows nothing of Redis: a dictionary
of leases, a server whose identity changes when it restarts, and the fence of each node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address

from services.allocator.domain.leases import FencedBy, Lease, Status, Step, unheard
from services.allocator.domain.ports import ReportedView
from shared.errors import BerthError, EpochLost
from shared.ids import Generation, Identity, Incarnation, NodeName, generation


@dataclass(slots=True)
class Mark:
    """What is known of one node's agent."""

    incarnation: Incarnation
    nonce: str
    low: int = 1
    ended: dict[str, int] = field(default_factory=dict)  # attachment, its release
    last_report: int = 0


@dataclass(slots=True)
class Books:
    """Everything a server keeps, and loses when it is emptied."""

    number: int = 0
    opened_on: int = 0
    counter: int = 0
    claim: int = 0
    claimed_on: int = 0
    fixed: dict[Identity, Lease] = field(default_factory=dict)
    unjournaled: dict[Identity, Generation] = field(default_factory=dict)
    put_off: dict[Identity, datetime] = field(default_factory=dict)  # what the reaper took
    marks: dict[NodeName, Mark] = field(default_factory=dict)
    gone: set[NodeName] = field(default_factory=set)  # for ever, unless they register
    reported: dict[NodeName, dict[IPv4Address, ReportedView]] = field(default_factory=dict)


class MemoryBooks:
    """One process' view of a store in memory."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._books = Books()
        self._server = 1
        self._number: int | None = None

    def restart(self) -> None:
        """Another life of the server, with its data."""
        self._server += 1

    def copy(self) -> Books:
        """What a snapshot of the server holds."""
        return deepcopy(self._books)

    def go_back(self, books: Books) -> None:
        """Another server, started from an older snapshot."""
        self._books = books
        self._server += 1

    def empty(self) -> None:
        """The data is gone, the server is the same."""
        self._books = Books()

    def use_epoch(self, number: int | None) -> None:
        self._number = number

    async def now(self) -> datetime:
        return self._now()

    async def journaled(self, steps: Sequence[Lease]) -> None:
        for step in steps:
            if self._books.unjournaled.get(step.identity) == step.generation:
                del self._books.unjournaled[step.identity]

    async def unjournaled(self, limit: int) -> list[Lease]:
        marked = [each for each in self._books.unjournaled if each in self._books.fixed]
        return [self._books.fixed[identity] for identity in marked[:limit]]

    async def find(self, identity: Identity) -> Lease | None:
        return self._books.fixed.get(identity)

    async def leases(self, cursor: int, limit: int) -> tuple[int, list[Lease]]:
        page = list(self._books.fixed.values())[cursor : cursor + limit]
        following = cursor + limit
        return (following if following < len(self._books.fixed) else 0), page

    async def nodes(self) -> list[NodeName]:
        return sorted(self._books.marks)

    async def knows(self, node: NodeName) -> bool:
        return node in self._books.marks

    async def reported(self, node: NodeName) -> list[ReportedView]:
        return list(self._books.reported.get(node, {}).values())

    def _keep(
        self, status: Status, lease: Lease, *, since: datetime | None = None
    ) -> Step[Status]:
        # Every step: a new generation, and a mark that it is not in the journal yet.
        books = self._books
        books.counter += 1
        kept = replace(
            lease,
            generation=generation(books.number, books.counter),
            since=since or self._now(),
        )
        books.fixed[lease.identity] = kept
        books.unjournaled[lease.identity] = kept.generation
        books.put_off.pop(lease.identity, None)
        return Step(status=status, lease=kept, is_journaled=False)

    def _as_is(self, status: Status, lease: Lease) -> Step[Status]:
        is_journaled = lease.identity not in self._books.unjournaled
        return Step(status=status, lease=lease, is_journaled=is_journaled)

    def _check_epoch(self) -> None:
        books = self._books
        is_open = books.number == self._number and books.opened_on == self._server
        if self._number is None or not is_open:
            raise EpochLost(f"epoch {self._number} is not open here")

    def _check(self, fence: FencedBy, attachment: str | None = None) -> Mark:
        self._check_epoch()
        mark = self._books.marks.get(fence.node)
        if mark is None or fence.incarnation > mark.incarnation:
            raise refusal("unregistered", fence)
        if fence.incarnation < mark.incarnation or fence.sequence < mark.low:
            raise refusal("stale", fence)
        if attachment is not None and fence.sequence < mark.ended.get(attachment, 0):
            raise refusal("stale", fence)
        mark.low = max(mark.low, fence.lowest_unsettled)
        return mark


def refusal(status: str, fence: FencedBy) -> BerthError:
    error = unheard(status, fence)
    assert error is not None, f"{status} is a reason not to be heard"
    return error
