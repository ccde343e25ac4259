"""The table of address states: who owns an address in each, and every step there is (pure).

    assigning → stock → bound_immediate → cooling → stock
                stock → promised → bound_fixed | stock
    bound_fixed → retained ⇄ moving ⇄ parked;  retained → bound_fixed;  bound_fixed → moving
    bound_fixed | retained → parked (their node is gone for ever)
    retained | parked → expired → stock | unassigning → gone
    stock → unassigning (a recall);  assigning → unassigning (an offer nobody took)
    any → quarantined (in doubt: kept back, with a reason)

A step that is not in the table is a bug and raises. Ownership changes hands only at the steps
that `changes_owner` names, each of them an acknowledged message, never a time-out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class AddressState(StrEnum):
    ASSIGNING = "assigning"
    STOCK = "stock"
    PROMISED = "promised"
    BOUND_IMMEDIATE = "bound_immediate"
    COOLING = "cooling"
    BOUND_FIXED = "bound_fixed"
    RETAINED = "retained"
    MOVING = "moving"
    PARKED = "parked"
    EXPIRED = "expired"
    UNASSIGNING = "unassigning"
    GONE = "gone"
    QUARANTINED = "quarantined"


class Owner(StrEnum):
    """Exactly one of these owns an assigned address at any moment."""

    AGENT = "agent"
    LEASE = "lease"
    ENI_MANAGER = "eni_manager"


class Step(StrEnum):
    OFFER_ACCEPTED = "offer_accepted"
    BIND_IMMEDIATE = "bind_immediate"
    COOL = "cool"
    REST = "rest"
    PROMISE = "promise"
    WITHDRAW = "withdraw"  # the promise came to nothing: the candidate stays stock
    FIX = "fix"
    RETAIN = "retain"
    REBIND = "rebind"
    MOVE = "move"
    TAKE_OVER = "take_over"  # its holder, on another node, has ended without a word
    VACATE = "vacate"  # its node is gone for ever
    ARRIVE = "arrive"
    PARK = "park"
    EXPIRE = "expire"
    REUSE = "reuse"  # an expired lease's address is offered to its node again
    RECALL = "recall"
    UNASSIGN = "unassign"
    UNASSIGNED = "unassigned"
    QUARANTINE = "quarantine"


_S = AddressState

_STEPS: Final[dict[tuple[AddressState, Step], AddressState]] = {
    (_S.ASSIGNING, Step.OFFER_ACCEPTED): _S.STOCK,
    (_S.ASSIGNING, Step.UNASSIGN): _S.UNASSIGNING,
    (_S.STOCK, Step.BIND_IMMEDIATE): _S.BOUND_IMMEDIATE,
    (_S.STOCK, Step.PROMISE): _S.PROMISED,
    (_S.STOCK, Step.RECALL): _S.UNASSIGNING,
    (_S.BOUND_IMMEDIATE, Step.COOL): _S.COOLING,
    (_S.COOLING, Step.REST): _S.STOCK,
    (_S.PROMISED, Step.FIX): _S.BOUND_FIXED,
    (_S.PROMISED, Step.WITHDRAW): _S.STOCK,
    (_S.BOUND_FIXED, Step.RETAIN): _S.RETAINED,
    (_S.RETAINED, Step.REBIND): _S.BOUND_FIXED,
    (_S.BOUND_FIXED, Step.TAKE_OVER): _S.MOVING,
    (_S.RETAINED, Step.MOVE): _S.MOVING,
    (_S.PARKED, Step.MOVE): _S.MOVING,
    (_S.MOVING, Step.ARRIVE): _S.RETAINED,
    (_S.MOVING, Step.PARK): _S.PARKED,
    (_S.BOUND_FIXED, Step.VACATE): _S.PARKED,
    (_S.RETAINED, Step.VACATE): _S.PARKED,
    (_S.RETAINED, Step.EXPIRE): _S.EXPIRED,
    (_S.PARKED, Step.EXPIRE): _S.EXPIRED,
    (_S.EXPIRED, Step.REUSE): _S.STOCK,
    (_S.EXPIRED, Step.UNASSIGN): _S.UNASSIGNING,
    (_S.UNASSIGNING, Step.UNASSIGNED): _S.GONE,
}

_OWNERS: Final[dict[AddressState, Owner]] = {
    _S.ASSIGNING: Owner.ENI_MANAGER,
    _S.STOCK: Owner.AGENT,
    _S.PROMISED: Owner.AGENT,
    _S.BOUND_IMMEDIATE: Owner.AGENT,
    _S.COOLING: Owner.AGENT,
    _S.BOUND_FIXED: Owner.LEASE,
    _S.RETAINED: Owner.LEASE,
    _S.MOVING: Owner.LEASE,
    _S.PARKED: Owner.LEASE,
    _S.EXPIRED: Owner.ENI_MANAGER,
    _S.UNASSIGNING: Owner.ENI_MANAGER,
    _S.QUARANTINED: Owner.ENI_MANAGER,
}


class IllegalStep(AssertionError):
    """A step that the table does not hold: a bug, never an input error."""

    def __init__(self, state: AddressState, step: Step) -> None:
        super().__init__(f"no step {step} from {state}")


def after(state: AddressState, step: Step) -> AddressState:
    """The state that a step leads to. Raises IllegalStep for one that is not in the table."""
    if step is Step.QUARANTINE and state is not AddressState.GONE:
        return AddressState.QUARANTINED
    try:
        return _STEPS[state, step]
    except KeyError:
        raise IllegalStep(state, step) from None


def owner_of(state: AddressState) -> Owner | None:
    """Who owns an address in this state; None once it is gone."""
    return _OWNERS.get(state)


def changes_owner(state: AddressState, step: Step) -> bool:
    """Whether this step hands the address to somebody else."""
    return owner_of(state) != owner_of(after(state, step))
