"""Leases whose books are lost: the store while an address moves, or all books at once.

Allocator, eni_manager, bus, store and cloud are real; only the nodes' agents stand in.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from services.eni_manager.adapters.redis_enis import RedisEniStore, shard_of
from services.eni_manager.domain.records import AddressRecord, Hold, Intent, IntentKind
from shared.addresses import AddressState
from shared.clock import SystemClock
from shared.ids import EniId, NodeName
from shared.messages.recovery import (
    LEASE_BACKUP,
    LEASE_RESTORE,
    LeaseBackupRequest,
    LeaseRestoreRequest,
    LeasesBackedUp,
)
from shared.messages.subjects import journal_stream
from tests.support.allocator_beside import allocator
from tests.support.allocators import identity
from tests.support.eni_books import cloud_enis
from tests.support.eni_world import CLUSTER, EniWorld, eni_world, eventually
from tests.support.fixed_pods import FixedPods
from tests.support.servers import NatsServer, RedisServer

_FILES = "appendonlydir"
_WAIT_S = 40.0
WEB_0 = identity("web-0")


@dataclass
class Cast:
    """Two nodes and an allocator; the eni_manager is the test's."""

    world: EniWorld
    store: RedisServer
    one: FixedPods
    two: FixedPods
    older: Path  # files of the store as it was once

    async def have_stock(self) -> None:
        agents = self.one.agent, self.two.agent
        await asyncio.gather(*(each.want_until(idle=3, timeout_s=_WAIT_S) for each in agents))

    async def enis_with(self, address: IPv4Address) -> list[str]:
        """At the cloud."""
        enis = await cloud_enis(self.world)
        return [eni for eni, (_, held) in enis.items() if str(address) in held]

    async def keep_older(self) -> None:
        self.store.kill()
        shutil.copytree(self.store.folder / _FILES, self.older)
        await self._start_store()

    async def _start_store(self) -> None:
        await asyncio.to_thread(self.store.start)
        await self.world.redis.connection_pool.disconnect()  # it was another server

    async def lose_store(self, how: str) -> None:
        if how == "emptied":
            await self.world.redis.flushall()
            return
        self.store.kill()
        shutil.rmtree(self.store.folder / _FILES)
        shutil.copytree(self.older, self.store.folder / _FILES)
        await self._start_store()

    async def lose_both(self) -> None:
        await self.world.nats.jetstream().delete_stream(journal_stream(CLUSTER))
        await self.world.redis.flushall()

    async def backup(self) -> LeasesBackedUp:
        return await self.world.bus.call(LEASE_BACKUP, LeaseBackupRequest(deadline=_soon()))


def _soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=10)


