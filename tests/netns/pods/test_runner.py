"""Pods as a node runs them: set up, retried, probed, torn down, and nothing left of them."""

from __future__ import annotations

import asyncio
import os
import signal
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from berth.pods.client import RunnerProcess
from berth.pods.messages import PodRunning, Waiting
from shared.errors import NotFound, Refused, TryLater, Unavailable
from shared.ids import PodName, PodUid
from shared.kernel.conversation import Conversation
from shared.kernel.links import links
from shared.kernel.netns import open_netns
from tests.support.node import Node

pytestmark = pytest.mark.kernel

WEB_0 = PodName("default", "web-0")
WEB_1 = PodName("default", "web-1")
GATEWAY = IPv4Address("10.9.0.1")
NOBODY = IPv4Address("10.9.0.200")
RUN_S = 20.0
REFUSAL = {"cniVersion": "1.0.0", "code": 11, "msg": "stock_empty", "details": "none idle"}


async def run(process: RunnerProcess, pod: PodName) -> PodRunning:
    return await process.runner.run(pod, PodUid(f"uid-of-{pod.name}"), timeout_s=RUN_S)


def host_links(pid: int) -> list[str]:
    netns = open_netns(f"/proc/{pid}/ns/net")
    try:
        with Conversation(netns) as conversation:
            return [link.name for link in links(conversation) if link.name != "lo"]
    finally:
        os.close(netns)


