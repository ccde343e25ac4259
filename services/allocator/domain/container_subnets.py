"""The life of one container subnet: added, cordoned, drained, removed (pure)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shared.clusters import Cluster, ContainerSubnet, SubnetState
from shared.errors import (
    CannotChange,
    ClusterChanging,
    ClusterNotEnabled,
    InvalidInput,
    NotFound,
    SubnetInUse,
)
from shared.ids import SubnetId

from .cluster_checks import (
    SubnetLook,
)

# Every eni_manager has read the record by then: none makes an ENI in the subnet any more.
DRAIN_SETTLES: Final = timedelta(seconds=3)


def check_serving(current: Cluster | None) -> Cluster:
    """Subnets change only while the cluster is enabled, and not on its way in or out."""
    if current is None or not (current.was_enabled or current.is_running):
        raise ClusterNotEnabled(
            "the cluster is not enabled: `berth enable` names its first subnets"
        )
    if current.is_running or not current.was_enabled:
        raise ClusterChanging(
            f"the cluster's last word is {current.operation.verb}:"
            f" {current.operation.progress} ({current.operation.step}); change its subnets once"
            " it is enabled"
        )
    return current


def add(
    current: Cluster, subnet: SubnetId, *, reclaims_under_pressure: bool, now: datetime
) -> Cluster:
    """With the subnet open; the same record when it has it already."""
    known = current.subnet(subnet)
    if known is not None:
        if known.reclaims_under_pressure != reclaims_under_pressure:
            raise InvalidInput.of(
                "subnet", subnet, "one that is new; options are changed by `berth subnet set`"
            )
        return current
    fresh = ContainerSubnet(
        subnet=subnet, since=now, reclaims_under_pressure=reclaims_under_pressure
    )
    return replace(current, revision=current.revision + 1, subnets=(*current.subnets, fresh))


def change(
    current: Cluster,
    subnet: SubnetId,
    *,
    state: SubnetState | None,
    reclaims_under_pressure: bool | None,
    now: datetime,
) -> Cluster:
    """With another state or option of one subnet; the same record when it is so already."""
    known = find(current, subnet)
    if reclaims_under_pressure and not current.has_fixed_ips:
        raise CannotChange(
            f"subnet {subnet}: reclaims_under_pressure is for leases that are kept, and the"
            " cluster was enabled without fixed IPs"
        )
    changed = known
    if state is not None and state is not known.state:
        changed = replace(changed, state=state, since=now)
    if reclaims_under_pressure is not None:
        changed = replace(changed, reclaims_under_pressure=reclaims_under_pressure)
    if changed == known:
        return current
    subnets = tuple(changed if each is known else each for each in current.subnets)
    return replace(current, revision=current.revision + 1, subnets=subnets)


def remove(
    current: Cluster, subnet: SubnetId, look: SubnetLook | None, leases: int, *, now: datetime
) -> Cluster:
    """Without a drained subnet in which nothing of ours is left. `look` is None when the cloud
    has no such subnet (any more)."""
    known = find(current, subnet)
    if len(current.subnets) == 1:
        raise SubnetInUse(
            f"subnet {subnet} is the cluster's last: add another first, or `berth disable`"
        )
    if known.state is not SubnetState.DRAINING:
        raise SubnetInUse(
            f"subnet {subnet} is {known.state}: `berth subnet drain {subnet}` comes first"
        )
    if leases:
        raise SubnetInUse(
            f"subnet {subnet}: {leases} fixed leases are on its addresses; release them, or"
            " wait until they expire"
        )
    if look is not None and look.enis:
        raise SubnetInUse(
            f"subnet {subnet}: {look.enis} of our ENIs with {look.addresses} addresses are in"
            " it; they go once no pod uses them: see `berth subnet list`"
        )
    if now - known.since < DRAIN_SETTLES:
        raise ClusterChanging(
            f"subnet {subnet} drains since {known.since:%H:%M:%S}: try again in"
            f" {DRAIN_SETTLES.total_seconds():.0f} s"
        )
    subnets = tuple(each for each in current.subnets if each is not known)
    return replace(current, revision=current.revision + 1, subnets=subnets)


def find(current: Cluster, subnet: SubnetId) -> ContainerSubnet:
    known = current.subnet(subnet)
    if known is None:
        names = ", ".join(each.subnet for each in current.subnets)
        raise NotFound(f"subnet {subnet} is not one of the cluster's: {names}")
    return known


def notes_on(current: Cluster) -> list[str]:
    """What a person should know of the subnets as they are."""
    if current.is_enabled and all(
        each.state is not SubnetState.OPEN for each in current.subnets
    ):
        return ["no subnet is open: no node gets new addresses"]
    return []