@pytest.fixture
async def cast(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[Cast]:
    async with (
        eni_world(nats_server, redis_server, tmp_path) as world,
        allocator(world, durability_interval_s=0.1),
    ):
        one, two = [
            FixedPods(world, await world.agent(node, instance))
            for node, instance in (("node-1", "ins-one"), ("node-2", "ins-two"))
        ]
        await asyncio.gather(one.register(), two.register())
        yield Cast(world, redis_server, one, two, tmp_path / "older")


async def is_in_one_place(cast: Cast, address: IPv4Address, *, on: FixedPods) -> None:
    """Bound once, on that node, where the cloud has it, and nobody's stock."""
    [eni] = await cast.enis_with(address)
    assert eni in on.agent.secondary
    leases = await cast.world.leases()
    assert [pod for pod, each in leases.items() if each.address == address] == ["web-0"]
    assert (leases["web-0"].node, leases["web-0"].eni) == (on.agent.node, eni)
    assert leases["web-0"].state is AddressState.BOUND_FIXED
    for pods in (cast.one, cast.two):
        await pods.agent.want_quietly()
        assert address not in pods.agent.owned


@pytest.mark.long
@pytest.mark.parametrize("loss", ["emptied", "older"])
async def test_a_move_that_no_cloud_has_heard_of_ends_in_one_place(
    cast: Cast, loss: str
) -> None:
    async with cast.world.manager():
        await cast.have_stock()
    address = await cast.one.start_and_end("web-0")
    await cast.keep_older()  # where it is retained on the first node
    coming = asyncio.create_task(cast.two.come("web-0"), name="come")

    async def is_moving() -> bool:
        return (await cast.world.leases())["web-0"].state is AddressState.MOVING

    await eventually(is_moving, timeout_s=_WAIT_S)
    await cast.lose_store(loss)
    async with cast.world.manager():
        got = await coming

        assert got.address == address
        await is_in_one_place(cast, address, on=cast.two)


@pytest.mark.long
@pytest.mark.parametrize("loss", ["emptied", "older"])
async def test_a_move_that_the_cloud_is_at_ends_in_one_place(cast: Cast, loss: str) -> None:
    async with cast.world.manager():
        await cast.have_stock()
        address = await cast.one.start_and_end("web-0")
        await cast.keep_older()
        await cast.world.slow("MigratePrivateIpAddress", 1500)
        coming = asyncio.create_task(cast.two.come("web-0"), name="come")
        await eventually(lambda: cast.world.is_migrating(address), timeout_s=_WAIT_S)

        await cast.lose_store(loss)
        got = await coming

        assert got.address == address
        await is_in_one_place(cast, address, on=cast.two)


async def test_when_all_books_are_lost_agents_bring_their_pods_back_and_the_rest_is_kept_back(
    cast: Cast,
) -> None:
    async with cast.world.manager():
        await cast.have_stock()
        bound, far = (await cast.one.start("web-0")), (await cast.two.start("web-1"))
        retained = await cast.one.start_and_end("web-2")
        backup = await cast.backup()
        stock = set(cast.one.agent.owned)
        await cast.two.agent.stop()  # it is away

        await cast.lose_both()
        again = await cast.one.come("web-0")  # its agent registers, and is asked what it has

        async def is_judged() -> bool:
            await cast.one.agent.want_quietly()
            return str(retained) in await cast.world.holds("node-1")

        await eventually(is_judged, timeout_s=_WAIT_S)
        assert (again.address, set(await cast.world.leases())) == (bound.address, {"web-0"})
        held = await cast.world.holds("node-1")
        assert held.pop(str(retained)) == "quarantined"
        assert set(held.values()) == {"given"}, "what the agent has is the agent's"
        assert await cast.enis_with(retained), "nothing was unassigned"
        assert retained not in cast.one.agent.owned
        assert stock <= set(cast.one.agent.owned)

        await cast.two.agent.start()
        assert (await cast.two.come("web-1")).address == far.address

        restored = await cast.world.bus.call(
            LEASE_RESTORE,
            LeaseRestoreRequest(deadline=_soon(), leases=backup.leases, by="ann"),
        )
        assert restored.restored == 1, "what came back by itself is as the backup says"
        cast.one.agent.incarnation += 1  # the node is looked at anew

        async def is_claimed() -> bool:
            await cast.one.agent.want_quietly()
            return (await cast.world.holds("node-1"))[str(retained)] == "given"

        await eventually(is_claimed, timeout_s=_WAIT_S)
        assert (await cast.one.come("web-2")).address == retained


async def test_a_cluster_whose_record_is_lost_in_both_books_stays_enabled(cast: Cast) -> None:
    async with cast.world.manager():
        await cast.have_stock()

        await cast.lose_both()
        await cast.one.start("web-0")

        async def is_known_again() -> bool:
            return await cast.world.redis.get(cast.world.cluster_key) is not None

        await eventually(is_known_again, timeout_s=_WAIT_S)
    async with cast.world.manager():  # one that has nothing in its memory
        cast.one.agent.bind(1)
        await cast.one.agent.want_until(idle=3, timeout_s=_WAIT_S)


async def test_what_a_store_that_was_put_back_says_is_leaving_stays_with_who_has_it(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with eni_world(nats_server, redis_server, tmp_path) as world:
        agent = await world.agent("node-1", "ins-one")
        async with world.manager():
            await agent.want_until(idle=3)
        used, leased, nobodys = sorted(agent.idle)
        eni = agent.owned[used]
        del agent.owned[leased], agent.owned[nobodys]
        retained = AddressState.RETAINED
        await world.lease_moves(
            WEB_0, leased, subnet="subnet-a", to_node="", generation=7, state=retained
        )
        await leaves(world, EniId(eni), used, leased, nobodys)

        async with world.manager():

            async def has_left() -> bool:
                await agent.want_quietly()
                return str(nobodys) not in await world.cloud.addresses(eni)

            await eventually(has_left, timeout_s=_WAIT_S)
            await agent.want_until(idle=3)

        assert {str(used), str(leased)} <= set(await world.cloud.addresses(eni))
        assert set((await world.holds("node-1")).values()) == {"given"}


async def leaves(world: EniWorld, eni: EniId, *addresses: IPv4Address) -> None:
    """The store says so, under a term that has ended."""
    store = RedisEniStore(world.redis, cluster=CLUSTER, owner="before", clock=SystemClock())
    shards = world.settings["shards"]
    assert isinstance(shards, int), "a count"
    term = await store.claim(shard_of(NodeName("node-1"), shards), ttl_s=5)
    assert term is not None
    intent = Intent(
        intent="recall-1",
        kind=IntentKind.UNASSIGN,
        eni=eni,
        addresses=addresses,
        term=term.number,
    )
    held = [AddressRecord(address=it, eni=eni, hold=Hold.UNASSIGNING) for it in addresses]
    await store.write(term, NodeName("node-1"), put=[intent, *held])
    await store.give_up(term)
