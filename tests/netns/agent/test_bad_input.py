"""What a runtime hands the agent that is no sandbox is refused, and nothing is left of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.node_agent.cni.codes import CniCode, code_of
from services.node_agent.domain.requests import Add
from shared.errors import BerthError, InvalidInput, PodUnknown, Unavailable
from shared.ids import PodName, PodUid
from shared.kernel.conversation import Conversation
from shared.kernel.links import VethEnd, add_veth, links
from tests.netns.agent.conftest import NodeWorld
from tests.support.agent_world import STOCK, key, soon, write_pod

pytestmark = pytest.mark.kernel


def host_links(world: NodeWorld) -> set[str]:
    with Conversation(world.node) as conversation:
        return {link.name for link in links(conversation) if link.name.startswith("eni")}


async def unlinked(world: NodeWorld) -> None:
    """The link of an attachment that failed goes after the answer."""
    while not world.agent.unlinker.is_done:
        assert await world.agent.unlinker.worked.wait(5.0)
    assert host_links(world) == set()


def nothing_is_left(world: NodeWorld) -> bool:
    """No attachment, and every address is idle or rests."""
    counts = world.agent.heartbeat.counts()
    is_free = counts.idle + counts.cooling == len(STOCK)
    return len(world.agent.ledger.attachments) == 0 and is_free


@pytest.fixture(params=["file", "pipe", "mount namespace", "the node's own"])
def no_sandbox(request: pytest.FixtureRequest, world: NodeWorld) -> Iterator[int]:
    match request.param:
        case "file":
            fd = os.open("/etc/hostname", os.O_RDONLY)
        case "pipe":
            fd, other = os.pipe()
            os.close(other)
        case "mount namespace":
            fd = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        case _:
            fd = os.dup(world.node)
    yield fd
    os.close(fd)


async def test_what_is_no_sandbox_is_refused_and_named(
    world: NodeWorld, no_sandbox: int
) -> None:
    with pytest.raises(InvalidInput, match="CNI_NETNS"):
        await world.wire("c1", no_sandbox)

    assert nothing_is_left(world)
    await unlinked(world)


async def test_an_interface_name_that_is_taken_is_refused_and_what_has_it_stays(
    world: NodeWorld,
) -> None:
    netns = world.make_netns()
    with Conversation(netns) as conversation:
        conversation.do([add_veth(VethEnd(name="eth0"), VethEnd(name="other"), mtu=1400)])
        before = {(link.name, link.mac) for link in links(conversation)}

    with pytest.raises(InvalidInput, match="CNI_IFNAME: 'eth0' is taken"):
        await world.wire("c1", netns)

    with Conversation(netns) as conversation:
        assert {(link.name, link.mac) for link in links(conversation)} == before
    assert nothing_is_left(world)
    await unlinked(world)


@pytest.mark.parametrize(
    ("policy", "uid", "error", "code"),
    [
        (None, "another", PodUnknown, CniCode.TRY_AGAIN_LATER),
        ("Sometimes", "uid-1", InvalidInput, CniCode.INVALID_INPUT),
        ("Never", "uid-1", Unavailable, CniCode.TRY_AGAIN_LATER),  # no allocator answers
    ],
)
async def test_an_unknown_pod_or_policy_is_never_guessed(
    world: NodeWorld,
    tmp_path: Path,
    policy: str | None,
    uid: str,
    error: type[BerthError],
    code: CniCode,
) -> None:
    pod = write_pod(tmp_path, "web-0", "uid-1", policy=policy)

    with pytest.raises(error) as refused:
        await world.agent.service.add(
            Add(
                key=key("c1"),
                pod=PodName(pod.namespace, pod.name),
                pod_uid=PodUid(uid),
                netns_fd=world.make_netns(),
                netns_path="",
                mode=None,
                is_pod_known=True,
                deadline=soon(0.5),
            )
        )

    assert code_of(refused.value) is code
    assert nothing_is_left(world)
