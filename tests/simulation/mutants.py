"""Wrongs put into the services: the simulation must find each of them.

`python -m tests.simulation mutants` lists which promise each was caught by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import pytest

from services.allocator.adapters.memory_books import Mark, MemoryBooks
from services.allocator.adapters.memory_epochs import MemoryEpochs
from services.allocator.adapters.memory_leases import MemoryLeases
from services.allocator.domain.leases import AcquireStatus, Claim, FencedBy, Lease, Step
from services.allocator.domain.ports import StoreEpoch
from services.allocator.durable_steps import DurableSteps
from services.allocator.takeovers import TakeOvers
from services.node_agent.domain.attachments import Claim as AgentClaim
from services.node_agent.domain.stock import Holding, Stock
from services.node_agent.ledger import Ledger
from shared.addresses import AddressState
from shared.ids import GENERATION_BITS, Generation, Incarnation
from tests.simulation.books import FarJournal
from tests.simulation.memory_book import MemoryBook


@dataclass(frozen=True, slots=True)
class Mutant:
    """One wrong, and how it is put in."""

    what: str
    target: type
    method: str
    wrong: Any
    seed: int | None = None  # of a world that shows it, where few do


async def _not_journaled(self: DurableSteps, leases: Sequence[Lease]) -> None:
    return None


def _hears_the_dead(self: MemoryBooks, fence: FencedBy, _: str | None = None) -> Mark:
    self._check_epoch()
    return self._books.marks.setdefault(fence.node, Mark(Incarnation(fence.incarnation), ""))


async def _everybody_has_ended(self: TakeOvers, lease: Lease, claim: Claim) -> str:
    return "a mutant"


def _holder_is_not_asked(self: MemoryLeases, claim: Claim) -> Step[AcquireStatus]:
    lease = self._books.fixed.get(claim.identity)
    if lease is not None and lease.state is AddressState.BOUND_FIXED:
        return self._bind(replace(lease, node=claim.fence.node), claim)
    return _acquire(self, claim)


_acquire = MemoryLeases._acquire


def _taken_candidate(self: MemoryLeases, claim: Claim) -> Step[AcquireStatus]:
    lease = self._books.fixed.get(claim.identity)
    if lease is not None and lease.state is AddressState.RETAINED and claim.candidate:
        del self._books.fixed[claim.identity]
    return _acquire(self, claim)


async def _older_is_whole(self: MemoryBooks) -> StoreEpoch:
    return StoreEpoch(
        number=self._books.number,
        is_same_server=self._books.opened_on == self._server,
        highest=Generation((1 << 20) << GENERATION_BITS),
    )


def _promises_nothing(self: Ledger, claim: AgentClaim, now: object) -> None:
    self._book.save_claim(claim)
    self.claims[claim.key] = claim


def _forgets(self: MemoryBook, *page: object) -> None:
    self._check()


def _gives_what_is_bound(self: Stock, usable: Any) -> Holding | None:
    for holding in self:
        if holding.eni in usable and holding.state is AddressState.BOUND_IMMEDIATE:
            return holding
    return _choose(self, usable)


_choose = Stock.choose


def _expires_at_once(self: Lease) -> datetime | None:
    waits = self.state in (AddressState.RETAINED, AddressState.PARKED)
    return self.since if waits else None


_EXPIRES_AT_ONCE: Final = property(_expires_at_once)


MUTANTS: Final = (
    Mutant("an answer before the journal", DurableSteps, "make_all_durable", _not_journaled),
    Mutant("late messages are heard", MemoryBooks, "_check", _hears_the_dead),
    Mutant("a living holder gives way", TakeOvers, "_why_ended", _everybody_has_ended),
    Mutant("the holder is not asked", MemoryLeases, "_acquire", _holder_is_not_asked),
    Mutant("the candidate beats the lease", MemoryLeases, "_acquire", _taken_candidate),
    Mutant("an older store is whole", MemoryEpochs, "epoch", _older_is_whole),
    Mutant("a candidate stays stock", Ledger, "open_claim", _promises_nothing),
    Mutant("claims die with the agent", MemoryBook, "save_claim", _forgets),
    Mutant("what is bound is given again", Stock, "choose", _gives_what_is_bound),
    Mutant("a lease ends as soon as its pod goes", Lease, "expires_at", _EXPIRES_AT_ONCE),
    Mutant("a late step is of the next epoch", FarJournal, "write", FarJournal.settle, 16832),
)


def caught_by(
    mutant: Mutant, seeds: Sequence[int], run: Callable[[int], Sequence[str]]
) -> str | None:
    """The first violation that a world with this wrong shows; None: it survives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mutant.target, mutant.method, mutant.wrong)
        for seed in [mutant.seed] if mutant.seed is not None else seeds:
            violations = run(seed)
            if violations:
                return f"seed {seed}: {violations[0]}"
    return None
