"""A rolling upgrade under load, and a cluster that starts from nothing in a bad order."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from berth.demo.placement import Place, home_places
from berth.demo.stage import Actor, Stage
from berth.manifests.names import generated_name
from berth.manifests.pods import PodSpec, new_uid, pods_of
from berth.manifests.reader import parse_manifest
from berth.playground.playground import Playground
from berth.playground.processes import Process
from berth.pods.messages import Waiting
from shared.errors import BerthError
from shared.ids import PodName
from tests.support.cni_calls import call_plugin
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.server import ApiServer, api_server
from tests.support.servers import free_port

pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(280)]

RETRIES_MAX = 1
STATUS_EVERY_S = 0.5
SETTLED_S = 90.0
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: shop
  annotations:
    tke.cloud.tencent.com/networks: tke-route-eni
    tke.cloud.tencent.com/vpc-ip-claim-delete-policy: {policy}
spec:
  containers:
    - name: c
      image: busybox
      resources:
        requests: {{tke.cloud.tencent.com/eni-ip: "1"}}
        limits: {{tke.cloud.tencent.com/eni-ip: "1"}}
"""


def pod(name: str, policy: str, rng: random.Random) -> PodSpec:
    (spec,) = pods_of(parse_manifest(POD.format(name=name, policy=policy)), rng)
    return spec


@dataclass(slots=True)
class Load:
    """Pods that come and go on one node; one of them under one name, with a fixed address."""

    stage: Stage
    place: Place
    rng: random.Random
    retries: list[int] = field(default_factory=list)
    fixed: set[IPv4Address] = field(default_factory=set)

    async def start(self, spec: PodSpec) -> Actor:
        waited: list[Waiting] = []
        spec = replace(spec, uid=new_uid(self.rng))
        actor = await self.stage.start(spec, self.place, waited.append)
        self.retries.append(len(waited))
        return actor

    async def run(self, over: asyncio.Event) -> None:
        keeper = pod(f"keeper-{self.place.node}", "Never", self.rng)
        visitor = pod("visitor", "Immediate", self.rng)
        while not over.is_set():
            name = PodName("shop", generated_name("visitor-", self.rng))
            actors = await asyncio.gather(
                self.start(keeper), self.start(replace(visitor, name=name))
            )
            self.fixed.add(actors[0].address)
            await asyncio.gather(*map(self.stage.delete, actors))


async def watch_status(playground: Playground, over: asyncio.Event, failed: list[str]) -> int:
    """As kubelet asks: a STATUS that fails makes the node NotReady."""
    asked = 0
    while not over.is_set():
        for node in playground.state.nodes:
            listed = json.loads((node.cni_conf_dir / "10-berth.conflist").read_text())
            call = listed["plugins"][0] | {"cniVersion": "1.1.0", "name": listed["name"]}
            called = await call_plugin(
                node.cni_bin_dir / "berth-cni",
                {"CNI_COMMAND": "STATUS", "CNI_PATH": str(node.cni_bin_dir)},
                json.dumps(call).encode(),
            )
            asked += 1
            if called.status:
                failed.append(f"{node.name}: {called.stdout}")
        await asyncio.sleep(STATUS_EVERY_S)
    return asked


@pytest.fixture
async def stage(playground: Playground) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield await Stage.open(playground.state, stack, stays=False)


async def reachable(stage: Stage, actors: Sequence[Actor], places: Sequence[Place]) -> None:
    for actor in actors:
        for place in places:
            probed = await stage.runner(place.node).probe(None, "tcp", actor.address)
            assert probed.is_answered, f"{actor.name} from {place.node}"


async def test_a_rolling_upgrade_under_load_is_not_noticed(
    playground: Playground, stage: Stage
) -> None:
    rng = random.Random(5)
    places = home_places(stage.places)[:2]
    loads = [Load(stage, place, rng) for place in places]
    residents = [
        await load.start(pod(f"resident-{load.place.node}", "Never", rng)) for load in loads
    ]
    over, failed = asyncio.Event(), list[str]()
    names = [each.name for each in playground.processes]
    upgraded = [each for each in names if each.startswith("allocator-")]
    upgraded += ["eni-manager", *(each for each in names if each.startswith("agent-"))]

    async with asyncio.TaskGroup() as group:
        asked = group.create_task(watch_status(playground, over, failed))
        for load in loads:
            group.create_task(load.run(over))
        for name in upgraded:
            process = playground.process(name)
            await process.stop()
            await process.start()
        over.set()

    assert failed == []
    assert asked.result() > len(upgraded)
    for load in loads:
        assert max(load.retries) <= RETRIES_MAX, f"{load.place.node}: {load.retries}"
        assert len(load.fixed) == 1, f"{load.place.node}: {load.fixed}"
        assert len(load.retries) > 10, "too little happened to prove anything"
    await reachable(stage, residents, places)


# Everyone before what it needs: agents before services, those before store and bus.
WORST_ORDER = ("agent-", "eni-manager", "allocator-", "valkey", "nats", "api")


async def test_a_cluster_comes_up_by_itself_in_the_worst_order(
    playground: Playground, stage: Stage, tmp_path: Path
) -> None:
    rng = random.Random(6)
    place = home_places(stage.places)[0]
    load = Load(stage, place, rng)
    keeper = pod("keeper", "Never", rng)
    first = await load.start(keeper)
    resident = await load.start(pod("resident", "Never", rng))
    await stage.delete(first)
    groups = [
        [each for each in playground.processes if each.name.startswith(prefix)]
        for prefix in WORST_ORDER
    ]
    async with AsyncExitStack() as stack:
        port = free_port()
        _ask_the_api_server(playground, port, tmp_path)
        await asyncio.gather(*(each.stop() for group in groups for each in group))

        starting = []
        for name, processes in zip(WORST_ORDER, groups, strict=True):
            if name == "api":
                await stack.enter_async_context(api_server(port=port))
            starting += [asyncio.create_task(_kept(each), name=each.name) for each in processes]
            await asyncio.sleep(1.0)  # so that who came before has looked in vain
        async with asyncio.timeout(SETTLED_S):
            await asyncio.gather(*starting)
        again = await load.start(keeper)

        assert again.address == first.address
        await reachable(stage, [again, resident], home_places(stage.places))


def _ask_the_api_server(playground: Playground, port: int, folder: Path) -> None:
    """The allocators are told of a server that is not there yet."""
    server = ApiServer()
    server.url = f"http://127.0.0.1:{port}"
    asked = {
        "BERTH_ALLOCATOR_POD_SOURCE": "kubernetes",
        "BERTH_ALLOCATOR_KUBERNETES_CONFIG": str(kubeconfig(server, folder)),
    }
    for process in playground.processes:
        if process.name.startswith("allocator-"):
            environment = dict(process.spec.environment) | asked
            process.spec = replace(process.spec, environment=environment)


async def _kept(process: Process) -> None:
    """Started again and again until it serves, as kubelet does."""
    while True:
        try:
            return await process.start()
        except BerthError:
            await asyncio.sleep(0.5)
