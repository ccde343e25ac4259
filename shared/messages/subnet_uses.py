"""``subnet.uses``: who has which address of a container subnet, page by page."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Final, Literal

from pydantic import Field

from .base import Endpoint, Message, Name, Request, ServiceName

USES_PER_PAGE_MAX: Final = 100  # as many ENIs as the cloud describes at once


class SubnetUsesRequest(Request):
    """A page of the addresses that are not free, in their order."""

    type: Literal["berth.v1.subnet_uses_request"] = "berth.v1.subnet_uses_request"
    subnet: Name
    after: IPv4Address | None = None  # those that come after it
    limit: Annotated[int, Field(ge=1, le=USES_PER_PAGE_MAX)] = USES_PER_PAGE_MAX


class AddressUse(Message):
    """An address that somebody has at the cloud."""

    address: IPv4Address
    kind: str  # ENI, RESERVE, CLB, … as the cloud calls it
    resource: str = ""  # the id of what has it, where the cloud tells
    is_ours: bool = False  # an ENI that carries this cluster's tags
    instance: Name | None = None  # that the ENI is on
    node: Name | None = None  # that runs there, where we know it
    is_given: bool = False  # to the node's agent, or to a lease: pods may have it


class SubnetUsesListed(Message):
    type: Literal["berth.v1.subnet_uses_listed"] = "berth.v1.subnet_uses_listed"
    uses: Annotated[tuple[AddressUse, ...], Field(max_length=USES_PER_PAGE_MAX)]
    is_last: bool  # no address comes after these


SUBNET_USES: Final = Endpoint(
    name="subnet.uses",
    server=ServiceName.ENI_MANAGER,
    request=SubnetUsesRequest,
    outcome=SubnetUsesListed,
    idempotency_key="none: it reads",
    on_timeout="ask again: a look at a large subnet takes longer than a call",
    timeout_s=60.0,
    attempt_s=10.0,
)