async def has_ended(pid: int) -> bool:
    """Wait for the end of a process that is not our child."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(watched, ended.set)
    try:
        async with asyncio.timeout(10):
            return await ended.wait()
    except TimeoutError:
        return False
    finally:
        asyncio.get_running_loop().remove_reader(watched)
        os.close(watched)


async def test_a_pod_answers_on_the_address_that_the_plugin_gave(
    process: RunnerProcess,
) -> None:
    pod = await run(process, WEB_0)

    answers = [
        await process.runner.probe(None, "icmp", pod.address),
        await process.runner.probe(None, "tcp", pod.address),
        await process.runner.probe(None, "udp", pod.address),
    ]

    assert [answer.is_answered for answer in answers] == [True, True, True]


async def test_pods_reach_each_other_and_an_absent_address_is_silent(
    process: RunnerProcess,
) -> None:
    await run(process, WEB_0)
    other = await run(process, WEB_1)

    to_pod = await process.runner.probe(WEB_0, "tcp", other.address)
    to_gateway = await process.runner.probe(WEB_0, "icmp", GATEWAY)
    to_nobody = await process.runner.probe(WEB_0, "icmp", NOBODY, attempts=2, timeout_s=0.2)

    assert (to_pod.is_answered, to_gateway.is_answered) == (True, True)
    assert not to_nobody.is_answered
    assert to_nobody.detail == "no answer to 2 of 2"


async def test_a_forged_source_is_sent_and_who_heard_it_can_be_asked(
    process: RunnerProcess,
) -> None:
    first, second = await run(process, WEB_0), await run(process, WEB_1)
    target = second.address

    await process.runner.send_forged(
        WEB_0, source=first.address, destination=target, token="honest"
    )
    await process.runner.send_forged(WEB_0, source=NOBODY, destination=target, token="forged")
    await process.runner.probe(WEB_0, "udp", target)  # both are before it on the same path

    assert await process.runner.heard(WEB_1, "honest") == (first.address,)
    assert await process.runner.heard(WEB_1, "forged") == ()


async def test_the_plugin_is_called_as_a_runtime_calls_it(
    process: RunnerProcess, node: Node
) -> None:
    pod = await run(process, WEB_0)
    await process.runner.remove(WEB_0, timeout_s=RUN_S)

    add, delete = node.calls()
    environment = add["environment"]
    arguments = dict(pair.split("=") for pair in environment["CNI_ARGS"].split(";"))
    assert environment["CNI_CONTAINERID"] == pod.container_id
    assert environment["CNI_NETNS"] == f"/proc/{pod.process}/ns/net"
    assert arguments == {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": "default",
        "K8S_POD_NAME": "web-0",
        "K8S_POD_INFRA_CONTAINER_ID": pod.container_id,
        "K8S_POD_UID": "uid-of-web-0",
    }
    assert "prevResult" not in add["config"]
    assert "prevResult" in delete["config"]


async def test_not_yet_is_tried_again_in_a_new_sandbox_and_said(
    process: RunnerProcess, node: Node
) -> None:
    node.refuse_next(REFUSAL, REFUSAL)
    waits: list[Waiting] = []

    pod = await process.runner.run(WEB_0, PodUid("u"), timeout_s=RUN_S, on_waiting=waits.append)

    assert pod.attempts == 3
    assert [wait.attempt for wait in waits] == [1, 2]
    assert "stock_empty: none idle" in waits[0].reason
    assert node.verbs() == ["ADD", "DEL", "ADD", "DEL", "ADD"]
    assert len({call["environment"]["CNI_CONTAINERID"] for call in node.calls()}) == 3


async def test_a_refusal_for_good_ends_at_once_with_its_reason(
    process: RunnerProcess, node: Node
) -> None:
    node.refuse_next({**REFUSAL, "code": 106, "msg": "wrong_subnet"})

    with pytest.raises(Refused, match="wrong_subnet: none idle"):
        await run(process, WEB_0)

    assert node.verbs() == ["ADD", "DEL"]
    assert await process.runner.pods() == ()


async def test_not_yet_ends_with_its_reason_when_the_time_is_up(
    process: RunnerProcess, node: Node
) -> None:
    node.refuse_next(*[REFUSAL] * 20)

    with pytest.raises(TryLater, match="stock_empty: none idle"):
        await process.runner.run(WEB_0, PodUid("u"), timeout_s=0.05)

    assert node.verbs()[-1] == "DEL"


async def test_a_removed_pod_leaves_no_process_and_no_link(
    process: RunnerProcess, node: Node
) -> None:
    pod = await run(process, WEB_0)
    assert host_links(process.pid) == [pod.host_ifname]

    removed = await process.runner.remove(WEB_0, timeout_s=RUN_S)
    again = await process.runner.remove(WEB_0, timeout_s=RUN_S)

    assert (removed.was_there, again.was_there) == (True, False)
    assert host_links(process.pid) == []
    assert not Path(f"/proc/{pod.process}").exists()
    assert list((node.folder / "kept").iterdir()) == []


async def test_a_pod_that_does_not_run_is_named(process: RunnerProcess) -> None:
    with pytest.raises(NotFound, match="pod default/web-0 does not run on this node"):
        await process.runner.probe(WEB_0, "icmp", GATEWAY)


async def test_a_second_pod_of_a_name_is_refused(process: RunnerProcess) -> None:
    await run(process, WEB_0)

    with pytest.raises(Refused, match="runs here already"):
        await run(process, WEB_0)


async def test_stopping_the_runner_removes_its_pods_in_order(node: Node) -> None:
    process = await node.start_runner()
    pod = await run(process, WEB_0)

    await process.stop()

    assert await has_ended(pod.process)
    assert node.verbs() == ["ADD", "DEL"]
    assert not (node.folder / "runner.sock").exists()


async def test_a_killed_runner_takes_its_pods_with_it(node: Node) -> None:
    process = await node.start_runner()
    pod = await run(process, WEB_0)

    os.kill(process.pid, signal.SIGKILL)

    assert await has_ended(pod.process)
    await process.stop()


async def test_the_runner_ends_with_the_process_it_watches(node: Node) -> None:
    process = await node.start_runner()
    pod = await run(process, WEB_0)

    await node.instance.stop()

    assert await has_ended(process.pid)
    assert await has_ended(pod.process)
    await process.stop()
    assert not (node.folder / "runner.sock").exists()


async def test_a_caller_that_hangs_up_leaves_no_half_made_pod(
    process: RunnerProcess, node: Node
) -> None:
    node.refuse_next(*[REFUSAL] * 20)
    waiting = asyncio.Event()
    caller = asyncio.create_task(
        process.runner.run(
            WEB_0, PodUid("u"), timeout_s=RUN_S, on_waiting=lambda _: waiting.set()
        )
    )
    await waiting.wait()

    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    node.refuse_next()
    pod = await run(process, WEB_0)

    assert pod.attempts == 1
    assert len(await process.runner.pods()) == 1


async def test_a_node_without_a_network_is_told_of(node: Node) -> None:
    (node.folder / "conf" / "10-test.conflist").unlink()

    with pytest.raises(Unavailable, match="no CNI configuration list appeared"):
        await node.start_runner(network_timeout_s=0.1)
