"""Services are killed while pods with ENIs of their own come and go: the books still agree."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import pytest

from berth.commands.options import deadline_of
from berth.demo.placement import Place, home_places
from berth.demo.stage import Actor, Stage
from berth.demo.workloads import guest, keeper
from berth.demo.world import CloudEni, World, until
from berth.manifests.names import generated_name
from berth.manifests.pods import PodSpec, new_uid, reborn
from berth.operator import open_operator
from berth.playground.playground import Playground, StartOptions, ignore
from berth.playground.topology import default_topology
from services.node_agent.domain.attachments import HOST_PREFIX
from shared.addresses import AddressState
from shared.annotations import NetworkMode
from shared.ids import PodName
from shared.kernel.conversation import Conversation
from shared.kernel.links import Link, links
from shared.kernel.netns import open_netns
from shared.messages.base import IdentityFields
from shared.messages.leases import LEASE_FORGET, LeaseForgetRequest

pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(280)]

ROUNDS = 8
QUIET_S = 40.0
LATEST_KILL_S = 0.6
SEED = int(os.environ.get("BERTH_KILLS_SEED", "11"))


@dataclass
class Scene:
    playground: Playground
    stage: Stage
    world: World
    rng: random.Random

    @property
    def places(self) -> list[Place]:
        return home_places(self.stage.places)

    async def start(self, spec: PodSpec, place: Place) -> Actor:
        return await self.stage.start(spec, place, lambda waiting: None)

    async def kill_one(self, place: Place) -> None:
        """Whoever is in the middle of it: the agent, the eni_manager or an allocator."""
        names = (f"agent-{place.node}", "eni-manager", "allocator-1")
        await asyncio.sleep(self.rng.uniform(0.0, LATEST_KILL_S))
        await self.playground.process(self.rng.choice(names)).kill()

    async def whole_enis(self) -> dict[str, CloudEni]:
        """At the cloud: those that have nothing but their own address."""
        cloud = await self.world.cloud()
        assert cloud.broken_rules == []
        return {
            each.id: each
            for each in cloud.enis
            if not each.primary and len(each.addresses) == 1
        }

    def links_of(self, place: Place) -> list[Link]:
        node = self.playground.state.node(place.node)
        assert node.netns_path is not None
        netns = open_netns(node.netns_path)
        try:
            with Conversation(netns) as conversation:
                return links(conversation)
        finally:
            os.close(netns)

    async def amiss(self, pods: list[Actor], kept: IPv4Address) -> list[str]:
        """Where kernel, books, store and cloud do not agree; empty once all is quiet."""
        found: list[str] = []
        enis = await self.whole_enis()
        at = {next(iter(each.addresses)): each for each in enis.values()}
        for pod in pods:
            instance = self.playground.state.node(pod.place.node).instance
            if pod.address not in at or at[pod.address].instance != instance:
                found.append(f"the cloud does not have {pod.address} on {pod.place.node}")
        wanted = {pod.address for pod in pods} | {kept}
        found += [f"the cloud has {each} for nobody" for each in at if each not in wanted]
        for place in self.places:
            found += await self._amiss_on(place, [p for p in pods if p.place == place])
        lease = await self.world.lease_of(PodName("default", "keeper-0"))
        state = lease.state if lease else None
        is_bound = any(pod.address == kept for pod in pods)
        if state is not (AddressState.BOUND_FIXED if is_bound else AddressState.PARKED):
            found.append(f"the lease is {state}")
        return found

    async def _amiss_on(self, place: Place, pods: list[Actor]) -> list[str]:
        book = await self.world.inventory(place.node)
        whole = {each.primary_address for each in book.enis if each.is_exclusive}
        bound = {
            each.address
            for each in book.addresses
            if each.address in whole
            and each.state in (AddressState.BOUND_FIXED, AddressState.BOUND_IMMEDIATE)
        }
        addresses = {pod.address for pod in pods}
        found = []
        if whole != addresses or bound != addresses:
            found.append(f"{place.node} knows {whole} and has bound {bound}, not {addresses}")
        macs = {each.mac for each in book.enis if each.is_exclusive}
        here = self.links_of(place)
        if [link for link in here if link.mac in macs]:
            found.append(f"an ENI of a pod is in {place.node}'s own namespace")
        prefix = HOST_PREFIX[NetworkMode.EXCLUSIVE]
        to_pods = [link for link in here if link.name.startswith(prefix)]
        if len(to_pods) != len(pods):
            found.append(f"{place.node} has {len(to_pods)} links to {len(pods)} pods")
        return found


@pytest.fixture
async def scene(run_dir: Path) -> AsyncIterator[Scene]:
    playground = await Playground.start(
        run_dir=run_dir,
        topology=default_topology(),
        # What is killed sends nothing later: its calls arrive within a moment, or never.
        options=StartOptions(cooling_s=1.0, park_after_s=1.0, cloud_in_flight_max_s=3.0),
        report=ignore,
    )
    try:
        async with AsyncExitStack() as stack:
            stage = await Stage.open(playground.state, stack, stays=False)
            bus = await stack.enter_async_context(open_operator(playground.state))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            world = World(state=playground.state, bus=bus, http=http)
            yield Scene(playground, stage, world, random.Random(SEED))
    finally:
        await playground.stop()


async def quiet(scene: Scene, pods: list[Actor], kept: IPv4Address) -> list[str]:
    found, _ = await until(
        lambda: scene.amiss(pods, kept), lambda found: not found, timeout_s=QUIET_S
    )
    return found


async def test_whoever_is_killed_around_add_and_del_the_books_agree_afterwards(
    scene: Scene,
) -> None:
    fixed = keeper(scene.rng)
    first = await scene.start(fixed, scene.places[0])
    kept = first.address
    await scene.stage.delete(first)

    for number in range(ROUNDS):
        near, far = (scene.places[(number + shift) % 2] for shift in (0, 1))
        fixed = reborn(fixed, scene.rng)
        visitor = guest(scene.rng)
        name = generated_name("guest-", scene.rng)
        visitor = replace(
            visitor, name=PodName(visitor.name.namespace, name), uid=new_uid(scene.rng)
        )
        pods = list(
            (
                await asyncio.gather(
                    scene.start(fixed, far),
                    scene.start(visitor, near),
                    scene.kill_one(scene.rng.choice((near, far))),
                )
            )[:2]
        )
        assert pods[0].address == kept, f"round {number}, seed {SEED}"
        assert await quiet(scene, pods, kept) == [], f"running, round {number}, seed {SEED}"
        for pod in pods:
            probed = await scene.stage.runner(pod.place.node).probe(None, "tcp", pod.address)
            assert probed.is_answered, f"{pod.name}, round {number}, seed {SEED}"

        await asyncio.gather(
            *(scene.stage.delete(pod) for pod in pods),
            scene.kill_one(scene.rng.choice((near, far))),
        )
        assert await quiet(scene, [], kept) == [], f"deleted, round {number}, seed {SEED}"

    await release(scene)
    left, is_none = await until(scene.whole_enis, lambda enis: not enis, timeout_s=QUIET_S)
    assert is_none, f"{list(left)} is nobody's"


async def release(scene: Scene) -> None:
    """As a person does it, now that the pod is gone for good."""
    lease = await scene.world.lease_of(PodName("default", "keeper-0"))
    assert lease is not None
    assert lease.identity is not None
    assert lease.generation is not None
    await scene.world.bus.call(
        LEASE_FORGET,
        LeaseForgetRequest(
            deadline=deadline_of(LEASE_FORGET),
            identity=IdentityFields.of(lease.identity.to_identity()),
            generation=lease.generation,
            by="tests",
        ),
    )
