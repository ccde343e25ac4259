"""``berth doctor`` beside live faults: shown first, mended when asked, clean afterwards."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Awaitable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.vpc.v20170312 import models
from tencentcloud.vpc.v20170312.vpc_client_async import VpcClient

from berth.commands.options import deadline_of
from berth.demo.workloads import visitors
from berth.demo.world import World, until
from berth.manifests.pods import reborn
from berth.playground.state import PlaygroundState
from services.node_agent.domain.attachments import is_pod_link
from services.node_agent.domain.wiring import PROTOCOL
from shared.addresses import AddressState
from shared.kernel.links import delete_link, links
from shared.kernel.routes import delete_rule, rules
from shared.messages.clusters import NODE_LOOK, NodeLookRequest
from tests.support.berth_command import Berth
from tests.support.played_node import PlayedNode, fixed_pod
from tests.support.simulated_cloud import profile

SETTLE_S = 60.0

pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(240)]


@pytest.fixture
def command(run_dir: Path) -> Berth:
    """The playground is the test's own: nobody else takes it down."""
    return Berth(run_dir=run_dir, started=[])


async def unassign(state: PlaygroundState, eni: str, address: IPv4Address) -> None:
    """As a person does it in the cloud's console."""
    secret = yaml.safe_load(state.cloud_secret_file.read_text())
    credential = Credential(secret["secret_id"], secret["secret_key"])
    endpoint = profile(state.cloud_url.removeprefix("http://"))
    async with VpcClient(credential, state.cloud_region, endpoint) as cloud:
        request = models.UnassignPrivateIpAddressesRequest()
        addresses = [{"PrivateIpAddress": str(address)}]
        body = {"NetworkInterfaceId": eni, "PrivateIpAddresses": addresses}
        request.from_json_string(json.dumps(body))
        async with asyncio.timeout(SETTLE_S):
            # The ENI's last change may not be over yet, and nothing tells its end.
            while await _is_busy(cloud.UnassignPrivateIpAddresses(request)):  # noqa: ASYNC110
                await asyncio.sleep(0.2)


async def _is_busy(call: Awaitable[object]) -> bool:
    try:
        await call
    except TencentCloudSDKException as error:
        if error.get_code() != "UnsupportedOperation.MutexOperationTaskRunning":
            raise
        return True
    return False


async def look(world: World, played: PlayedNode) -> None:
    """What the eni_manager does once a minute."""
    request = NodeLookRequest(node=played.node.name, deadline=deadline_of(NODE_LOOK))
    await world.bus.call(NODE_LOOK, request)


async def examined(command: Berth, *options: str) -> tuple[int | None, dict[str, Any]]:
    status, told, said = await command.run("doctor", "--json", *options)
    assert said == ""
    body: dict[str, Any] = json.loads(told)
    assert body["unread"] == {}
    return status, body


def shown(body: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["code"], each["address"]) for each in body["findings"]}


async def test_a_deleted_link_and_a_deleted_rule_are_mended_before_anybody_asks(
    played: PlayedNode, command: Berth
) -> None:
    one, two = visitors(random.Random(7)), visitors(random.Random(8))
    pods = [await played.start(next(one)), await played.start(next(two))]
    with played.kernel() as kernel:
        ours = [link for link in links(kernel) if is_pod_link(link.name)]
        kernel.do([delete_link(ours[0].index)])
        kernel.do([delete_rule(it) for it in rules(kernel) if it.protocol == PROTOCOL])

    async def clean() -> tuple[int | None, dict[str, Any]]:
        return await examined(command, "--settle", "0.5")

    (status, body), _ = await until(clean, lambda seen: seen[0] == 0, timeout_s=SETTLE_S)

    assert (status, body["findings"]) == (0, [])
    runner = played.stage.runner(played.node.name)
    for sender, receiver in (pods, reversed(pods)):
        probed = await runner.probe(sender.name, "tcp", receiver.address)
        assert probed.is_answered


async def test_what_mends_itself_is_told_no_more_and_the_rest_is_mended_when_asked(
    played: PlayedNode, world: World, command: Berth
) -> None:
    rng = random.Random(6)
    db = fixed_pod(rng)
    fixed = await played.start(db)
    await played.start(next(visitors(rng)))
    book = await world.inventory(played.node.name)
    idle = next(each for each in book.addresses if each.state is AddressState.STOCK)

    await unassign(played.playground.state, idle.eni, idle.address)
    await played.cut_power(also=lambda: shutil.rmtree(played.node.state_dir / "claims"))
    await played.power_on()
    await look(world, played)

    # What the cloud has no more the agent is told to strike off; a lease is a person's affair.
    await until(
        lambda: world.inventory(played.node.name),
        lambda book: idle.address not in {each.address for each in book.addresses},
        timeout_s=SETTLE_S,
    )
    wanted = {("lease-unused", str(fixed.address))}

    async def dry() -> tuple[int | None, dict[str, Any]]:
        return await examined(command)

    (status, body), _ = await until(
        dry, lambda seen: shown(seen[1]) == wanted, timeout_s=SETTLE_S
    )
    assert (status, shown(body)) == (1, wanted)
    again, body = await examined(command)
    assert (again, shown(body), body["repair"]) == (1, wanted, {})
    mended, body = await examined(command, "--repair")
    assert "0 idle addresses struck off, 1 leases released" in body["repair"]["node-1"]
    assert (mended, body["findings"]) == (0, [])
    clean, body = await examined(command)
    assert (clean, body["findings"]) == (0, [])
    returned = await played.start(reborn(db, rng))
    assert returned.address == fixed.address
