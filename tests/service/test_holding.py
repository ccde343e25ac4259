"""A node full of retained addresses and a pod that waits: one makes way, and stays its lease's.

Allocator, eni_manager, bus, store and cloud are real; only the nodes' agents stand in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from tencentcloud.common.exception import TencentCloudSDKException

from services.eni_manager.domain.records import Hold
from shared.addresses import AddressState
from shared.capacities import CloudCalls
from shared.errors import TryLater
from shared.messages.base import IdentityFields
from shared.messages.leases import LEASE_FORGET, Acquired, LeaseForgetRequest
from tests.service.test_eni_manager_capacities import set_capacity
from tests.support.allocator_beside import allocator
from tests.support.allocators import identity
from tests.support.clusters import enabled_cluster
from tests.support.eni_books import disagreements
from tests.support.eni_world import EniWorld, eni_world, eventually
from tests.support.fixed_pods import FixedPods
from tests.support.servers import NatsServer, RedisServer

QUICK: dict[str, object] = {"reap_interval_s": 0.05, "reap_retry_s": 0.3}
ROOM = 3  # pod addresses of the one secondary ENI that an instance may have


def small(topology: dict[str, object]) -> None:
    topology["instances"] = [
        {
            "id": f"ins-{name}",
            "node": f"node-{number}",
            "zone": "zone-1",
            "subnet": "subnet-a",
            "quota": {"enis": 2, "addresses_per_eni": 1 + ROOM},
        }
        for number, name in ((1, "one"), (2, "two"))
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """node-1 has nothing but retained leases; web-0's is the oldest. node-2 is nearly empty."""

    world: EniWorld
    one: FixedPods
    two: FixedPods
    addresses: list[IPv4Address]

    async def states(self) -> dict[str, AddressState]:
        return {name: it.state for name, it in (await self.world.leases()).items()}

    async def kept(self) -> set[str]:
        """Addresses that the cloud keeps for us, and that no ENI has."""
        found: Any = await self.world.cloud.call("DescribeReserveIpAddresses")
        every = found.ReserveIpAddressSet
        return {it.ReserveIpAddress for it in every if it.State == "UnBind"}

    async def pod_waits(self) -> IPv4Address:
        """On node-1, for an address of the stock: until it has one."""
        agent = self.one.agent
        agent.waiting = 1
        await agent.want_so(lambda: bool(agent.idle), timeout_s=30)
        agent.waiting = 0
        return agent.bind(1)[0]

    async def web_0_comes(
        self, pods: FixedPods, candidate: IPv4Address | None = None
    ) -> Acquired:
        """It asks until it is answered, as an agent does."""
        async with asyncio.timeout(30):
            while True:
                try:
                    return await pods.voice.acquire(
                        "web-0", candidate=str(candidate) if candidate else None, uid="uid-2"
                    )
                except TryLater:
                    await pods.agent.want_quietly()


@pytest.fixture
def changes(request: pytest.FixtureRequest) -> dict[str, object]:
    """Limits of the cloud; by indirect parameters."""
    found: dict[str, object] = getattr(request, "param", {})
    return found


@pytest.fixture
async def full(
    nats_server: NatsServer,
    redis_server: RedisServer,
    tmp_path: Path,
    changes: dict[str, object],
) -> AsyncIterator[Full]:
    def topology(document: dict[str, object]) -> None:
        small(document)
        document["limits"] = changes

    async with (
        eni_world(
            nats_server,
            redis_server,
            tmp_path,
            change=topology,
            warm_addresses_min=0,
            warm_addresses_max=ROOM,
            sweep_interval_s=0.2,
            sweep_grace_s=0.3,
        ) as world,
        world.manager(),
        allocator(world, **QUICK),
    ):
        one, two = await _pods(world, 1), await _pods(world, 2)
        one.agent.waiting = ROOM
        await one.agent.want_until(idle=ROOM)
        one.agent.waiting = 0
        addresses = [await one.start_and_end(f"web-{number}") for number in range(ROOM)]
        await one.agent.want()
        yield Full(world=world, one=one, two=two, addresses=addresses)


async def _pods(world: EniWorld, number: int) -> FixedPods:
    agent = await world.agent(f"node-{number}", f"ins-{('one', 'two')[number - 1]}")
    await agent.want()
    pods = FixedPods(world, agent)
    await pods.register()
    return pods


async def test_the_longest_retained_address_makes_way_and_no_foreign_tenant_gets_it(
    full: Full,
) -> None:
    held = full.addresses[0]

    given = await full.pod_waits()

    assert given not in full.addresses, "what made way is not handed out"
    assert await full.states() == {
        "web-0": AddressState.PARKED,
        "web-1": AddressState.RETAINED,
        "web-2": AddressState.RETAINED,
    }
    assert await full.kept() == {str(held)}
    with pytest.raises(TencentCloudSDKException, match="ResourceInUse"):
        await full.world.cloud.call_as_foreigner(
            "CreateNetworkInterface",
            VpcId="vpc-one",
            SubnetId="subnet-a",
            NetworkInterfaceName="theirs",
            PrivateIpAddresses=[{"PrivateIpAddress": str(held)}],
        )
    told = await disagreements(
        full.world, [full.one.agent, full.two.agent], parked=frozenset({str(held)})
    )
    assert told == []


