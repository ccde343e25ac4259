"""A Deployment under `Never` rolls over again and again on the addresses it began with."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import cycle
from pathlib import Path

import aiohttp
import pytest

from berth.demo.placement import Place, home_zone
from berth.demo.stage import Actor, Stage
from berth.demo.world import World, until
from berth.manifests.names import generated_name
from berth.manifests.pods import PodSpec, new_uid, pods_of, replica_set
from berth.manifests.reader import parse_manifest
from berth.operator import open_operator
from berth.playground.playground import Playground, StartOptions, ignore
from berth.playground.topology import default_topology
from shared.addresses import AddressState
from shared.ids import PodName

REPLICAS, SURGE, UPDATES = 3, 1, 10
WEB = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  replicas: {REPLICAS}
  strategy: {{type: RollingUpdate, rollingUpdate: {{maxSurge: {SURGE}, maxUnavailable: 0}}}}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata:
      labels: {{app: web}}
      annotations:
        tke.cloud.tencent.com/networks: tke-route-eni
        tke.cloud.tencent.com/vpc-ip-claim-delete-policy: Never
    spec:
      containers:
        - name: web
          image: busybox
          resources:
            requests: {{tke.cloud.tencent.com/eni-ip: "1"}}
            limits: {{tke.cloud.tencent.com/eni-ip: "1"}}
"""

pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(240)]


class Rollout:
    """As the Deployment controller does it: a pod more, then one of the old fewer."""

    def __init__(self, stage: Stage, world: World, rng: random.Random) -> None:
        self._stage = stage
        self._world = world
        self._rng = rng
        places = stage.places
        zone = home_zone(places)
        self._places = cycle([place for place in places if place.zone == zone])
        self.pods: list[Actor] = []
        self.addresses: set[IPv4Address] = set()
        self.leases_max = 0

    async def start(self, spec: PodSpec) -> None:
        place: Place = next(self._places)
        actor = await self._stage.start(spec, place, lambda waiting: None)
        self.pods.append(actor)
        self.addresses.add(actor.address)
        self.leases_max = max(self.leases_max, await self._count())

    async def update(self, version: PodSpec) -> None:
        old = self.pods
        self.pods = []
        for actor in old:
            name = generated_name(f"{version.owner.name}-", self._rng) if version.owner else ""
            pod = replace(version, name=PodName("shop", name), uid=new_uid(self._rng))
            await self.start(pod)
            await self._stage.delete(actor)

    def next_version(self, spec: PodSpec) -> PodSpec:
        assert spec.owner is not None
        assert spec.owner.owner is not None
        return replace(spec, owner=replica_set(spec.owner.owner, self._rng))

    async def _count(self) -> int:
        return sum(lease.generation is not None for lease in await self._world.leases())

    async def bound(self) -> int:
        leases = await self._world.leases()
        return sum(lease.state is AddressState.BOUND_FIXED for lease in leases)


async def test_ten_rolling_updates_never_use_more_addresses_than_there_may_be_pods(
    run_dir: Path,
) -> None:
    rng = random.Random(3)
    playground = await Playground.start(
        run_dir=run_dir,
        topology=default_topology(),
        options=StartOptions(cooling_s=4.0),
        report=ignore,
    )
    try:
        async with AsyncExitStack() as stack:
            stage = await Stage.open(playground.state, stack, stays=False)
            bus = await stack.enter_async_context(open_operator(playground.state))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            world = World(state=playground.state, bus=bus, http=http)
            rollout = Rollout(stage, world, rng)
            specs = pods_of(parse_manifest(WEB), rng)
            for spec in specs:
                await rollout.start(spec)

            for _ in range(UPDATES):
                await rollout.update(rollout.next_version(specs[0]))

            bound, is_quiet = await until(
                rollout.bound, lambda count: count == REPLICAS, timeout_s=20
            )
            assert is_quiet, f"{bound} leases are bound to {REPLICAS} pods"
            assert len(rollout.addresses) <= REPLICAS + SURGE
            assert rollout.leases_max <= REPLICAS + SURGE
            assert (await world.cloud()).broken_rules == []
    finally:
        await playground.stop()
