"""The story of the demo, one method a step; each says what it does, does it, and checks it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

from berth.manifests.pods import PodSpec, reborn
from shared.addresses import AddressState
from shared.errors import Refused
from shared.messages.clusters import NodeView
from shared.messages.leases import LeaseView

from . import probes
from .checks import Score
from .placement import Place, another_node, is_fixed, place_pods
from .report import Report
from .stage import Actor, Stage, why_waiting
from .workloads import Chosen, visitor
from .world import World, until

NODES_TIMEOUT_S: Final = 60.0
SETTLE_TIMEOUT_S: Final = 20.0
COOLING_S: Final = 4.0  # short, so that an address is seen to be given again
_BOUND: Final = frozenset({AddressState.BOUND_FIXED, AddressState.BOUND_IMMEDIATE})
_VISITORS_MAX: Final = 40  # more than a node's stock: by then the address came round again


class Story:
    """Everything the demo knows while it runs."""

    def __init__(
        self, world: World, stage: Stage, score: Score, report: Report, rng: random.Random
    ) -> None:
        self._world = world
        self._stage = stage
        self._score = score
        self._report = report
        self._rng = rng
        self._actors: list[Actor] = []
        self._gateways: dict[IPv4Address, IPv4Address] = {}

    async def tell(self, chosen: Chosen) -> None:
        await self.nodes()
        await self.pods(chosen.pods)
        await self.network()
        await self.comes_back()
        await self.immediate()
        await self.books()

    async def nodes(self) -> None:
        step = "nodes and ENIs"
        self._report.heading("Nodes: ENIs created and attached, addresses in stock")
        nodes, _ = await until(self._world.nodes, _all_serve, timeout_s=NODES_TIMEOUT_S)
        zones: dict[str, str] = {place.node: place.zone for place in self._stage.places}
        rows = [
            (node.node, node.instance, node.zone, eni.eni, eni.subnet, eni.primary_address,
             len(eni.addresses))
            for node in nodes
            for eni in node.enis
        ]  # fmt: skip
        columns = ("node", "instance", "zone", "ENI", "subnet", "its address", "more")
        self._report.table(columns, rows)
        for node in nodes:
            self._check(
                step,
                f"{node.node} has an ENI of its own zone with addresses in stock",
                bool(node.enis) and node.zone == zones.get(node.node),
                node.problem or "",
            )
        self._check(step, "every node is known", {n.node for n in nodes} == set(zones))

    async def pods(self, pods: Sequence[PodSpec]) -> None:
        step = "pods and addresses"
        self._report.heading("Pods: started in order, through the CNI plugin of their node")
        for spec, place in place_pods(pods, self._stage.places):
            await self._start(spec, place)
        cloud = await self._world.cloud()
        rows = []
        for actor in self._actors:
            eni = cloud.eni_with(actor.address)
            subnet = cloud.subnet_with(actor.address)
            if subnet is not None:
                self._gateways[actor.address] = subnet.gateway
            rows.append(
                (actor.name, actor.address, actor.place.node, actor.place.zone,
                 eni.id if eni else None, subnet.id if subnet else None,
                 actor.spec.network.policy, f"{actor.running.add_s * 1000:.0f} ms")
            )  # fmt: skip
        columns = ("pod", "address", "node", "zone", "ENI", "subnet", "policy", "ADD")
        self._report.table(columns, rows)
        addresses = [actor.address for actor in self._actors]
        self._check(step, "no two pods have the same address",
                    len(set(addresses)) == len(addresses))  # fmt: skip
        for actor in self._actors:
            await self._check_at_cloud(step, actor)

    async def network(self) -> None:
        step = "network"
        self._report.heading("Network: ICMP and TCP, as packets of the VPC")
        planned = probes.plan(self._actors, self._gateways)
        await probes.run_all(
            self._stage, planned, step=step, score=self._score, report=self._report
        )
        await self._forge(step)

    async def comes_back(self) -> None:
        fixed = [actor for actor in self._actors if is_fixed(actor.spec)]
        if not fixed:
            self._report.line("no pod of this manifest has a fixed address: none to bring back")
            return
        old = fixed[min(1, len(fixed) - 1)]
        step = "fixed address"
        place = another_node(old.place, self._stage.places)
        self._report.heading(
            f"{old.name.name} is deleted on {old.place.node} and comes back on {place.node}"
        )
        before = await self._world.lease_of(old.name)
        await self._delete(old)
        kept, is_kept = await until(
            lambda: self._world.lease_of(old.name),
            lambda lease: lease is not None and lease.state is AddressState.RETAINED,
            timeout_s=SETTLE_TIMEOUT_S,
        )
        self._check(step, f"while the pod is away its lease of {old.address} stays", is_kept,
                    f"{kept.state if kept else 'no lease'}")  # fmt: skip

        new = await self._start(reborn(old.spec, self._rng), place)
        self._report.table(
            ("", "address", "node", "uid"),
            [
                ("before", old.address, old.place.node, old.spec.uid),
                ("after", new.address, new.place.node, new.spec.uid),
            ],
        )
        self._check(step, f"{new.name.name} has the same address on another node",
                    new.address == old.address and new.place.node != old.place.node,
                    f"{old.address}, then {new.address}")  # fmt: skip
        await self._check_generation(step, before, new)
        await self._check_at_cloud(step, new)
        await self._probe_again(step, new)

    async def immediate(self) -> None:
        step = "Immediate address"
        self._report.heading("An Immediate workload: its address goes with the pod")
        place = self._stage.places[0]
        first = await self._start(visitor(self._rng), place)
        await self._probe_again(step, first)
        await self._delete(first)
        address = first.address

        inventory = await self._world.inventory(place.node)
        states = {entry.address: entry.state for entry in inventory.addresses}
        is_cooling = states.get(address) is AddressState.COOLING
        self._check(step, f"{address} cools, and is given to nobody meanwhile", is_cooling,
                    f"{states.get(address, 'unknown')}")  # fmt: skip
        gone, is_gone = await until(
            lambda: self._world.lease_of(first.name),
            lambda lease: lease is None or lease.state not in _BOUND,
            timeout_s=SETTLE_TIMEOUT_S,
        )
        self._check(step, f"{first.name.name} holds no lease any more", is_gone,
                    f"{gone.state if gone else 'none'}")  # fmt: skip
        heir = await self._next_holder(place, address)
        self._check(
            step,
            f"{address} is given to another pod later",
            heir is not None,
            heir.name.name if heir else f"not to {_VISITORS_MAX} pods",
        )

    async def books(self) -> None:
        step = "the books agree"
        self._report.heading("The books: leases, agents, and what the cloud says")
        leases, is_told = await until(
            self._world.leases, self._tells_of_all, timeout_s=SETTLE_TIMEOUT_S
        )
        rows = [
            (it.identity.name, it.address, it.state, it.policy, it.node, it.eni)
            for it in leases
            if it.identity is not None
        ]
        self._report.table(("lease of", "address", "state", "policy", "node", "ENI"), rows)
        self._check(step, "every running pod has its lease, with its address", is_told)
        cloud = await self._world.cloud()
        enis = [
            (eni.id, eni.subnet, eni.instance, eni.state, len(eni.addresses))
            for eni in cloud.enis
            if not eni.primary
        ]
        columns = ("ENI at the cloud", "subnet", "instance", "state", "addresses")
        self._report.table(columns, enis)
        for actor in self._actors:
            await self._check_at_cloud(step, actor)
        self._check(step, "no rule of the cloud is broken", not cloud.broken_rules,
                    "; ".join(cloud.broken_rules))  # fmt: skip

    async def _start(self, spec: PodSpec, place: Place) -> Actor:
        actor = await self._stage.start(
            spec, place, lambda waiting: self._report.line(why_waiting(spec, waiting))
        )
        self._actors.append(actor)
        command = " ".join(spec.containers[0].command) or "its own command"
        self._report.line(
            f"{spec.name.name} runs on {place.node} with {actor.address} "
            f"in {actor.running.seconds:.2f} s (shown, not run: {command})"
        )
        return actor

    async def _delete(self, actor: Actor) -> None:
        await self._stage.delete(actor)
        self._actors.remove(actor)
        self._report.line(f"{actor.name.name} is deleted")

    async def _next_holder(self, place: Place, address: IPv4Address) -> Actor | None:
        """Start pods on the node, once the address has cooled, until one is given it."""
        await until(
            lambda: self._world.inventory(place.node),
            lambda inventory: any(
                entry.address == address and entry.state is AddressState.STOCK
                for entry in inventory.addresses
            ),
            timeout_s=COOLING_S + SETTLE_TIMEOUT_S,
        )
        others: list[Actor] = []
        found: Actor | None = None
        while found is None and len(others) < _VISITORS_MAX:
            actor = await self._start(visitor(self._rng), place)
            if actor.address == address:
                found = actor
            else:
                others.append(actor)
        for other in others:
            await self._delete(other)
        return found

    async def _check_generation(self, step: str, before: LeaseView | None, new: Actor) -> None:
        after = await self._world.lease_of(new.name)
        was = before.generation if before else None
        now = after.generation if after else None
        self._check(step, "its lease names the new node, with a higher generation",
                    after is not None and after.node == new.place.node
                    and was is not None and now is not None and now > was,
                    f"{was} → {now}")  # fmt: skip

    async def _check_at_cloud(self, step: str, actor: Actor) -> None:
        """The cloud has the pod's address on an ENI of the pod's node, and nowhere else."""
        cloud = await self._world.cloud()
        eni = cloud.eni_with(actor.address)
        instance = self._world.state.node(actor.place.node).instance
        self._check(
            step,
            f"the cloud has {actor.address} of {actor.name.name} on {actor.place.node}",
            eni is not None and eni.instance == instance,
            f"{eni.id} at {eni.instance}" if eni else "on no ENI",
        )

    async def _probe_again(self, step: str, actor: Actor) -> None:
        cloud = await self._world.cloud()
        subnet = cloud.subnet_with(actor.address)
        planned = probes.alone(actor, subnet.gateway if subnet else None)
        others = [each for each in self._actors if each.name != actor.name][:2]
        for other in others:
            same = other.place.node == actor.place.node
            kind = "same node" if same else "across nodes"
            planned.append(probes.between(kind, other, actor))
        await probes.run_all(
            self._stage, planned, step=step, score=self._score, report=self._report
        )

    async def _forge(self, step: str) -> None:
        if len(self._actors) < 2:
            return
        sender = self._actors[0]
        receiver = next(
            (a for a in self._actors if a.place.node != sender.place.node), self._actors[1]
        )
        neighbour = next(
            (
                a.address
                for a in self._actors[1:]
                if a.place.node == sender.place.node and a is not receiver
            ),
            None,
        )
        made = await probes.forge(
            self._stage, sender, receiver, neighbour, step=step, score=self._score
        )
        for check in made:
            self._report.check(check)

    def _tells_of_all(self, leases: list[LeaseView]) -> bool:
        told = {
            (lease.identity.namespace, lease.identity.name, lease.address)
            for lease in leases
            if lease.identity is not None and lease.state in _BOUND
        }
        return all(
            (actor.name.namespace, actor.name.name, actor.address) in told
            for actor in self._actors
        )

    def _check(self, step: str, claim: str, is_kept: bool, detail: str = "") -> None:
        self._score.add(step, claim, is_kept, detail)
        self._report.check(self._score.checks[-1])


def _all_serve(nodes: list[NodeView]) -> bool:
    """Every node has an ENI, or the reason why it can get none."""
    if any(node.problem for node in nodes):
        problems = [f"{node.node}: {node.problem}" for node in nodes if node.problem]
        raise Refused(f"a node cannot serve pods: {problems[0]}")
    return bool(nodes) and all(any(eni.addresses for eni in node.enis) for node in nodes)
