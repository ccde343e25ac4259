"""The word that a node is gone for ever: refused while it may live, and then its fixed
addresses come to the next nodes of their pods.

Allocator, eni_manager, bus, store and cloud are real; only the nodes' agents stand in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from shared.addresses import AddressState
from shared.errors import InvalidInput, NodeAlive, QuotaReached, Stale
from shared.messages.base import IdentityFields
from shared.messages.clusters import InstanceCondition
from shared.messages.departures import NODE_GONE, NodeGone, NodeGoneRequest
from shared.messages.leases import (
    LEASE_FORGET,
    LEASE_REPORT,
    LeaseForgetRequest,
    ReportedAddress,
    ReportRequest,
)
from tests.service.test_exclusive_enis import roomy
from tests.support.allocator_beside import allocator
from tests.support.allocators import CLOCK, PATIENCE, identity
from tests.support.eni_books import cloud_enis
from tests.support.eni_world import CLUSTER, EniWorld, eni_world, eventually
from tests.support.fixed_pods import FixedPods
from tests.support.servers import NatsServer, RedisServer

COOLING_S = 1.0


class Scene:
    """Two nodes; web-0 runs on the first."""

    def __init__(self, world: EniWorld, one: FixedPods, two: FixedPods) -> None:
        self.world, self.one, self.two = world, one, two
        self.address = IPv4Address("0.0.0.0")
        self.generation = 0

    async def instance_is(self, done: str) -> None:
        path = f"instances/{self.one.agent.instance}/{done}"
        status, _ = await self.world.cloud.admin("POST", path)
        assert status == 200

    async def ends(self, done: str) -> None:
        """The machine, and with it all that runs there."""
        await self.instance_is(done)
        await self.one.agent.stop()

    async def said_gone(
        self, node: str = "node-1", *, force: bool = False, reason: str | None = None
    ) -> NodeGone:
        request = NodeGoneRequest(
            deadline=datetime.now(UTC) + timedelta(seconds=20),
            node=node,
            by="ann@console",
            reason=reason,
            force=force,
        )
        return await self.world.bus.call(NODE_GONE, request)

    async def next_pod_on_two(self) -> IPv4Address:
        candidate = str(min(self.two.agent.idle))
        got = await self.two.voice.acquire(
            "web-0", candidate=candidate, uid="uid-2", sandbox="s2"
        )
        return got.address

    async def placed(self) -> list[str | None]:
        """The instances whose ENIs have the address of web-0."""
        enis = (await cloud_enis(self.world)).values()
        return [owner for owner, addresses in enis if str(self.address) in addresses]


@pytest.fixture
async def scene(
    nats_server: NatsServer,
    redis_server: RedisServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Scene]:
    """A parameter is the grace of the sweeper, in seconds."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(
            eni_world(
                nats_server,
                redis_server,
                tmp_path,
                change=roomy,
                observe_interval_s=0.3,
                instance_gone_after_s=3600,
                gone_cooling_s=COOLING_S,
                sweep_interval_s=0.2,
                sweep_grace_s=getattr(request, "param", 0.3),
            )
        )
        await stack.enter_async_context(world.manager())
        await stack.enter_async_context(allocator(world, reap_interval_s=0.05))
        one = FixedPods(world, await world.agent("node-1", "ins-one"))
        two = FixedPods(world, await world.agent("node-2", "ins-two"))
        for each in (one, two):
            await each.agent.want_until(idle=3)
            await each.register()
        scene = Scene(world, one, two)
        got = await one.start("web-0")
        scene.address, scene.generation = got.address, got.generation
        yield scene


@pytest.mark.parametrize(
    ("done", "condition"),
    [
        ("terminate", InstanceCondition.GONE),
        pytest.param("stop", InstanceCondition.STOPPED, marks=pytest.mark.long),
    ],
)
async def test_the_pods_of_a_node_that_is_gone_have_their_addresses_elsewhere(
    scene: Scene, done: str, condition: InstanceCondition
) -> None:
    await scene.ends(done)

    gone = await scene.said_gone()

    assert (gone.instance, gone.condition, gone.leases) == ("ins-one", condition, 1)
    assert (await scene.world.leases())["web-0"].state is AddressState.PARKED
    assert await scene.placed() == [None], "held, on no instance"
    assert await scene.next_pod_on_two() == scene.address
    assert await scene.placed() == ["ins-two"]


@pytest.mark.long
async def test_a_node_without_a_slot_for_the_eni_that_holds_it_says_so(scene: Scene) -> None:
    await scene.ends("stop")
    await scene.said_gone()
    for _ in range(2):
        eni = await scene.world.cloud.attached("ins-two")
        assert eni

    with pytest.raises(QuotaReached, match=r"node-2 has .*no slot for another"):
        await scene.next_pod_on_two()

    assert (await scene.world.leases())["web-0"].state is AddressState.PARKED
    assert await scene.placed() == [None], "held all the same"


