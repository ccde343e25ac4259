"""Records of clusters as tests need them, without their noise."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.annotations import NetworkMode
from shared.clusters import (
    Cluster,
    ContainerSubnet,
    Operation,
    Progress,
    SubnetState,
    Verb,
)
from shared.ids import SubnetId

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def subnet(
    name: str, state: SubnetState = SubnetState.OPEN, *, reclaims: bool = False
) -> ContainerSubnet:
    return ContainerSubnet(
        subnet=SubnetId(name), state=state, since=NOW, reclaims_under_pressure=reclaims
    )


def enabled_cluster(
    *subnets: str | ContainerSubnet,
    revision: int = 1,
    has_fixed_ips: bool = True,
    pods_max: int = 4096,
) -> Cluster:
    """One that was enabled with these subnets a while ago."""
    return Cluster(
        revision=revision,
        modes=(NetworkMode.SHARED,),
        has_fixed_ips=has_fixed_ips,
        pods_max=pods_max,
        subnets=tuple(subnet(each) if isinstance(each, str) else each for each in subnets),
        operation=Operation(
            verb=Verb.ENABLE,
            progress=Progress.SUCCEED,
            step="nodes get addresses",
            by="test",
            began_at=NOW,
            changed_at=NOW,
        ),
        is_enabled=True,
        was_enabled=True,
    )
