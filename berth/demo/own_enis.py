"""Pods with an ENI of their own, beside the others: the ENI comes with an `Immediate` pod and
goes with it; a fixed pod's ENI is detached, kept, and follows it to another node."""

from __future__ import annotations

from typing import Final

from berth.manifests.pods import reborn
from shared.addresses import AddressState

from .cast import Cast
from .placement import another_node, home_places
from .returns import SETTLE_TIMEOUT_S
from .stage import Actor
from .workloads import guest, keeper
from .world import CloudEni, CloudState, until

STEP: Final = "ENIs of pods"
PARK_AFTER_S: Final = 1.0  # short, so that the ENI is seen to leave its node


async def own_enis(cast: Cast) -> None:
    await _immediate(cast)
    await _fixed(cast)


async def _immediate(cast: Cast) -> None:
    cast.report.heading(
        "An Immediate pod with an ENI of its own: made for it, and gone with it"
    )
    place = home_places(cast.stage.places)[-1]
    pod = await cast.start(guest(cast.rng), place)
    eni = await _check_own(cast, pod)
    await cast.probe_again(STEP, pod)
    await _forge(cast, pod)
    await cast.delete(pod)
    if eni is None:
        return
    _, is_gone = await until(
        cast.world.cloud,
        lambda cloud: all(each.id != eni.id for each in cloud.enis),
        timeout_s=SETTLE_TIMEOUT_S,
    )
    cast.check(STEP, f"once its address has cooled, {eni.id} is deleted", is_gone)


async def _fixed(cast: Cast) -> None:
    place = home_places(cast.stage.places)[0]
    spec = keeper(cast.rng)
    other = another_node(place, cast.stage.places)
    cast.report.heading(
        f"A fixed pod with an ENI of its own: on {place.node}, then back on {other.node}"
    )
    old = await cast.start(spec, place)
    before = await _check_own(cast, old)
    await cast.delete(old)
    if before is None:
        return
    cloud, is_kept = await until(
        cast.world.cloud,
        lambda cloud: _is_detached(cloud, before),
        timeout_s=SETTLE_TIMEOUT_S,
    )
    cast.check(
        STEP,
        f"while the pod is away {before.id} is on no node, and keeps {old.address}",
        is_kept and cloud.eni_with(old.address) is not None,
    )
    lease, is_parked = await until(
        lambda: cast.world.lease_of(old.name),
        lambda lease: lease is not None and lease.state is AddressState.PARKED,
        timeout_s=SETTLE_TIMEOUT_S,
    )
    state = lease.state if lease else "no lease"
    cast.check(STEP, f"its lease of {old.address} is parked", is_parked, state)

    new = await cast.start(reborn(spec, cast.rng), other)
    after = await _check_own(cast, new)
    cast.check(
        STEP,
        f"{new.name.name} has the same address and the same ENI on another node",
        new.address == old.address and after is not None and after.id == before.id,
        f"{old.address}, then {new.address}",
    )
    await cast.probe_again(STEP, new, from_node=old.place.node)


async def _check_own(cast: Cast, pod: Actor) -> CloudEni | None:
    """The ENI of the pod's node whose own and only address the pod has."""
    cloud = await cast.world.cloud()
    eni = cloud.eni_with(pod.address)
    instance = cast.world.state.node(pod.place.node).instance
    is_own = eni is not None and eni.addresses[pod.address].primary and len(eni.addresses) == 1
    cast.check(
        STEP,
        f"{pod.name.name} has all of an ENI of {pod.place.node}, whose own address is"
        f" {pod.address}",
        is_own and eni is not None and eni.instance == instance,
        f"{eni.id} at {eni.instance}" if eni else "on no ENI",
    )
    return eni


def _is_detached(cloud: CloudState, eni: CloudEni) -> bool:
    return any(
        each.id == eni.id and each.instance is None and each.state == "AVAILABLE"
        for each in cloud.enis
    )


async def _forge(cast: Cast, sender: Actor) -> None:
    """It has its link to the VPC to itself: the cloud drops what it may not say."""
    others = [each for each in cast.actors if each is not sender]
    if others:
        await cast.forge_from(STEP, sender, others[0], neighbour=others[-1].address)
