"""``address.move`` and ``address.park``: a fixed lease's address changes its place.

Only the lease's journaled ``moving`` step authorises the cloud call: the eni_manager reads the
lease and refuses a move whose generation or target the lease does not name.
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


ADDRESS_MOVE: Final = Endpoint(
    name="address.move",
    server=ServiceName.ENI_MANAGER,
    request=MoveRequest,
    outcome=Moved,
    idempotency_key="identity, generation",
    on_timeout="maybe moved: ask again with the same generation, the lease stays moving",
    timeout_s=20.0,
)
