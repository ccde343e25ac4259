"""What nodes could still take, as the eni_managers tell it to whoever places pods."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.clusters import SubnetState
from shared.messages.vacancies import VACANCIES, NodeVacancy, VacanciesRequest, VacanciesTold
from shared.store.keys import eni_key
from tests.support.clusters import enabled_cluster
from tests.support.clusters import subnet as container_subnet
from tests.support.eni_world import CLUSTER, EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[EniWorld]:
    """No eni_manager runs yet."""
    async with eni_world(
        nats_server,
        redis_server,
        tmp_path,
        observe_interval_s=0.3,
        instance_gone_after_s=0.2,
        vacancies_interval_s=0.05,
    ) as found:
        yield found


class Reader:
    """Asks as an allocator does."""

    def __init__(self, world: EniWorld) -> None:
        self._world = world
        self._after = self._since = 0
        self.known: dict[str, NodeVacancy] = {}

    async def ask(self, limit: int = 512) -> VacanciesTold:
        told = await self._world.bus.call(
            VACANCIES,
            VacanciesRequest(
                deadline=datetime.now(UTC) + timedelta(seconds=5),
                after=self._after,
                since=self._since,
                limit=limit,
            ),
        )
        if told.is_anew:
            self.known, self._since = {}, told.newest
        self.known |= {each.node: each for each in told.nodes}
        self._after = told.revision
        if told.is_last:
            self._since = told.newest
        return told

    async def until(self, node: str, **wanted: int) -> NodeVacancy:
        async def is_so() -> bool:
            await self.ask()
            found = self.known.get(node)
            return found is not None and wanted.items() <= found.model_dump().items()

        await eventually(is_so)
        return self.known[node]


async def test_a_node_is_told_of_with_its_numbers(world: EniWorld) -> None:
    async with world.manager():
        agent = await world.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        await agent.want()

        found = await Reader(world).until("node-1", idle=3)

        assert (found.enis, found.enis_max, found.zone) == (1, 1, "zone-1")
        assert (found.addresses, found.addresses_max) == (3, 5)
        [within] = found.within
        assert (within.subnet, within.enis) == ("subnet-a", 1)
        assert (within.addresses, within.addresses_max) == (3, 5)


async def test_who_is_up_to_date_hears_of_changes_only(world: EniWorld) -> None:
    async with world.manager():
        first = await world.agent("node-1", "ins-one")
        second = await world.agent("node-2", "ins-two")
        for agent in (first, second):
            await agent.want_until(idle=3)
            await agent.want()
        reader = Reader(world)
        await reader.until("node-1", idle=3)
        await reader.until("node-2", idle=3)

        second.bind(1)
        await second.want()
        heard: list[str] = []

        async def is_heard() -> bool:
            told = await reader.ask()
            assert not told.is_anew
            heard.extend(each.node for each in told.nodes)
            return "node-2" in heard

        await eventually(is_heard)

        assert "node-1" not in heard
        assert reader.known["node-2"].idle < 3


@pytest.mark.long
async def test_all_nodes_are_told_page_by_page(world: EniWorld) -> None:
    async with world.manager():
        names = [f"node-{at}" for at in range(1, 6)]
        for name in names:
            await (await world.agent(name, "ins-one")).want()
        reader = Reader(world)

        async def are_known() -> bool:
            told = await reader.ask(limit=2)
            assert len(told.nodes) <= 2
            return sorted(reader.known) == names

        await eventually(are_known)


@pytest.mark.long
async def test_a_node_that_left_is_forgotten_by_those_who_knew_it(world: EniWorld) -> None:
    async with world.manager():
        stays = await world.agent("node-1", "ins-one")
        leaves = await world.agent("node-2", "ins-two")
        for agent in (stays, leaves):
            await agent.want_until(idle=3)
        reader = Reader(world)
        await reader.until("node-2")

        await leaves.stop()
        await world.cloud.admin("POST", f"instances/{leaves.instance}/terminate")

        async def is_forgotten() -> bool:
            await reader.ask()
            return "node-2" not in reader.known

        await eventually(is_forgotten)
        assert "node-1" in reader.known


@pytest.mark.long
async def test_a_node_that_left_while_nobody_told_is_taken_back_by_the_next_owner(
    world: EniWorld,
) -> None:
    async with world.manager():
        agent = await world.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        await Reader(world).until("node-1")
    # Its book is closed, and its owner did not live to tell so.
    await world.redis.delete(eni_key(CLUSTER, "nodes"))

    async with world.manager():
        reader = Reader(world)

        async def is_taken_back() -> bool:
            told = await reader.ask()
            return told.newest > 0 and not reader.known

        await eventually(is_taken_back)


async def test_after_a_store_that_was_lost_everything_is_told_anew(world: EniWorld) -> None:
    async with world.manager():
        agent = await world.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        reader = Reader(world)
        await reader.until("node-1")
        for noun in ("vacancies", "vacancies:changes", "vacancies:marks"):
            await world.redis.delete(eni_key(CLUSTER, noun))
        agent.bind(2)
        await agent.want()

        found = await reader.until("node-1", idle=1)

        assert found.zone == "zone-1"


@pytest.mark.long
async def test_another_replica_tells_the_same(world: EniWorld) -> None:
    async with world.manager(), world.manager():
        for at in range(1, 5):  # of both shards
            await (await world.agent(f"node-{at}", "ins-one")).want_quietly()
        reader = Reader(world)

        async def are_known() -> bool:
            for at in range(1, 5):
                await (world.standin(f"node-{at}", "ins-one")).want_quietly()
            await reader.ask()
            return len(reader.known) == 4

        await eventually(are_known)


async def test_a_cordoned_subnet_is_told_as_such(world: EniWorld) -> None:
    async with world.manager():
        agent = await world.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        [subnet] = (await Reader(world).ask()).subnets
        assert (subnet.subnet, subnet.zone, subnet.state) == ("subnet-a", "zone-1", "open")
        assert 0 < subnet.free < subnet.total

        cordoned = container_subnet("subnet-a", SubnetState.CORDONED)
        await world.cluster_is(enabled_cluster(cordoned, revision=2))

        async def is_told() -> bool:
            told = await Reader(world).ask()
            return [each.state for each in told.subnets] == [SubnetState.CORDONED]

        await eventually(is_told)
