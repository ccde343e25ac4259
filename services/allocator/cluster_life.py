"""What operators ask of the cluster as a whole: message in, record changed, message out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.addresses import AddressState
from shared.clock import Clock
from shared.clusters import Cluster, SubnetState
from shared.errors import InvalidInput
from shared.ids import SubnetId
from shared.messages.cluster_life import (
    ClusterDisableRequest,
    ClusterEnableRequest,
    ClusterStatus,
    ClusterStatusRequest,
    SubnetAddRequest,
    SubnetRemoveRequest,
    SubnetSetRequest,
)

from .cluster_keeper import ClusterKeeper
from .domain import cluster as rules
from .domain import cluster_checks, container_subnets
from .domain.cluster_ports import CloudLook
from .domain.leases import Lease
from .domain.ports import LeaseStore
from .lease_pages import all_leases
from .pods_in_use import PodsInUse

_VERB_OF_STATE: Final = {
    SubnetState.OPEN: "opened",
    SubnetState.CORDONED: "cordoned",
    SubnetState.DRAINING: "draining",
}


class ClusterLife:
    """Each is safe to repeat."""

    def __init__(
        self,
        keeper: ClusterKeeper,
        cloud: CloudLook,
        leases: LeaseStore,
        pods: PodsInUse,
        clock: Clock,
    ) -> None:
        self._keeper = keeper
        self._cloud = cloud
        self._leases = leases
        self._pods = pods
        self._clock = clock

    async def enable(self, request: ClusterEnableRequest) -> ClusterStatus:
        """Begun when it is answered; `status` tells the rest."""
        wanted = rules.Wanted(
            modes=tuple(request.modes),
            subnets=tuple(SubnetId(each) for each in request.subnets),
            has_fixed_ips=request.has_fixed_ips,
            pods_max=request.pods_max,
        )

        def step(current: Cluster | None) -> Cluster:
            return rules.begin_enable(current, wanted, by=request.by, now=self._clock.now())

        cluster = await self._keeper.change(step)
        if cluster.is_running:
            self._keeper.tell_cluster("enabling", cluster, f"by {request.by}")
        return _status(cluster)

    async def disable(self, request: ClusterDisableRequest) -> ClusterStatus:
        """Begun when it is answered, if no pod uses an address."""
        current = await self._keeper.refresh()
        pods, retained = [], 0
        if current is not None and not current.is_disabled:
            pods = await self._pods.find()
            retained = sum([is_kept(each) async for each in all_leases(self._leases)])

        def step(current: Cluster | None) -> Cluster:
            return rules.begin_disable(
                current,
                pods,
                retained,
                ends_retained=request.ends_retained,
                by=request.by,
                now=self._clock.now(),
            )

        cluster = await self._keeper.change(step)
        if cluster.is_running:
            detail = f"by {request.by}; {retained} retained leases end"
            self._keeper.tell_cluster("disabling", cluster, detail)
        return _status(cluster)

    async def status(self, request: ClusterStatusRequest) -> ClusterStatus:
        return _status(await self._keeper.refresh())

    async def add_subnet(self, request: SubnetAddRequest) -> ClusterStatus:
        current = container_subnets.check_serving(await self._keeper.refresh())
        subnet, notes = SubnetId(request.subnet), list[str]()
        if current.subnet(subnet) is None:
            names = [*(each.subnet for each in current.subnets), subnet]
            look = await self._cloud.look(names, uses_of=[subnet], deadline=request.deadline)
            notes = cluster_checks.check_subnets(
                names, look, has_fixed_ips=current.has_fixed_ips, settled=names[:-1]
            )

        def step(current: Cluster | None) -> Cluster:
            return container_subnets.add(
                container_subnets.check_serving(current),
                subnet,
                reclaims_under_pressure=request.reclaims_under_pressure,
                now=self._clock.now(),
            )

        cluster = await self._keeper.change(step)
        self._keeper.tell_subnet("added", subnet, cluster, f"by {request.by}")
        return _changed(cluster, notes)

    async def set_subnet(self, request: SubnetSetRequest) -> ClusterStatus:
        if request.state is None and request.reclaims_under_pressure is None:
            raise InvalidInput.of("state", None, "a state, or an option that is to change")
        subnet = SubnetId(request.subnet)

        def step(current: Cluster | None) -> Cluster:
            return container_subnets.change(
                container_subnets.check_serving(current),
                subnet,
                state=request.state,
                reclaims_under_pressure=request.reclaims_under_pressure,
                now=self._clock.now(),
            )

        cluster = await self._keeper.change(step)
        if request.state is not None:
            verb = _VERB_OF_STATE[request.state]
            self._keeper.tell_subnet(verb, subnet, cluster, f"by {request.by}")
        if request.reclaims_under_pressure is not None:
            is_on = "on" if request.reclaims_under_pressure else "off"
            detail = f"reclaims_under_pressure {is_on}, by {request.by}"
            self._keeper.tell_subnet("option_set", subnet, cluster, detail)
        return _changed(cluster)

    async def remove_subnet(self, request: SubnetRemoveRequest) -> ClusterStatus:
        """One that is gone already is a success."""
        current = container_subnets.check_serving(await self._keeper.refresh())
        subnet = SubnetId(request.subnet)
        container_subnets.find(current, subnet)
        look = await self._cloud.look([subnet], deadline=request.deadline)
        leases = sum([each.subnet == subnet async for each in all_leases(self._leases)])

        def step(current: Cluster | None) -> Cluster:
            return container_subnets.remove(
                container_subnets.check_serving(current),
                subnet,
                look.subnets.get(subnet),
                leases,
                now=self._clock.now(),
            )

        cluster = await self._keeper.change(step)
        self._keeper.tell_subnet("removed", subnet, cluster, f"by {request.by}")
        return _changed(cluster)


def is_kept(lease: Lease) -> bool:
    """Its pod is away, and it waits for it."""
    return lease.state in (AddressState.RETAINED, AddressState.PARKED)


def _status(cluster: Cluster | None) -> ClusterStatus:
    """With everything that a person should know of the whole."""
    if cluster is None:
        return ClusterStatus(cluster=None)
    return ClusterStatus(
        cluster=cluster,
        notes=(*cluster.operation.notes, *container_subnets.notes_on(cluster)),
    )


def _changed(cluster: Cluster, notes: Sequence[str] = ()) -> ClusterStatus:
    """With what the change itself is to be known by."""
    return ClusterStatus(cluster=cluster, notes=(*notes, *container_subnets.notes_on(cluster)))