async def test_it_comes_back_with_its_pod_on_another_node(full: Full) -> None:
    await full.pod_waits()

    got = await full.web_0_comes(full.two)

    assert got.address == full.addresses[0]
    assert (await full.states())["web-0"] is AddressState.BOUND_FIXED
    assert str(got.address) in await full.world.cloud.addresses(got.eni)
    assert await full.kept() == set()


async def test_it_comes_back_to_the_full_node_and_the_next_one_makes_way(full: Full) -> None:
    await full.pod_waits()

    got = await full.web_0_comes(full.one)

    assert got.address == full.addresses[0]
    assert await full.states() == {
        "web-0": AddressState.BOUND_FIXED,
        "web-1": AddressState.PARKED,
        "web-2": AddressState.RETAINED,
    }
    assert await full.kept() == {str(full.addresses[1])}


async def test_a_pod_that_comes_in_between_keeps_its_address_on_its_node(full: Full) -> None:
    """Either it was first, or it is told to wait until its address has left, and gets it."""
    full.one.agent.waiting = 1
    await full.one.agent.want()

    got = await full.web_0_comes(full.one)

    assert got.address == full.addresses[0]
    assert (await full.states())["web-0"] is AddressState.BOUND_FIXED


async def test_while_nothing_is_given_back_nothing_makes_way(full: Full) -> None:
    await set_capacity(full.world, calls=CloudCalls.NO_RELEASE)
    full.one.agent.waiting = 1
    for _ in range(10):
        await full.one.agent.want()
    assert set((await full.states()).values()) == {AddressState.RETAINED}

    await set_capacity(full.world, calls=CloudCalls.ALL)

    assert await full.pod_waits() not in full.addresses


async def test_the_cloud_keeps_nothing_for_a_lease_that_has_ended(full: Full) -> None:
    await full.pod_waits()

    await full.world.bus.call(
        LEASE_FORGET,
        LeaseForgetRequest(
            deadline=datetime.now(UTC) + timedelta(seconds=5),
            identity=IdentityFields.of(identity("web-0")),
            generation=(await full.world.leases())["web-0"].generation,
            by="test",
        ),
    )

    async def is_free() -> bool:
        return not await full.kept() and "web-0" not in await full.world.leases()

    await eventually(is_free)


async def test_what_is_kept_for_nobody_is_let_go_by_the_sweeper(full: Full) -> None:
    await full.world.cloud.call(
        "CreateReserveIpAddresses",
        VpcId="vpc-one",
        SubnetId="subnet-a",
        IpAddressCount=1,
        Tags=[{"Key": "berth-cluster", "Value": "tests"}],
    )
    theirs: Any = await full.world.cloud.call(
        "CreateReserveIpAddresses", VpcId="vpc-one", SubnetId="subnet-a", IpAddressCount=1
    )
    await full.pod_waits()
    people = {theirs.ReserveIpAddressSet[0].ReserveIpAddress}

    async def is_swept() -> bool:
        return await full.kept() == people | {str(full.addresses[0])}

    await eventually(is_swept)


@pytest.mark.parametrize("changes", [{"reserves_used_addresses": False}], indirect=True)
async def test_where_the_cloud_keeps_no_used_address_every_lease_stays_where_it_is(
    full: Full,
) -> None:
    before = (await full.world.leases())["web-0"]
    full.one.agent.waiting = 1

    async def was_tried() -> bool:
        await full.one.agent.want()
        lease = (await full.world.leases())["web-0"]
        is_back = lease.state is AddressState.RETAINED
        return is_back and lease.generation >= before.generation + 2

    await eventually(was_tried)
    after = (await full.world.leases())["web-0"]
    assert (after.since_ms, after.node, after.eni) == (before.since_ms, before.node, before.eni)
    [eni] = full.one.agent.secondary
    assert str(full.addresses[0]) in await full.world.cloud.addresses(eni)
    holds = await full.world.holds("node-1")
    assert holds[str(full.addresses[0])] == Hold.GIVEN
    problem = (await full.one.agent.want()).problem
    assert problem is not None
    assert "quota" in problem


async def test_a_pod_maximum_is_a_full_node_too(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with eni_world(
        nats_server,
        redis_server,
        tmp_path,
        warm_addresses_min=0,
        warm_addresses_max=ROOM,
    ) as world:
        await world.cluster_is(enabled_cluster("subnet-a", pods_max=2))
        async with world.manager(), allocator(world, **QUICK):
            one = await _pods(world, 1)
            one.agent.waiting = 2
            await one.agent.want_until(idle=2)
            one.agent.waiting = 0
            for number in range(2):
                await one.start_and_end(f"web-{number}")

            one.agent.waiting = 1
            await one.agent.want_so(lambda: bool(one.agent.idle), timeout_s=30)

            states = {name: it.state for name, it in (await world.leases()).items()}
            assert states == {"web-0": AddressState.PARKED, "web-1": AddressState.RETAINED}
