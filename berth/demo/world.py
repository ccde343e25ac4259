"""What bus and cloud say: nodes, subnets, leases, inventories, and the cloud's own state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, TypeVar

import aiohttp
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from berth.commands.lease import fetch_leases
from berth.commands.node import fetch_nodes
from berth.commands.options import deadline_of
from berth.playground.state import PlaygroundState
from shared.bus.client import BusClient
from shared.errors import TryLater, Unavailable
from shared.ids import NodeName, PodName
from shared.messages.clusters import SUBNET_LIST, NodeView, SubnetListRequest, SubnetView
from shared.messages.leases import LeaseView
from shared.messages.nodes import AGENT_INVENTORY, Inventory, InventoryRequest

CLOUD_TIMEOUT_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.2

Seen = TypeVar("Seen")


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class CloudAddress(_Shape):
    state: str
    primary: bool


class CloudEni(_Shape):
    id: str
    subnet: str
    state: str
    primary: bool
    instance: str | None
    addresses: dict[IPv4Address, CloudAddress]


class CloudSubnet(_Shape):
    id: str
    cidr: IPv4Network
    zone: str
    gateway: IPv4Address


class CloudState(_Shape):
    """The simulated cloud's whole state, as its administrator sees it."""

    subnets: list[CloudSubnet]
    enis: list[CloudEni]
    broken_rules: list[str]

    def eni_with(self, address: IPv4Address) -> CloudEni | None:
        return next((eni for eni in self.enis if address in eni.addresses), None)

    def subnet_with(self, address: IPv4Address) -> CloudSubnet | None:
        return next((subnet for subnet in self.subnets if address in subnet.cidr), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Questions to everybody who holds a book of addresses."""

    state: PlaygroundState
    bus: BusClient
    http: aiohttp.ClientSession

    async def nodes(self) -> list[NodeView]:
        return await fetch_nodes(self.bus)

    async def subnets(self) -> list[SubnetView]:
        request = SubnetListRequest(deadline=deadline_of(SUBNET_LIST))
        return (await self.bus.call(SUBNET_LIST, request)).subnets

    async def leases(self) -> list[LeaseView]:
        return await fetch_leases(self.bus)

    async def lease_of(self, pod: PodName) -> LeaseView | None:
        for lease in await fetch_leases(self.bus, namespace=pod.namespace):
            if lease.identity is not None and lease.identity.name == pod.name:
                return lease
        return None

    async def inventory(self, node: NodeName) -> Inventory:
        request = InventoryRequest(node=node, deadline=deadline_of(AGENT_INVENTORY))
        return await self.bus.call(AGENT_INVENTORY, request, node)

    async def cloud(self) -> CloudState:
        """Raises Unavailable when the cloud does not answer."""
        token = _admin_token(self.state.cloud_secret_file)
        try:
            async with self.http.get(
                f"{self.state.cloud_url}/admin/state",
                headers={"Authorization": f"Bearer {token}"},
                timeout=aiohttp.ClientTimeout(total=CLOUD_TIMEOUT_S),
            ) as response:
                body = await response.read()
                if response.status != 200:
                    said = body.decode("utf-8", "replace")[:200]
                    raise Unavailable(f"cloud: status {response.status}: {said}")
                return CloudState.model_validate_json(body)
        except (TimeoutError, aiohttp.ClientError, ValidationError) as error:
            raise Unavailable(f"cloud {self.state.cloud_url}: {error!r}") from error


async def until(
    look: Callable[[], Awaitable[Seen]],
    is_wanted: Callable[[Seen], bool],
    *,
    timeout_s: float,
) -> tuple[Seen, bool]:
    """Look again until it is as wanted or the time is up: what was seen last, and whether."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        try:
            seen = await look()
        except TryLater:
            if loop.time() > deadline:
                raise
        else:
            if is_wanted(seen):
                return seen, True
            if loop.time() > deadline:
                return seen, False
        await asyncio.sleep(_LOOK_AGAIN_S)


def _admin_token(file: Path) -> str:
    document: object = yaml.safe_load(file.read_text(encoding="utf-8"))
    token = document.get("admin_token") if isinstance(document, dict) else None
    if not isinstance(token, str):
        raise Unavailable(f"{file}: holds no admin_token")
    return token
