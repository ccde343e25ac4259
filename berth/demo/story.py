"""The story of the demo, a function a step; each says what it does, does it, and checks it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from berth.doctor.examine import examine
from berth.manifests.pods import PodSpec
from shared.errors import Refused
from shared.messages.clusters import NodeView
from shared.messages.leases import LeaseView

from . import probes
from .cast import Cast
from .own_enis import own_enis
from .placement import place_pods
from .returns import BOUND, SETTLE_TIMEOUT_S, fixed_address, immediate_address
from .workloads import Chosen
from .world import until

NODES_TIMEOUT_S: Final = 60.0
_SETTLE_S: Final = 1.0  # between two looks at the books


async def tell(cast: Cast, chosen: Chosen) -> None:
    await _nodes(cast)
    await _pods(cast, chosen.pods)
    await _network(cast)
    await fixed_address(cast)
    await immediate_address(cast)
    await own_enis(cast)
    await _books(cast)


async def _nodes(cast: Cast) -> None:
    step = "nodes and ENIs"
    cast.report.heading("Nodes: ENIs created and attached, addresses in stock")
    nodes, _ = await until(cast.world.nodes, _all_serve, timeout_s=NODES_TIMEOUT_S)
    columns = ("node", "instance", "zone", "ENI", "subnet", "its address", "secondary")
    rows = [
        (*named, eni.eni, eni.subnet, eni.primary_address, len(eni.addresses))
        for named, enis in (((it.node, it.instance, it.zone), it.enis) for it in nodes)
        for eni in enis
    ]
    cast.report.table(columns, rows)
    zones: dict[str, str] = {place.node: place.zone for place in cast.stage.places}
    subnets = {each.subnet: each.zone for each in await cast.world.subnets()}
    for node in nodes:
        stocked = [eni for eni in node.enis if eni.addresses]
        cast.check(
            step,
            f"{node.node} has an ENI in a subnet of its own zone, with addresses in stock",
            any(subnets.get(eni.subnet) == zones.get(node.node) for eni in stocked),
            node.problem or "",
        )
    cast.check(step, "every node is known", {node.node for node in nodes} == set(zones))


def _all_serve(nodes: list[NodeView]) -> bool:
    """Every node has an ENI with addresses. Raises Refused with a node's reason against it."""
    for node in nodes:
        if node.problem:
            raise Refused(f"node {node.node} cannot serve pods: {node.problem}")
    return bool(nodes) and all(any(eni.addresses for eni in node.enis) for node in nodes)


async def _pods(cast: Cast, pods: Sequence[PodSpec]) -> None:
    step = "pods and addresses"
    cast.report.heading("Pods: started in order, through the CNI plugin of their node")
    for spec, place in place_pods(pods, cast.stage.places):
        await cast.start(spec, place)
    cloud = await cast.world.cloud()
    rows = []
    for actor in cast.actors:
        eni = cloud.eni_with(actor.address)
        add = f"{actor.running.add_s * 1000:.0f} ms"
        place = actor.place
        eni_id, subnet = (eni.id, eni.subnet) if eni else (None, None)
        policy = actor.spec.network.policy
        rows.append(
            (actor.name, actor.address, place.node, place.zone, eni_id, subnet, policy, add)
        )
    columns = ("pod", "address", "node", "zone", "ENI", "subnet", "policy", "ADD")
    cast.report.table(columns, rows)
    addresses = [actor.address for actor in cast.actors]
    is_each_own = len(set(addresses)) == len(addresses)
    cast.check(step, "no two pods have the same address", is_each_own)
    for actor in cast.actors:
        await cast.check_at_cloud(step, actor)


async def _network(cast: Cast) -> None:
    step = "network"
    cast.report.heading("Network: ICMP and TCP, as packets of the VPC")
    await cast.probe(step, probes.plan(cast.actors, await cast.gateways()))
    await cast.forge(step)


async def _books(cast: Cast) -> None:
    step = "the books agree"
    cast.report.heading("The books: leases, agents, and what the cloud says")
    leases, is_told = await until(
        cast.world.leases,
        lambda leases: _tells_of_all(cast, leases),
        timeout_s=SETTLE_TIMEOUT_S,
    )
    rows = [
        (it.identity.name, it.address, it.state, it.policy, it.node, it.eni)
        for it in leases
        if it.identity is not None
    ]
    cast.report.table(("lease of", "address", "state", "policy", "node", "ENI"), rows)
    cast.check(step, "every running pod has its lease, with its address", is_told)
    cloud = await cast.world.cloud()
    enis = [
        (eni.id, eni.subnet, eni.instance, eni.state, len(eni.addresses))
        for eni in cloud.enis
        if not eni.primary
    ]
    columns = ("ENI at the cloud", "subnet", "instance", "state", "addresses")
    cast.report.table(columns, enis)
    for actor in cast.actors:
        await cast.check_at_cloud(step, actor)
    examined = await examine(cast.world.bus, settle_s=_SETTLE_S)
    found = [f"{it.code} {it.address}: {it.detail}" for it in examined.findings]
    differs = "; ".join([*found, *examined.unread])
    cast.check(step, "berth doctor finds no difference", not differs, differs)
    broken = "; ".join(cloud.broken_rules)
    cast.check(step, "no rule of the cloud is broken", not broken, broken)


def _tells_of_all(cast: Cast, leases: list[LeaseView]) -> bool:
    told = {
        (lease.identity.namespace, lease.identity.name, lease.address)
        for lease in leases
        if lease.identity is not None and lease.state in BOUND
    }
    return all(
        (actor.name.namespace, actor.name.name, actor.address) in told for actor in cast.actors
    )
