"""What an import is about: another component's objects and pods, and the cloud's addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from berth.commands.options import deadline_of
from berth.imported_pods import LivePod
from berth.imports import Found
from shared.bus.client import BusClient
from shared.messages.subnet_uses import SUBNET_USES, AddressUse, SubnetUsesRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterObjects:
    objects: Sequence[Found]
    pods: Sequence[LivePod]


async def read_uses(bus: BusClient, subnets: Sequence[str]) -> dict[IPv4Address, AddressUse]:
    """Every address of these subnets that is not free at the cloud."""
    found: dict[IPv4Address, AddressUse] = {}
    for subnet in subnets:
        after: IPv4Address | None = None
        while True:
            request = SubnetUsesRequest(
                subnet=subnet, after=after, deadline=deadline_of(SUBNET_USES)
            )
            page = await bus.call(SUBNET_USES, request)
            found |= {each.address: each for each in page.uses}
            if page.is_last or not page.uses:
                break
            after = page.uses[-1].address
    return found
