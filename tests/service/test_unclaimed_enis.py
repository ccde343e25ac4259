"""ENIs at the cloud that no book knows: each is named once, shown to operators, and left alone
or swept as what it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from shared.messages.clusters import UNCLAIMED_LIST, UnclaimedListRequest
from tests.service.test_eni_manager_departures import exists, tagged
from tests.service.test_exclusive_enis import roomy
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
        change=roomy,
        observe_interval_s=0.3,
        sweep_interval_s=0.2,
        sweep_grace_s=3600,
    ) as found:
        yield found


async def listed(world: EniWorld) -> list[tuple[str, str, str | None, tuple[str, ...]]]:
    request = UnclaimedListRequest(deadline=datetime.now(UTC) + timedelta(seconds=5))
    found = await world.bus.call(UNCLAIMED_LIST, request)
    return [(each.found, each.eni, each.instance, each.tags) for each in found.enis]


async def test_a_strangers_eni_on_a_node_is_named_counted_and_left_alone(
    world: EniWorld,
) -> None:
    eni = await tagged(world, owner="somebody", berth_cluster="another")
    await world.cloud.call(
        "AttachNetworkInterface", NetworkInterfaceId=eni, InstanceId="ins-one"
    )
    agent = await world.agent("node-1", "ins-one")
    events = await world.nats.subscribe(f"berth.v1.{CLUSTER}.event.eni.stranger_found")
    async with world.manager():
        await agent.want_until(idle=3)

        told = (await events.next_msg(timeout=10)).data.decode()

        assert eni in told
        assert '"node":"node-1"' in told
        assert "on ins-one, tags: berth-cluster=another, owner=somebody" in told
        tags = ("berth-cluster=another", "owner=somebody")
        assert await listed(world) == [("stranger", eni, "ins-one", tags)]
        assert eni not in agent.enis

        async def is_counted() -> bool:
            return REGISTRY.get_sample_value("berth_eni_manager_stranger_enis_count") == 1

        await eventually(is_counted)

        detached = await world.cloud.call(
            "DetachNetworkInterface", NetworkInterfaceId=eni, InstanceId="ins-one"
        )
        assert await world.cloud.settled(detached) == "SUCCESS"

        async def is_forgotten() -> bool:
            return await listed(world) == []

        await eventually(is_forgotten)
        assert await exists(world, eni)


async def test_an_orphan_and_a_stray_of_ours_are_named_and_shown_until_they_are_settled(
    world: EniWorld,
) -> None:
    orphan = await tagged(world, berth_cluster=CLUSTER, berth_node="node-9")
    stray = await tagged(world, berth_cluster=CLUSTER)
    await world.cloud.call(
        "AttachNetworkInterface", NetworkInterfaceId=stray, InstanceId="ins-two"
    )
    ours = f"berth-cluster={CLUSTER}"
    events = await world.nats.subscribe(f"berth.v1.{CLUSTER}.event.eni.*")
    async with world.manager():
        told = [(await events.next_msg(timeout=10)).data.decode() for _ in range(2)]

        assert any('"orphan_found"' in each and orphan in each for each in told)
        assert any('"stray_found"' in each and stray in each for each in told)
        assert await listed(world) == [
            ("orphan", orphan, None, (ours, "berth-node=node-9")),
            ("stray", stray, "ins-two", (ours,)),
        ]

        agent = await world.agent("node-2", "ins-two")
        await agent.want_until(idle=3)

        async def is_taken_up() -> bool:
            return [each[1] for each in await listed(world)] == [orphan]

        await eventually(is_taken_up)
        assert stray in agent.enis


async def test_another_replica_names_nothing_anew(world: EniWorld) -> None:
    orphan = await tagged(world, berth_cluster=CLUSTER)
    async with world.manager():

        async def is_listed() -> bool:
            return [each[1] for each in await listed(world)] == [orphan]

        await eventually(is_listed)
    async with world.manager(sweep="off"):

        async def is_empty() -> bool:
            return await listed(world) == []

        await eventually(is_empty)

    stream = await world.nats.jetstream().stream_info("BERTH_EVENTS", subjects_filter=">")
    subject = f"berth.v1.{CLUSTER}.event.eni.orphan_found"
    assert (stream.state.subjects or {}).get(subject) == 1