@pytest.mark.long
async def test_the_word_may_be_said_again(scene: Scene) -> None:
    await scene.ends("stop")
    first = await scene.said_gone()

    again = await scene.said_gone()

    assert len(first.enis) == 1
    assert (again.instance, again.condition) == ("ins-one", InstanceCondition.STOPPED)
    assert (again.leases, again.enis) == (0, ())
    assert await scene.next_pod_on_two() == scene.address


@pytest.mark.long
async def test_what_the_node_kept_for_itself_is_gone_and_no_more(scene: Scene) -> None:
    await scene.ends("stop")
    await scene.said_gone()

    async def is_held_alone() -> bool:
        found = [addresses for owner, addresses in (await cloud_enis(scene.world)).values()]
        return frozenset({str(scene.address)}) in found

    await eventually(is_held_alone)


async def test_the_word_is_refused_while_something_may_run_there(scene: Scene) -> None:
    with pytest.raises(NodeAlive, match="instance ins-one of node node-1 is running"):
        await scene.said_gone()
    await scene.instance_is("stop")
    with pytest.raises(NodeAlive, match="the agent of node node-1 answers"):
        await scene.said_gone()
    with pytest.raises(NodeAlive, match="no instance of node node-9 is known"):
        await scene.said_gone("node-9")
    with pytest.raises(InvalidInput, match="reason: None is not allowed"):
        await scene.said_gone(force=True)

    assert (await scene.world.leases())["web-0"].state is AddressState.BOUND_FIXED
    assert await scene.placed() == ["ins-one"]


async def test_by_force_a_node_that_lives_loses_its_addresses_and_is_heard_no_more(
    scene: Scene,
) -> None:
    events = await scene.world.nats.jetstream().subscribe(
        f"berth.v1.{CLUSTER}.event.node.gone", ordered_consumer=True
    )

    gone = await scene.said_gone(force=True, reason="burnt")

    assert (gone.condition, gone.leases) == (InstanceCondition.RUNNING, 1)
    told = (await events.next_msg(timeout=10)).data.decode()
    assert "forced by ann@console (instance ins-one is running): burnt" in told
    with pytest.raises(Stale):
        await scene.one.voice.release("web-0", scene.generation)
    assert await scene.next_pod_on_two() == scene.address
    assert await scene.placed() == ["ins-two"]


@pytest.mark.long
async def test_a_node_that_lives_after_all_is_served_as_any_other(scene: Scene) -> None:
    await scene.said_gone(force=True, reason="burnt")

    await scene.one.voice.register(nonce="again", last=scene.one.voice.incarnation)
    scene.one.agent.owned.clear()  # its ENIs are gone, and what was on them
    scene.one.agent.enis.clear()
    await scene.one.agent.want_until(idle=3)

    address = (await scene.one.start("web-7")).address
    assert address != scene.address


@pytest.mark.long
@pytest.mark.parametrize("scene", [3600.0], indirect=True)
async def test_addresses_without_a_lease_end_and_rest_before_another_node_has_them(
    scene: Scene,
) -> None:
    used = min(scene.one.agent.idle)
    await report(scene, used)
    await scene.ends("stop")

    gone = await scene.said_gone()

    assert gone.ended == 1
    assert await scene.next_pod_on_two() == scene.address
    assert used not in scene.two.agent.owned, "its ENI came along, and it rests"
    await scene.two.agent.want_so(lambda: used in scene.two.agent.owned)


async def report(scene: Scene, address: IPv4Address) -> None:
    """A pod without a fixed lease has it."""
    voice = scene.one.voice
    told = ReportedAddress(
        address=address,
        eni=scene.one.agent.owned[address],
        state=AddressState.BOUND_IMMEDIATE,
        pod_uid="uid-9",
        since=CLOCK.now(),
    )
    request = ReportRequest(
        deadline=CLOCK.now() + PATIENCE,
        node=voice.node,
        fence=voice.fence(),
        addresses=[told],
        is_whole=True,
    )
    await scene.world.bus.call(LEASE_REPORT, request, voice.node)


@pytest.mark.long
async def test_a_parked_lease_can_end_and_all_that_the_node_had_goes_back(
    scene: Scene,
) -> None:
    await scene.ends("terminate")
    await scene.said_gone()
    lease = (await scene.world.leases())["web-0"]

    await scene.world.bus.call(
        LEASE_FORGET,
        LeaseForgetRequest(
            deadline=CLOCK.now() + PATIENCE,
            identity=IdentityFields.of(identity("web-0")),
            generation=lease.generation,
            by="ann@console",
        ),
    )

    async def is_only_two_left() -> bool:
        owners = [owner for owner, _ in (await cloud_enis(scene.world)).values()]
        return owners == ["ins-two"]

    await eventually(is_only_two_left)
    assert "web-0" not in await scene.world.leases()
