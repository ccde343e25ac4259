"""An agent without a key of its own speaks for the node that its pod's token proves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.errors import Refused
from shared.messages.leases import LEASE_ACQUIRE
from shared.messages.nodes import AGENT_INVENTORY
from tests.support.bus_order import reached
from tests.support.callouts import NAMESPACE, CalloutWorld, callout_world
from tests.support.kubernetes.kinds import PODS
from tests.support.speakers import CLUSTER, NODE_1, NODE_2

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CalloutWorld]:
    async with callout_world(tmp_path) as world:
        yield world


async def _echo(client: Client, subject: str, queue: str = "") -> None:
    async def answer(message: Msg) -> None:
        await message.respond(b"answer to " + message.data)

    await client.subscribe(subject, queue=queue, cb=answer)
    await reached(client)


async def test_a_token_of_a_pod_opens_the_subjects_of_its_node(world: CalloutWorld) -> None:
    await _echo(world.allocator, LEASE_ACQUIRE.pattern(CLUSTER), "allocator")

    async with world.agent(world.token("of-node-2", node=NODE_2), NODE_2) as agent:
        await _echo(agent, AGENT_INVENTORY.subject(CLUSTER, NODE_2))
        asked = await agent.request(LEASE_ACQUIRE.subject(CLUSTER, NODE_2), b"mine", timeout=10)
        told = await world.allocator.request(
            AGENT_INVENTORY.subject(CLUSTER, NODE_2), b"yours", timeout=10
        )

    assert (asked.data, told.data) == (b"answer to mine", b"answer to yours")


async def test_an_agent_speaks_only_for_its_node(world: CalloutWorld) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        heard.put_nowait(message.data)

    await world.allocator.subscribe(LEASE_ACQUIRE.pattern(CLUSTER), queue="allocator", cb=hear)
    await reached(world.allocator)
    # It calls itself another node's agent; what its token says counts.
    async with world.agent(world.token("of-node-1", node=NODE_1), NODE_2) as liar:
        await liar.publish(LEASE_ACQUIRE.subject(CLUSTER, NODE_2), b"forged")
        await liar.publish(LEASE_ACQUIRE.subject(CLUSTER, NODE_1), b"own")

        assert await asyncio.wait_for(heard.get(), 10) == b"own"
        assert heard.empty()


async def test_an_agent_hears_nothing_of_others(world: CalloutWorld) -> None:
    refusals: asyncio.Queue[str] = asyncio.Queue()

    async with world.agent(world.token("of-node-1", node=NODE_1), NODE_1) as agent:

        async def failed(error: Exception) -> None:
            refusals.put_nowait(str(error).lower())

        agent._error_cb = failed
        for subject in ("$SYS.REQ.USER.AUTH", "berth.v1.default.agent.*.>", ">"):
            await agent.subscribe(subject)

            said = await asyncio.wait_for(refusals.get(), 10)

            assert "permissions violation for subscription" in said


async def test_an_older_server_says_the_pod_and_the_pod_its_node(world: CalloutWorld) -> None:
    pod = {"metadata": {"name": "agent-x"}, "spec": {"nodeName": NODE_1}}
    uid = world.api.store.create(PODS, NAMESPACE, pod)["metadata"]["uid"]
    await _echo(world.allocator, LEASE_ACQUIRE.pattern(CLUSTER), "allocator")

    async with world.agent(world.token("old", pod="agent-x", uid=uid), NODE_1) as agent:
        asked = await agent.request(LEASE_ACQUIRE.subject(CLUSTER, NODE_1), b"x", timeout=10)

    assert asked.data == b"answer to x"


async def test_another_token_gets_nowhere(world: CalloutWorld) -> None:
    tokens = [
        None,
        world.unknown_token("made-up"),
        world.token("for-another-audience", audience="elsewhere", node=NODE_1),
        world.token("of-another-account", account="shop:web", node=NODE_1),
        world.token("bound-to-no-pod"),
        world.token("of-a-pod-that-is-gone", pod="gone", uid="u"),
    ]
    for token in tokens:
        with pytest.raises(Refused, match="the bus refuses this key"):
            async with world.agent(token, NODE_1):
                pass


@pytest.mark.long
async def test_an_agent_comes_back_by_itself_after_the_bus_and_the_api_were_away(
    world: CalloutWorld,
) -> None:
    await _echo(world.allocator, LEASE_ACQUIRE.pattern(CLUSTER), "allocator")
    token = world.token("first", node=NODE_1)
    async with world.agent(token, NODE_1) as agent:
        world.api.faults.is_down = True
        token.write_text("second")  # as kubelet does every hour
        world.api.tokens.known["second"] = world.api.tokens.known["first"]
        await world.bus.restart()
        await asyncio.to_thread(world.bus.wait_for_words, "authentication error")
        world.api.faults.is_down = False

        answer = await _answered(agent, LEASE_ACQUIRE.subject(CLUSTER, NODE_1))

        assert answer == b"answer to x"
        assert world.api.tokens.asked == 2


@pytest.mark.long
async def test_an_agent_is_known_for_a_while_when_the_api_is_away(world: CalloutWorld) -> None:
    await _echo(world.allocator, LEASE_ACQUIRE.pattern(CLUSTER), "allocator")
    async with world.agent(world.token("kept", node=NODE_1), NODE_1) as agent:
        world.api.faults.is_down = True
        await world.bus.restart()

        answer = await _answered(agent, LEASE_ACQUIRE.subject(CLUSTER, NODE_1))

        assert answer == b"answer to x"


async def _answered(agent: Client, subject: str) -> bytes:
    async with asyncio.timeout(30):
        while not agent.is_closed:
            try:
                return bytes((await agent.request(subject, b"x", timeout=1)).data)
            except (nats.errors.Error, OSError):
                await asyncio.sleep(0.1)
    raise AssertionError("the client gave up")
