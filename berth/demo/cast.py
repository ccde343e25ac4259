"""The pods of the story while it is told: who runs where, and checks that any step makes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

from berth.manifests.pods import PodSpec
from shared.ids import NodeName

from . import probes
from .checks import Score
from .placement import Place
from .report import Report
from .stage import Actor, Stage, why_waiting
from .world import World

_OTHERS_MAX: Final = 2  # pods that probe one that is new


class Cast:
    """What every step of the story has in its hands."""

    def __init__(
        self, world: World, stage: Stage, score: Score, report: Report, rng: random.Random
    ) -> None:
        self.world = world
        self.stage = stage
        self.report = report
        self.rng = rng
        self._score = score
        self._actors: list[Actor] = []

    @property
    def actors(self) -> Sequence[Actor]:
        return tuple(self._actors)

    async def start(self, spec: PodSpec, place: Place) -> Actor:
        actor = await self.stage.start(
            spec, place, lambda waiting: self.report.line(why_waiting(spec, waiting))
        )
        self._actors.append(actor)
        self.report.line(
            f"{spec.name.name} runs on {place.node} with {actor.address} "
            f"in {actor.running.seconds:.2f} s"
        )
        return actor

    async def delete(self, actor: Actor) -> None:
        await self.stage.delete(actor)
        self._actors.remove(actor)
        self.report.line(f"{actor.name.name} is deleted")

    def check(self, step: str, claim: str, is_kept: bool, detail: object = "") -> None:
        self.report.check(self._score.add(step, claim, is_kept, str(detail)))

    async def check_at_cloud(self, step: str, actor: Actor) -> None:
        """The cloud has the pod's address on an ENI of the pod's node."""
        cloud = await self.world.cloud()
        eni = cloud.eni_with(actor.address)
        instance = self.world.state.node(actor.place.node).instance
        self.check(
            step,
            f"the cloud has {actor.address} of {actor.name.name} on {actor.place.node}",
            eni is not None and eni.instance == instance,
            f"{eni.id} at {eni.instance}" if eni else "on no ENI",
        )

    async def gateways(self) -> dict[IPv4Address, IPv4Address]:
        """Of each pod's subnet, by the pod's address."""
        cloud = await self.world.cloud()
        found = {actor.address: cloud.subnet_with(actor.address) for actor in self._actors}
        return {at: subnet.gateway for at, subnet in found.items() if subnet is not None}

    async def probe(self, step: str, planned: Sequence[probes.Probe]) -> None:
        await probes.run_all(
            self.stage, planned, step=step, score=self._score, report=self.report
        )

    async def probe_again(
        self, step: str, actor: Actor, *, from_node: NodeName | None = None
    ) -> None:
        """All that one pod must reach, and who must reach it: others, and a node it left."""
        planned = probes.alone(actor, (await self.gateways()).get(actor.address))
        if from_node is not None:
            planned.append(probes.from_node(from_node, actor))
        others = [each for each in self._actors if each is not actor]
        others.sort(key=lambda each: each.place.node == actor.place.node)  # far ones first
        for other in others[:_OTHERS_MAX]:
            planned.append(probes.between(other, actor))
        await self.probe(step, planned)

    async def forge(self, step: str) -> None:
        """A pod speaks as somebody else: as a stranger, and as a pod on the same ENI."""
        if len(self._actors) < 2:
            return
        sender, *others = self._actors
        far = [each for each in others if each.place.node != sender.place.node]
        receiver = far[0] if far else others[0]
        near = [each for each in others if each not in (receiver, *far)]
        neighbour = near[0].address if near else None
        await self.forge_from(step, sender, receiver, neighbour=neighbour)

    async def forge_from(
        self, step: str, sender: Actor, receiver: Actor, *, neighbour: IPv4Address | None
    ) -> None:
        made = await probes.forge(
            self.stage, sender, receiver, neighbour, step=step, score=self._score
        )
        for check in made:
            self.report.check(check)
