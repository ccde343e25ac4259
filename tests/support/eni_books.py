"""Whether the books agree: what the cloud has, the store says, agents and leases own."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

from services.eni_manager.adapters.redis_enis import RedisEniStore
from services.eni_manager.domain.records import Hold, NodeImage, Purpose
from services.eni_manager.eni_tags import TAG_PURPOSE
from shared.clock import SystemClock
from shared.store.keys import lease_key
from tests.support.eni_world import CLUSTER, EniWorld
from tests.support.standin_agent import StandInAgent


async def images(world: EniWorld) -> list[NodeImage]:
    store = RedisEniStore(world.redis, cluster=CLUSTER, owner="reader", clock=SystemClock())
    return [await store.load(node) for node in await store.load_nodes()]


async def cloud_enis(world: EniWorld) -> dict[str, tuple[str | None, frozenset[str]]]:
    """Secondary ENIs of ours: the instance, and the pod addresses. Of one that a pod has as a
    whole that is its own."""
    enis: dict[str, tuple[str | None, frozenset[str]]] = {}
    while True:
        found = await world.cloud.call(
            "DescribeNetworkInterfaces",
            Filters=[{"Name": "tag:berth-cluster", "Values": [CLUSTER]}],
            Limit=100,
            Offset=len(enis),
        )
        for each in found.NetworkInterfaceSet:  # type: ignore[attr-defined]
            enis[each.NetworkInterfaceId] = (
                each.Attachment.InstanceId if each.Attachment else None,
                frozenset(
                    it.PrivateIpAddress
                    for it in each.PrivateIpAddressSet
                    if it.Primary is _is_whole(each)
                ),
            )
        if len(enis) >= found.TotalCount:  # type: ignore[attr-defined]
            return enis


async def disagreements(
    world: EniWorld, agents: Sequence[StandInAgent], *, parked: frozenset[str] = frozenset()
) -> list[str]:
    """Empty when cloud = store, nothing is an orphan or under way, and each address has one
    owner. `parked` addresses are held on ENIs that no node uses, or reserved."""
    told: list[str] = []
    at_cloud = await cloud_enis(world)
    booked: dict[str, frozenset[str]] = {}
    for image in await images(world):
        for record in (*image.secondary(), *image.whole()):
            booked[record.eni] = frozenset(str(it.address) for it in image.on(record.eni))
        told += [f"unfinished: {each}" for each in image.intents.values()]
        told += [
            f"held: {each}" for each in image.addresses.values() if each.hold is not Hold.GIVEN
        ]
    for eni, (instance, addresses) in at_cloud.items():
        if instance is None and not (addresses and addresses <= parked):
            told.append(f"{eni} is detached and carries {sorted(addresses)}")
        if instance is not None and booked.get(eni) != addresses:
            told.append(f"{eni}: cloud {sorted(addresses)}, store {booked.get(eni)}")
    told += [f"{eni} is in the store alone" for eni in booked if eni not in at_cloud]
    owned = [str(address) for agent in agents for address in agent.owned]
    leased = await _leased(world)
    every = sorted(it for _, addresses in at_cloud.values() for it in addresses)
    here = [each for each in leased if each not in parked]
    if every != sorted([*owned, *here, *(parked & set(every))]):
        told.append(f"cloud {every}, agents {sorted(owned)}, leases {leased}")
    return told


def live(agents: Sequence[StandInAgent]) -> set[IPv4Address]:
    """Addresses that pods use."""
    return {address for agent in agents for address in agent.bound}


def _is_whole(eni: Any) -> bool:
    return any(
        (each.Key, each.Value) == (TAG_PURPOSE, Purpose.EXCLUSIVE) for each in eni.TagSet or ()
    )


async def _leased(world: EniWorld) -> list[str]:
    fields: list[bytes] = await world.redis.hkeys(lease_key(CLUSTER, "addresses"))  # type: ignore[assignment] # redis-py types both its clients at once
    return [field.decode() for field in fields]
