"""What a cloud tells that is not so: looks are answered out of a copy of it.

A lie changes nothing that is. Calls that change something are judged by the truth.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from typing import Final

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.enis import Eni
from services.vpc_simulator.model.states import TaskStatus
from services.vpc_simulator.weather import Fault, FaultKind

LIES: Final = frozenset({FaultKind.STALE, FaultKind.PREMATURE, FaultKind.GAPS})
_EVERY: Final = 2  # one of so many is left out


def as_of_now(cloud: Cloud) -> Cloud:
    """What becomes of it later is not seen here."""
    return deepcopy(cloud)


def told(cloud: Cloud, fault: Fault | None, *, now: datetime) -> Cloud:
    """The cloud that a look is answered out of: as it is, but for lies."""
    match fault:
        case Fault(kind=FaultKind.STALE, earlier=Cloud() as earlier):
            return earlier
        case Fault(kind=FaultKind.PREMATURE):
            return _with_all_done(deepcopy(cloud), now)
        case Fault(kind=FaultKind.GAPS):
            return _with_gaps(deepcopy(cloud))
    return cloud


def _with_all_done(cloud: Cloud, now: datetime) -> Cloud:
    for task in list(cloud.tasks):
        if task.status is TaskStatus.RUNNING:
            cloud.complete(task.id, now=now)
    return cloud


def _with_gaps(cloud: Cloud) -> Cloud:
    """Without every other secondary ENI, and every other secondary address of the rest."""
    secondary = [each for each in cloud.enis.values() if not each.is_primary]
    for eni in secondary[1::_EVERY]:
        del cloud.enis[eni.id]
    for eni in secondary[::_EVERY]:
        _leave_addresses_out(eni)
    return cloud


def _leave_addresses_out(eni: Eni) -> None:
    secondary = [each.address for each in eni.addresses.values() if not each.is_primary]
    for address in secondary[::_EVERY]:
        del eni.addresses[address]
