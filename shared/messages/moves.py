"""``address.move``, ``.park`` and ``.reclaim``: a fixed lease's address changes place or owner.

Only a journaled step of the lease authorises what the eni_manager does: it reads the lease, and
refuses what is not asked in the very generation that it finds there.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Final, Literal

from pydantic import Field

from .base import Endpoint, EniFields, IdentityFields, Message, Name, Request, ServiceName


class MoveRequest(Request):
    """Bring the address to an ENI of `to_node`, in the subnet it belongs to."""

    type: Literal["berth.v1.move_request"] = "berth.v1.move_request"
    identity: IdentityFields
    address: IPv4Address
    subnet: Name
    from_eni: str | None  # None: parked, or its place is not known
    to_node: Name
    generation: Annotated[int, Field(ge=1)]  # of the lease's moving step


class Moved(Message):
    """The cloud says so: the address works on this ENI and nowhere else."""

    type: Literal["berth.v1.moved"] = "berth.v1.moved"
    address: IPv4Address
    eni: EniFields
    generation: Annotated[int, Field(ge=1)]


class ParkRequest(Request):
    """Its pod went: take the address, or the ENI that is wholly its, off the node; keep it."""

    type: Literal["berth.v1.park_request"] = "berth.v1.park_request"
    identity: IdentityFields
    address: IPv4Address
    eni: Name
    node: Name
    generation: Annotated[int, Field(ge=1)]  # of the lease's step to nowhere


class Parked(Message):
    """The cloud says so: no node has it, and nobody else can."""

    type: Literal["berth.v1.parked"] = "berth.v1.parked"
    address: IPv4Address
    generation: Annotated[int, Field(ge=1)]


class ReclaimRequest(Request):
    """The lease has expired: the eni_manager is to own its address again."""

    type: Literal["berth.v1.reclaim_request"] = "berth.v1.reclaim_request"
    identity: IdentityFields
    address: IPv4Address
    node: Name | None = None  # where the lease says it is; None: parked, on `eni`
    generation: Annotated[int, Field(ge=1)]  # of the lease's expired step
    eni: Name | None = None


class Reclaimed(Message):
    """Written down: nobody is offered the address before its lease is forgotten."""

    type: Literal["berth.v1.reclaimed"] = "berth.v1.reclaimed"
    address: IPv4Address
    generation: Annotated[int, Field(ge=1)]


ADDRESS_MOVE: Final = Endpoint(
    name="address.move",
    server=ServiceName.ENI_MANAGER,
    request=MoveRequest,
    outcome=Moved,
    idempotency_key="identity, generation",
    on_timeout="maybe moved: ask again with the same generation, the lease stays moving",
    timeout_s=20.0,
)
ADDRESS_PARK: Final = Endpoint(
    name="address.park",
    server=ServiceName.ENI_MANAGER,
    request=ParkRequest,
    outcome=Parked,
    idempotency_key="identity, generation",
    on_timeout="maybe parked: ask again with the same generation, the lease stays moving",
    timeout_s=20.0,
)
ADDRESS_RECLAIM: Final = Endpoint(
    name="address.reclaim",
    server=ServiceName.ENI_MANAGER,
    request=ReclaimRequest,
    outcome=Reclaimed,
    idempotency_key="identity, generation",
    on_timeout="maybe taken: ask again with the same generation, the lease stays expired",
    timeout_s=8.0,
)
