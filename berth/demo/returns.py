"""The heart of the story: a fixed address comes back with its pod, an `Immediate` one not."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from berth.manifests.pods import PodSpec, reborn
from shared.addresses import AddressState
from shared.messages.leases import LeaseView

from .cast import Cast
from .placement import Place, another_node, is_fixed
from .stage import Actor
from .workloads import visitors
from .world import until

COOLING_S: Final = 4.0  # short, so that an address is seen to be given again
SETTLE_TIMEOUT_S: Final = 20.0
BOUND: Final = frozenset({AddressState.BOUND_FIXED, AddressState.BOUND_IMMEDIATE})
# For its pod; an ENI of the pod's own leaves the node meanwhile.
WAITING: Final = frozenset({AddressState.RETAINED, AddressState.MOVING, AddressState.PARKED})
_VISITORS_MAX: Final = 40  # more than a node's stock: by then the address came round again


async def fixed_address(cast: Cast) -> None:
    """The second fixed pod is deleted, and comes back on another node of its zone."""
    fixed = [actor for actor in cast.actors if is_fixed(actor.spec)]
    if not fixed:
        cast.report.line("no pod of this manifest has a fixed address: none to bring back")
        return
    step = "fixed address"
    old = fixed[min(1, len(fixed) - 1)]
    place = another_node(old.place, cast.stage.places)
    cast.report.heading(
        f"{old.name.name} is deleted on {old.place.node} and comes back on {place.node}"
    )
    before = await cast.world.lease_of(old.name)
    await cast.delete(old)
    await _check_retained(cast, step, old)

    new = await cast.start(reborn(old.spec, cast.rng), place)
    cast.report.table(
        ("", "address", "node", "uid"),
        [
            ("before", old.address, old.place.node, old.spec.uid),
            ("after", new.address, new.place.node, new.spec.uid),
        ],
    )
    cast.check(
        step,
        f"{new.name.name} has the same address on another node",
        new.address == old.address and new.place.node != old.place.node,
        f"{old.address}, then {new.address}",
    )
    await _check_generation(cast, step, before, new)
    await cast.check_at_cloud(step, new)
    await cast.probe_again(step, new, from_node=old.place.node)


async def _check_retained(cast: Cast, step: str, old: Actor) -> None:
    lease, is_retained = await until(
        lambda: cast.world.lease_of(old.name),
        lambda lease: lease is not None and lease.state in WAITING,
        timeout_s=SETTLE_TIMEOUT_S,
    )
    cast.check(
        step,
        f"while the pod is away its lease of {old.address} stays",
        is_retained and lease is not None and lease.address == old.address,
        lease.state if lease else "no lease",
    )


async def _check_generation(
    cast: Cast, step: str, before: LeaseView | None, new: Actor
) -> None:
    after = await cast.world.lease_of(new.name)
    was = before.generation if before else None
    now = after.generation if after else None
    cast.check(
        step,
        "its lease names the new node, with a higher generation",
        after is not None
        and after.node == new.place.node
        and was is not None
        and now is not None
        and now > was,
        f"{was} → {now}",
    )


async def immediate_address(cast: Cast) -> None:
    """A pod without a fixed address: its right ends with it, and others have the address."""
    step = "Immediate address"
    cast.report.heading("An Immediate workload: its address goes with the pod")
    # Of another zone than the fixed pods, where there is one: probes cross subnets too.
    place = cast.stage.places[-1]
    pods = visitors(cast.rng)
    first = await cast.start(next(pods), place)
    await cast.probe_again(step, first)
    await cast.delete(first)

    await _check_cooling(cast, step, place, first.address)
    second = await cast.start(next(pods), place)
    cast.check(
        step,
        f"{first.address} is given to nobody while it cools",
        second.address != first.address,
        f"{second.name.name} has {second.address}",
    )
    await _check_lease_gone(cast, step, first)
    heir = await _next_holder(cast, pods, place, first.address)
    cast.check(
        step,
        f"{first.address} is given to another pod later",
        heir is not None,
        heir.name.name if heir else f"not to {_VISITORS_MAX} pods",
    )


async def _check_cooling(cast: Cast, step: str, place: Place, address: IPv4Address) -> None:
    inventory = await cast.world.inventory(place.node)
    states = {entry.address: entry.state for entry in inventory.addresses}
    state = states.get(address)
    cast.check(step, f"{address} cools", state is AddressState.COOLING, state or "unknown")


async def _check_lease_gone(cast: Cast, step: str, gone: Actor) -> None:
    lease, is_gone = await until(
        lambda: cast.world.lease_of(gone.name),
        lambda lease: lease is None or lease.state not in BOUND,
        timeout_s=SETTLE_TIMEOUT_S,
    )
    state = f"its address: {lease.state}" if lease else "none"
    cast.check(step, f"{gone.name.name} holds no lease any more", is_gone, state)


async def _next_holder(
    cast: Cast, pods: Iterator[PodSpec], place: Place, address: IPv4Address
) -> Actor | None:
    """Once the address has cooled: pods on its node, until one is given it."""
    await until(
        lambda: cast.world.inventory(place.node),
        lambda inventory: any(
            entry.address == address and entry.state is AddressState.STOCK
            for entry in inventory.addresses
        ),
        timeout_s=COOLING_S + SETTLE_TIMEOUT_S,
    )
    others: list[Actor] = []
    heir: Actor | None = None
    while heir is None and len(others) < _VISITORS_MAX:
        actor = await cast.start(next(pods), place)
        if actor.address == address:
            heir = actor
        else:
            others.append(actor)
    for other in others:
        await cast.delete(other)
    return heir
