"""A refusal tells the person who waits: which address, who has it, where, what happens next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.allocator.domain.leases import AcquireStatus, refusal_of, unheard
from shared.addresses import AddressState
from shared.errors import (
    EpochLost,
    HolderAlive,
    LeaseInUse,
    Moving,
    NotRegistered,
    Stale,
    StockEmpty,
    TryLater,
)
from shared.ids import Incarnation, NodeName
from tests.support.lease_requests import NodeVoice
from tests.unit.allocator.test_codec import BOUND, MOVING

VOICE = NodeVoice("node-1", Incarnation(3))


def test_a_living_holder_is_named() -> None:
    error = refusal_of(AcquireStatus.HOLDER_ALIVE, VOICE.claim("web-0"), BOUND)

    assert isinstance(error, HolderAlive)
    for part in ("10.0.0.9", "uid-1", "10.0.0.2", "12:00:00", "until that pod has ended"):
        assert part in str(error)


def test_an_address_on_its_way_elsewhere_says_where() -> None:
    error = refusal_of(AcquireStatus.MOVING, VOICE.claim("web-0"), MOVING)

    assert isinstance(error, Moving)
    for part in ("10.0.0.9", "node-2", "node-1", "12:00:00"):
        assert part in str(error)


def test_a_node_without_stock_is_named() -> None:
    error = refusal_of(AcquireStatus.NO_CANDIDATE, VOICE.claim("web-0"), None)

    assert isinstance(error, StockEmpty)
    assert "node-1" in str(error)


def test_a_candidate_of_two_books_is_named() -> None:
    claim = VOICE.claim("web-0", candidate="10.0.0.7")

    error = refusal_of(AcquireStatus.CANDIDATE_TAKEN, claim, None)

    assert isinstance(error, LeaseInUse)
    assert "10.0.0.7" in str(error)


def test_an_expired_lease_may_be_asked_for_later() -> None:
    expired = replace(BOUND, state=AddressState.EXPIRED)

    error = refusal_of(AcquireStatus.EXPIRING, VOICE.claim("web-0"), expired)

    assert isinstance(error, TryLater)
    assert "expired" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [("epoch_lost", EpochLost), ("stale", Stale), ("unregistered", NotRegistered)],
)
def test_a_request_that_is_not_heard_is_told_why(status: str, kind: type[Exception]) -> None:
    assert isinstance(unheard(status, VOICE.fence()), kind)


def test_an_outcome_is_not_a_reason_to_refuse() -> None:
    assert unheard(AcquireStatus.BOUND, VOICE.fence()) is None


def test_a_stale_request_is_told_its_own_numbers() -> None:
    fence = replace(VOICE.fence(), sequence=17, node=NodeName("node-9"))

    assert "node node-9: incarnation 3 sequence 17" in str(unheard("stale", fence))
