"""Fixed leases: one question per attachment, asked until there is a definite answer.

No answer means *maybe bound*: the candidate stays promised and the same key is asked again,
through crashes and reboots. A release follows only a definite answer. After a refusal the
candidate stays promised until a later request has told the store that the question is dead.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from typing import Final, TypeVar

from shared.annotations import NOMINATED_IP, NetworkMode
from shared.clock import Clock
from shared.errors import (
    BerthError,
    Busy,
    ErrorCode,
    InvalidInput,
    LeaseInUse,
    NoAnswer,
    StockEmpty,
    TryLater,
    Unavailable,
    error_of,
)
from shared.ids import AttachmentKey, EniId, Generation, NodeName
from shared.messages.base import AttachmentFields, IdentityFields, WorkloadFields
from shared.messages.leases import (
    LEASE_ACQUIRE,
    POOL_SLOTS_MAX,
    Acquired,
    AcquireRequest,
    Candidate,
    PoolFields,
)
from shared.runtime.backoff import backoff_s
from shared.runtime.loops import cancel
from shared.runtime.pulse import Pulse

from .bus import Bus, Signals
from .domain.attachments import CandidateAddress, Claim, ClaimPhase
from .failures import Failures, Wish
from .ledger import Ledger
from .links import NodeLinks
from .registration import DEAD_LIFE, Registration, Row

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_WAIT_S: Final = 0.02
_LONGEST_WAIT_S: Final = 0.5

# Maybe bound: the same question again, for as long as it takes.
_INDEFINITE: Final = frozenset(
    {
        ErrorCode.UNAVAILABLE,
        ErrorCode.STORAGE_FULL,  # of the journal: it may be bound in the store
        ErrorCode.BUSY,
        ErrorCode.EPOCH_LOST,
        ErrorCode.INTERNAL,
    }
)
# Not bound, and likely to be soon: asked again while the ADD waits, as a new question.
_SOON: Final = frozenset({ErrorCode.MOVING, ErrorCode.HOLDER_ALIVE, ErrorCode.STOCK_EMPTY})


class FixedLeases:
    """Acquires; the outbox releases."""

    def __init__(
        self,
        *,
        bus: Bus,
        ledger: Ledger,
        registration: Registration,
        clock: Clock,
        rng: random.Random,
        node: NodeName,
        links: NodeLinks,
        failures: Failures,
        learn_eni: Callable[[Acquired], None],
        signals: Signals,
    ) -> None:
        self._bus = bus
        self._ledger = ledger
        self._registration = registration
        self._clock = clock
        self._rng = rng
        self._node = node
        self._links = links
        self._failures = failures
        self._learn_eni = learn_eni
        self._signals = signals
        self._asking: dict[AttachmentKey, asyncio.Task[Claim]] = {}
        self._waiting: dict[AttachmentKey, datetime] = {}  # until when an ADD listens
        self._starving: set[AttachmentKey] = set()  # told that there is no lease yet
        self._said: dict[AttachmentKey, BerthError] = {}  # why there is no lease yet
        self._dead_below: dict[AttachmentKey, tuple[Row, int]] = {}
        self.settled = Pulse()

    def resume(self) -> None:
        """Ask again what an earlier life of this agent left without an answer."""
        for claim in list(self._ledger.claims.values()):
            if (
                claim.phase is ClaimPhase.BOUND
                and self._ledger.attachments.get(claim.key) is None
            ):
                self.abandon(claim)  # its sandbox went with the boot, or was never wired
            if claim.phase is ClaimPhase.ACQUIRING:
                # The ADD that asked is long gone: its runtime will ask or delete again.
                self._start(self._ledger.change_claim(replace(claim, is_abandoned=True)))

    async def aclose(self) -> None:
        await cancel(self._asking.values())

    async def acquire(self, wanted: Claim, deadline: datetime) -> Claim:
        """The bound claim. Past the deadline: Unavailable, and the question goes on alone."""
        key = wanted.key
        await self._wait_for_predecessors(wanted, deadline)
        self._waiting[key] = deadline
        try:
            claim = self._ledger.claims.get(key)
            if claim is not None and claim.phase is ClaimPhase.BOUND:
                return claim
            if claim is None:
                await self._registration.wait_row(self._left_s(deadline))
                # A whole ENI is promised only once it is known that there is no lease: one that
                # comes here needs the slot that a candidate would hold.
                is_shared = wanted.mode is NetworkMode.SHARED
                claim = self._with_candidate(wanted) if is_shared else wanted
                self._ledger.open_claim(claim, self._clock.now())
            elif claim.is_abandoned:
                claim = self._ledger.change_claim(replace(claim, is_abandoned=False))
            task = self._asking.get(key) or self._start(claim)
            return await self._wait(key, task, deadline)
        finally:
            self._waiting.pop(key, None)
            self._said.pop(key, None)
            self._starving.discard(key)

    def starving(self) -> Counter[Wish]:
        """Pods that wait for an idle address to become their lease."""
        claims = (self._ledger.claims.get(key) for key in self._starving)
        return Counter(_wish(it) for it in claims if it is not None and it.candidate is None)

    def abandon(self, claim: Claim) -> None:
        """A DEL came. What is bound is released; what is asked is released once answered."""
        if claim.phase is ClaimPhase.BOUND:
            self._ledger.change_claim(replace(claim, phase=ClaimPhase.RELEASING))
            self._signals.outbox.set()
        elif claim.phase is ClaimPhase.ACQUIRING and not claim.is_abandoned:
            self._ledger.change_claim(replace(claim, is_abandoned=True))

    def dying(self, row: Row, lowest_unsettled: int) -> list[Claim]:
        """Refused questions that cannot act once the store knows this low-water mark."""
        return [
            claim
            for claim in self._ledger.claims.values()
            if claim.phase is ClaimPhase.WITHDRAWING
            and self._is_below(claim, row, lowest_unsettled)
        ]

    def _is_below(self, claim: Claim, row: Row, lowest_unsettled: int) -> bool:
        asked = self._dead_below.get(claim.key)
        # Of an earlier life: that whole life is dead to the store.
        return asked is None or asked[0] is not row or asked[1] < lowest_unsettled

    def heard(self, dead: Iterable[Claim], leased: Container[IPv4Address]) -> None:
        """The store knows that these are dead. A candidate that is a lease's by now became one
        by a copy of its question whose answer was lost: it is not this node's any more."""
        for claim in dead:
            if self._ledger.claims.get(claim.key) is not claim:
                continue  # asked again meanwhile
            self._dead_below.pop(claim.key, None)
            for address in withdrawn_of(claim):
                if address in leased:
                    self._ledger.lose_candidate(address)
            self._ledger.drop_claim(claim, self._clock.now())
            self._signals.stock_changed.give()
            self.settled.give()

    @property
    def is_settling(self) -> bool:
        """Whether an otherwise empty report is worth sending."""
        return any(c.phase is ClaimPhase.WITHDRAWING for c in self._ledger.claims.values())

    async def _wait_for_predecessors(self, wanted: Claim, deadline: datetime) -> None:
        # The pod's predecessor on this node was unwired: say so before asking for its address.
        while self._ledger.has_unsettled_before(wanted):
            self._signals.outbox.set()
            if not await self.settled.wait(self._left_s(deadline)):
                raise Unavailable(
                    f"{wanted.identity}: what its last pod left is not yet settled with the"
                    " allocator"
                )

    def _with_candidate(self, wanted: Claim) -> Claim:
        if wanted.nominated is not None:
            chosen = self._ledger.idle(wanted.nominated)
        else:
            is_shared = wanted.mode is NetworkMode.SHARED
            chosen = self._ledger.choose(
                self._links if is_shared else self._links.exclusive, wanted.subnets
            )
        if chosen is None:
            return wanted
        subnet = self._ledger.enis[chosen.eni].subnet
        candidate = CandidateAddress(address=chosen.address, eni=chosen.eni, subnet=subnet)
        return replace(wanted, candidate=candidate)

    def _no_lease(self, claim: Claim) -> StockEmpty:
        if claim.subnets:
            return self._failures.no_address(_wish(claim))
        problem = self._failures.node_problem
        why = f": {problem}" if problem else ""
        return StockEmpty(
            f"no lease yet, and nothing idle on this node: more was asked for{why}"
        )

    def _start(self, claim: Claim) -> asyncio.Task[Claim]:
        task = asyncio.create_task(self._settle(claim.key), name=f"claim {claim.key}")
        self._asking[claim.key] = task

        def ended(task: asyncio.Task[Claim]) -> None:
            self._asking.pop(claim.key, None)
            if not task.cancelled() and isinstance(task.exception(), BerthError):
                log.info("not acquired", extra={"error": str(task.exception())})

        task.add_done_callback(ended)
        return task

    async def _wait(
        self, key: AttachmentKey, task: asyncio.Task[Claim], deadline: datetime
    ) -> Claim:
        done, _ = await asyncio.wait({task}, timeout=self._left_s(deadline))
        if not done and key in self._starving:
            raise self._no_lease(self._ledger.claims[key])
        if not done:
            raise self._no_answer_yet(key)
        return task.result()

    def _no_answer_yet(self, key: AttachmentKey) -> BerthError:
        """What an allocator, or whoever it asked, said it waits for; asking goes on."""
        said = self._said.get(key)
        if said is None:
            return Unavailable("no allocator has answered yet; asking goes on")
        code = said.code if isinstance(said, TryLater) else ErrorCode.UNAVAILABLE
        return error_of(code, f"{said}; asking goes on")

    async def _settle(self, key: AttachmentKey) -> Claim:
        """Ask until the answer is definite. Raises it when it is a refusal."""
        waits = backoff_s(self._rng, first_s=_FIRST_WAIT_S, longest_s=_LONGEST_WAIT_S)
        while self._ledger.has_unsettled_before(self._ledger.claims[key]):
            await self.settled.wait(_LONGEST_WAIT_S)
        row = await self._row()
        sequence = row.open()
        while True:
            claim = self._ledger.claims[key]
            try:
                acquired = await self._ask(claim, row, sequence)
            except BerthError as error:
                self._note(key, error)
                if error.code in DEAD_LIFE:
                    self._registration.lose(row)
                elif error.code not in _INDEFINITE:
                    row.settle(sequence)
                    await self._keep(partial(self._check_nominated, key, row, sequence, error))
                    if error.code not in _SOON or not self._is_awaited(key):
                        await self._keep(partial(self._refused, key, row, sequence))
                        raise
                    sequence = row.open()
                    if error.code is ErrorCode.STOCK_EMPTY and await self._keep(
                        partial(self._try_candidate, key)
                    ):
                        continue
            else:
                row.settle(sequence)
                self._learn_eni(acquired)
                if acquired.note is not None:
                    log.warning("not as the pod asked", extra={"note": acquired.note})
                return await self._keep(partial(self._bound, key, acquired))
            await self._pause(next(waits))
            current = await self._row()
            if current is not row:
                row, sequence = current, current.open()

    async def _keep(self, write: Callable[[], T]) -> T:
        """Until the book has room for it: nobody else would ask for this answer again."""
        waits = backoff_s(self._rng, first_s=_FIRST_WAIT_S, longest_s=_LONGEST_WAIT_S)
        while True:
            try:
                return write()
            except Unavailable as error:
                log.warning("an answer cannot be kept yet", extra={"error": str(error)})
                await self._pause(next(waits))

    def _note(self, key: AttachmentKey, error: BerthError) -> None:
        """Silence does not make a reason untrue."""
        if self._is_awaited(key) and not (isinstance(error, NoAnswer) and key in self._said):
            self._said[key] = error

    async def _row(self) -> Row:
        while True:
            try:
                return await self._registration.wait_row(_LONGEST_WAIT_S)
            except Unavailable:
                continue

    async def _pause(self, wait_s: float) -> None:
        await self._signals.stock_changed.wait(max(wait_s, 0.001))

    def _try_candidate(self, key: AttachmentKey) -> bool:
        """Stock may have come since: a question without a candidate gets one."""
        claim = self._ledger.claims[key]
        if claim.candidate is not None:
            return False
        better = self._with_candidate(claim)
        if better.candidate is None and claim.nominated is not None:
            return False
        if better.candidate is None:
            self._starving.add(key)
            self._signals.want.set()
            return False
        self._ledger.open_claim(better, self._clock.now())
        return True

    def _check_nominated(
        self, key: AttachmentKey, row: Row, sequence: int, error: BerthError
    ) -> None:
        """There is no lease, and the address that the pod names is used by another pod here."""
        used = self._ledger.used_of(self._ledger.claims[key])
        if error.code is not ErrorCode.STOCK_EMPTY or used is None:
            return
        self._refused(key, row, sequence)
        user = self._ledger.users.get(used.address)
        pod = "another" if user is None or user.pod is None else user.pod
        raise LeaseInUse(
            f"{NOMINATED_IP} of {self._ledger.claims[key].identity}: {used.address} is"
            f" {used.state} on this node since {used.since:%H:%M:%S} (pod {pod}): nominate"
            " another, or try again once it has rested"
        ) from error

    def _is_awaited(self, key: AttachmentKey) -> bool:
        until = self._waiting.get(key)
        return until is not None and until > self._clock.now()

    async def _ask(self, claim: Claim, row: Row, sequence: int) -> Acquired:
        candidate = claim.candidate
        return await self._bus.call(
            LEASE_ACQUIRE,
            AcquireRequest(
                deadline=self._clock.now() + timedelta(seconds=LEASE_ACQUIRE.timeout_s),
                node=self._node,
                fence=row.fence(sequence),
                identity=IdentityFields.of(claim.identity),
                attachment=AttachmentFields.of(claim.key),
                pod_uid=claim.pod_uid,
                policy=claim.policy,
                is_exclusive=claim.mode is NetworkMode.EXCLUSIVE,
                expires_after=claim.expires_after,
                nominated=claim.nominated if self._ledger.used_of(claim) is None else None,
                nominated_subnets=claim.subnets,
                candidate=None
                if candidate is None
                else Candidate(
                    address=candidate.address, eni=candidate.eni, subnet=candidate.subnet
                ),
                workload=_workload(claim),
                pool=self._pool(claim),
            ),
            self._node,
        )

    def _pool(self, claim: Claim) -> PoolFields | None:
        if claim.pods_max is None:
            return None
        if claim.pods_max > POOL_SLOTS_MAX:
            raise InvalidInput.of(
                f"pods of {claim.workload}", claim.pods_max, f"at most {POOL_SLOTS_MAX}"
            )
        usable = self._links.names  # an ENI of its own is made in a subnet of those too
        subnets = {eni.subnet for eni in self._ledger.enis.values() if eni.eni in usable}
        return PoolFields(size=claim.pods_max, subnets=tuple(sorted(subnets)))

    def _bound(self, key: AttachmentKey, acquired: Acquired) -> Claim:
        claim = self._ledger.claims[key]
        bound = replace(
            claim,
            identity=acquired.identity.to_identity() if acquired.identity else claim.identity,
            phase=ClaimPhase.RELEASING if claim.is_abandoned else ClaimPhase.BOUND,
            address=acquired.address,
            eni=EniId(acquired.eni),
            generation=Generation(acquired.generation),
        )
        if self._ledger.is_superseded(bound):
            self._ledger.drop_claim(bound, self._clock.now())
            self.settled.give()
            raise Busy(f"{claim.key}: {bound.address} went to a later sandbox of its pod")
        try:
            self._ledger.fix(
                bound, is_candidate_taken=acquired.candidate_taken, now=self._clock.now()
            )
        except LeaseInUse:  # an Immediate pod has it here: two books disagree, nobody wins
            self._ledger.change_claim(replace(bound, phase=ClaimPhase.RELEASING))
            self._signals.outbox.set()
            raise
        if bound.phase is ClaimPhase.RELEASING:
            self._signals.outbox.set()
        self._signals.stock_changed.give()
        self.settled.give()
        return bound

    def _refused(self, key: AttachmentKey, row: Row, sequence: int) -> None:
        self._dead_below[key] = (row, sequence)
        self._ledger.change_claim(
            replace(self._ledger.claims[key], phase=ClaimPhase.WITHDRAWING)
        )
        self._signals.outbox.set()

    def _left_s(self, deadline: datetime) -> float:
        return max(0.0, (deadline - self._clock.now()).total_seconds())


def withdrawn_of(claim: Claim) -> list[IPv4Address]:
    """What a refused question would give back."""
    candidate = None if claim.candidate is None else claim.candidate.address
    return [address for address in (candidate, claim.nominated) if address is not None]


def _wish(claim: Claim) -> Wish:
    return Wish(mode=claim.mode, subnets=claim.subnets)


def _workload(claim: Claim) -> WorkloadFields | None:
    made_by = claim.workload
    return WorkloadFields(kind=made_by.kind, name=made_by.name) if made_by is not None else None
