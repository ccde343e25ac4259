"""The table of address states, cell by cell."""

from __future__ import annotations

from itertools import product

import pytest

from shared.addresses import (
    AddressState,
    IllegalStep,
    Owner,
    Step,
    after,
    changes_owner,
    owner_of,
)

S = AddressState
T = Step

TABLE = {
    (S.ASSIGNING, T.OFFER_ACCEPTED): S.STOCK,
    (S.ASSIGNING, T.UNASSIGN): S.UNASSIGNING,
    (S.STOCK, T.BIND_IMMEDIATE): S.BOUND_IMMEDIATE,
    (S.STOCK, T.PROMISE): S.PROMISED,
    (S.STOCK, T.RECALL): S.UNASSIGNING,
    (S.BOUND_IMMEDIATE, T.COOL): S.COOLING,
    (S.COOLING, T.REST): S.STOCK,
    (S.PROMISED, T.FIX): S.BOUND_FIXED,
    (S.PROMISED, T.WITHDRAW): S.STOCK,
    (S.BOUND_FIXED, T.RETAIN): S.RETAINED,
    (S.BOUND_FIXED, T.TAKE_OVER): S.MOVING,
    (S.RETAINED, T.REBIND): S.BOUND_FIXED,
    (S.RETAINED, T.MOVE): S.MOVING,
    (S.RETAINED, T.EXPIRE): S.EXPIRED,
    (S.PARKED, T.MOVE): S.MOVING,
    (S.PARKED, T.EXPIRE): S.EXPIRED,
    (S.MOVING, T.ARRIVE): S.RETAINED,
    (S.MOVING, T.PARK): S.PARKED,
    (S.BOUND_FIXED, T.VACATE): S.PARKED,
    (S.RETAINED, T.VACATE): S.PARKED,
    (S.EXPIRED, T.REUSE): S.STOCK,
    (S.EXPIRED, T.UNASSIGN): S.UNASSIGNING,
    (S.UNASSIGNING, T.UNASSIGNED): S.GONE,
} | {(state, T.QUARANTINE): S.QUARANTINED for state in S if state is not S.GONE}

HANDED_OVER = {
    (S.ASSIGNING, T.OFFER_ACCEPTED),
    (S.STOCK, T.RECALL),
    (S.PROMISED, T.FIX),
    (S.RETAINED, T.EXPIRE),
    (S.PARKED, T.EXPIRE),
    (S.EXPIRED, T.REUSE),
    (S.UNASSIGNING, T.UNASSIGNED),
} | {
    (state, T.QUARANTINE)
    for state in S
    if state not in (S.GONE, S.ASSIGNING, S.EXPIRED, S.UNASSIGNING, S.QUARANTINED)
}


@pytest.mark.parametrize(("state", "step"), TABLE)
def test_a_step_of_the_table_leads_where_it_says(state: S, step: T) -> None:
    assert after(state, step) is TABLE[state, step]


@pytest.mark.parametrize(
    ("state", "step"), [each for each in product(S, T) if each not in TABLE]
)
def test_any_other_step_is_a_bug(state: S, step: T) -> None:
    with pytest.raises(IllegalStep, match=f"no step {step} from {state}"):
        after(state, step)


@pytest.mark.parametrize(("state", "step"), TABLE)
def test_addresses_change_hands_at_these_steps_only(state: S, step: T) -> None:
    assert changes_owner(state, step) == ((state, step) in HANDED_OVER)


@pytest.mark.parametrize("state", S)
def test_every_state_but_gone_has_one_owner(state: S) -> None:
    assert (owner_of(state) is None) == (state is S.GONE)


@pytest.mark.parametrize("state", [S.BOUND_FIXED, S.RETAINED, S.MOVING, S.PARKED])
def test_a_fixed_lease_owns_its_address_until_it_expires(state: S) -> None:
    assert owner_of(state) is Owner.LEASE


def test_nothing_is_given_out_from_quarantine() -> None:
    ways_out = {step for state, step in TABLE if state is S.QUARANTINED}

    assert ways_out == {T.QUARANTINE}
