"""Elastic public addresses (EIPs): their states, and where each leads.

    CREATING → UNBIND → BINDING → BIND → UNBINDING → UNBIND → OFFLINING → gone

A change that fails steps back. One that leads to an ENI of no instance is shown as BIND_ENI.
An EIP knows only the private address; that address's ENI is whichever holds it now, so an EIP
follows an address that migrates.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final, NewType

from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.states import IllegalStep

EipId = NewType("EipId", str)


class EipState(StrEnum):
    CREATING = "CREATING"
    UNBIND = "UNBIND"
    BINDING = "BINDING"
    BIND = "BIND"
    UNBINDING = "UNBINDING"
    OFFLINING = "OFFLINING"


_S = EipState

_STEPS: Final = frozenset(
    {
        (_S.CREATING, _S.UNBIND),
        (_S.UNBIND, _S.BINDING),
        (_S.BINDING, _S.BIND),
        (_S.BINDING, _S.UNBIND),
        (_S.BIND, _S.UNBINDING),
        (_S.UNBINDING, _S.UNBIND),
        (_S.UNBINDING, _S.BIND),
        (_S.UNBIND, _S.OFFLINING),
        (_S.OFFLINING, _S.UNBIND),
    }
)
_SETTLED: Final = (_S.UNBIND, _S.BIND)


@dataclass(slots=True, kw_only=True)
class Eip:
    id: EipId
    public_address: IPv4Address
    account: str
    name: str
    provider: str
    charge_type: str
    bandwidth_mbps: int
    tags: dict[str, str]
    created_at: datetime
    state: EipState
    private_address: IPv4Address | None = None  # where it leads, from BINDING to UNBINDING
    is_direct: bool = False

    def step(self, state: EipState) -> None:
        if (self.state, state) not in _STEPS:
            raise IllegalStep(self.state, state)
        self.state = state

    def check_settled(self) -> None:
        """Only one change at a time."""
        if self.state not in _SETTLED:
            raise ApiFailure(Code.EIP_TASK_RUNNING, f"The EIP {self.id} is {self.state}.")
