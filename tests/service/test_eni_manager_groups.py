"""The declared security groups on ENIs that were made before they were declared."""

from __future__ import annotations

from pathlib import Path

from tests.support.eni_world import EniWorld, eni_world, eventually
from tests.support.servers import NatsServer, RedisServer


async def groups(world: EniWorld, eni: str) -> set[str]:
    found = await world.cloud.call("DescribeNetworkInterfaces", NetworkInterfaceIds=[eni])
    [shown] = found.NetworkInterfaceSet  # type: ignore[attr-defined]
    return set(shown.GroupSet)


async def test_declared_groups_are_on_enis_that_are_there_already(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with eni_world(
        nats_server, redis_server, tmp_path, security_groups=["sg-one00001"]
    ) as world:
        agent = await world.agent("node-1", "ins-one")
        async with world.manager():
            await agent.want_until(idle=3)
        [eni] = agent.secondary
        before = await groups(world, eni)
        world.settings["security_groups"] = ["sg-two00002", "sg-three003"]

        async with world.manager():

            async def are_declared() -> bool:
                return await groups(world, eni) == {"sg-two00002", "sg-three003"}

            await eventually(are_declared)

        assert before == {"sg-one00001"}
        assert len(agent.owned) == 3
