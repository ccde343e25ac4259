"""The states of an ENI, an address and an instance, and every step there is between them.

    ENI:      PENDING → AVAILABLE ⇄ ATTACHING | DETACHING;  AVAILABLE → DELETING → gone
    address:  PENDING → AVAILABLE ⇄ MIGRATING;  AVAILABLE → DELETING → gone
    instance: RUNNING → STOPPING → STOPPED → STARTING → RUNNING;  either → TERMINATING → gone

An attached, settled ENI is AVAILABLE again: its attachment tells it apart. A change that
fails steps back to where it came from. A step that is not in a table is a bug and raises.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class EniState(StrEnum):
    PENDING = "PENDING"
    AVAILABLE = "AVAILABLE"
    ATTACHING = "ATTACHING"
    DETACHING = "DETACHING"
    DELETING = "DELETING"


class AddressState(StrEnum):
    PENDING = "PENDING"
    AVAILABLE = "AVAILABLE"
    MIGRATING = "MIGRATING"
    DELETING = "DELETING"


class InstanceState(StrEnum):
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    STARTING = "STARTING"
    TERMINATING = "TERMINATING"


class TaskStatus(StrEnum):
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


_E = EniState
_A = AddressState
_I = InstanceState

_ENI_STEPS: Final = frozenset(
    {
        (_E.PENDING, _E.AVAILABLE),
        (_E.AVAILABLE, _E.ATTACHING),
        (_E.ATTACHING, _E.AVAILABLE),
        (_E.AVAILABLE, _E.DETACHING),
        (_E.DETACHING, _E.AVAILABLE),
        (_E.AVAILABLE, _E.DELETING),
        (_E.DELETING, _E.AVAILABLE),
    }
)
_ADDRESS_STEPS: Final = frozenset(
    {
        (_A.PENDING, _A.AVAILABLE),
        (_A.AVAILABLE, _A.MIGRATING),
        (_A.MIGRATING, _A.AVAILABLE),
        (_A.AVAILABLE, _A.DELETING),
        (_A.DELETING, _A.AVAILABLE),
    }
)
_INSTANCE_STEPS: Final = frozenset(
    {
        (_I.RUNNING, _I.STOPPING),
        (_I.STOPPING, _I.STOPPED),
        (_I.STOPPING, _I.RUNNING),
        (_I.STOPPED, _I.STARTING),
        (_I.STARTING, _I.RUNNING),
        (_I.STARTING, _I.STOPPED),
        (_I.RUNNING, _I.TERMINATING),
        (_I.STOPPED, _I.TERMINATING),
        (_I.TERMINATING, _I.RUNNING),
        (_I.TERMINATING, _I.STOPPED),
    }
)


class IllegalStep(AssertionError):
    """A step that the tables do not hold: a bug, never a caller's mistake."""

    def __init__(self, before: StrEnum, after: StrEnum) -> None:
        super().__init__(f"no step from {before} to {after}")


def eni_step(before: EniState, after: EniState) -> EniState:
    """`after`, if an ENI may go there from `before`."""
    if (before, after) not in _ENI_STEPS:
        raise IllegalStep(before, after)
    return after


def address_step(before: AddressState, after: AddressState) -> AddressState:
    """`after`, if an address may go there from `before`."""
    if (before, after) not in _ADDRESS_STEPS:
        raise IllegalStep(before, after)
    return after


def instance_step(before: InstanceState, after: InstanceState) -> InstanceState:
    """`after`, if an instance may go there from `before`."""
    if (before, after) not in _INSTANCE_STEPS:
        raise IllegalStep(before, after)
    return after
