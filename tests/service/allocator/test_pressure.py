"""A full subnet: the longest retained lease makes way, where that is allowed, and no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.allocator.domain.leases import Lease
from services.allocator.pressure import Pressure
from shared.addresses import AddressState
from shared.clusters import Cluster
from shared.errors import Busy
from shared.messages.leases import RoomMade, RoomRequest
from tests.service.allocator.test_reaper import World, node, world
from tests.support.clusters import enabled_cluster, subnet
from tests.support.lease_requests import SUBNET, NodeVoice

__all__ = ["node", "world"]  # fixtures

LATER = timedelta(seconds=3)


def record(*, is_allowed: bool) -> Cluster:
    return enabled_cluster(subnet(SUBNET, reclaims=is_allowed))


class Asking:
    def __init__(self, world: World, found: Cluster | None) -> None:
        self.world = world
        self.pressure = Pressure(world.store, world.steps, lambda: found, world.clocks)

    async def ask(self, count: int = 1, of: str = SUBNET) -> RoomMade:
        return await self.pressure.make_room(
            RoomRequest(
                deadline=datetime(2030, 1, 1, tzinfo=UTC),
                node="node-9",
                subnets=(of,),
                count=count,
            )
        )


async def three(world: World, by: NodeVoice) -> list[Lease]:
    """Retained one after the other."""
    leases = []
    for number in range(3):
        leases.append(await world.gone(by, f"web-{number}", f"10.0.0.{10 + number}"))
        world.clocks.passed += timedelta(seconds=1)
    return leases


async def test_the_longest_retained_makes_way_journaled_and_told(
    world: World, node: NodeVoice
) -> None:
    first, second, third = await three(world, node)
    asking = Asking(world, record(is_allowed=True))

    made = await asking.ask(count=2)

    assert made.ended == (first.address, second.address)
    kept = await world.store.find(third.identity)
    ended = await world.store.find(first.identity)
    assert kept == third
    assert ended is not None
    assert ended.state is AddressState.EXPIRED
    assert ended in [lease async for lease in world.journal.leases()]
    assert world.events[0].reason is not None
    assert "subnet subnet-a is full, and pods wait on node node-9" in world.events[0].reason


async def test_what_made_way_is_handed_over_like_any_expired_lease(
    world: World, node: NodeVoice
) -> None:
    await three(world, node)
    await Asking(world, record(is_allowed=True)).ask()

    await world.reaper.round()

    assert [str(lease.address) for lease in world.reclaimed] == ["10.0.0.10"]
    assert await world.states() == [AddressState.RETAINED] * 2


@pytest.mark.parametrize("found", [None, record(is_allowed=False)])
async def test_nobody_makes_way_where_the_subnet_does_not_allow_it(
    world: World, node: NodeVoice, found: Cluster | None
) -> None:
    await three(world, node)

    made = await Asking(world, found).ask()

    assert made.ended == ()
    assert await world.states() == [AddressState.RETAINED] * 3


async def test_leases_of_other_subnets_stay(world: World, node: NodeVoice) -> None:
    await three(world, node)

    assert (await Asking(world, record(is_allowed=True)).ask(of="subnet-b")).ended == ()


async def test_a_lease_that_a_pod_has_never_makes_way(world: World, node: NodeVoice) -> None:
    await world.store.acquire(node.claim("web-0", candidate="10.0.0.9"))

    assert (await Asking(world, record(is_allowed=True)).ask()).ended == ()
    assert await world.states() == [AddressState.BOUND_FIXED]


async def test_who_asks_again_at_once_is_told_to_wait(world: World, node: NodeVoice) -> None:
    await three(world, node)
    asking = Asking(world, record(is_allowed=True))
    await asking.ask()

    with pytest.raises(Busy):
        await asking.ask()
    world.clocks.passed += LATER
    made = await asking.ask()

    assert [str(address) for address in made.ended] == ["10.0.0.11"]
