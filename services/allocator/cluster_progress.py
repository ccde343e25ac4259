"""Carries an enabling or disabling to its end, wherever the last replica left it.

Every round begins with the record and is safe to repeat, so a replica that is killed at any
moment is followed by another, or by its own next life. Who writes first goes on; the others
find the record changed and look again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from shared.clock import Clock
from shared.clusters import Cluster, Progress, Verb
from shared.errors import BerthError, NotFound, Refused, Stale, TryLater
from shared.ids import SubnetId

from .cluster_keeper import ClusterKeeper
from .cluster_life import is_kept
from .domain import cluster as rules
from .domain import cluster_checks
from .domain.cluster_checks import (
    Look,
)
from .domain.cluster_ports import CloudLook, Kubernetes
from .domain.container_subnets import DRAIN_SETTLES
from .domain.ports import LeaseStore
from .lease_pages import all_leases
from .operations import LeaseOperations
from .pods_in_use import PodsInUse

log = logging.getLogger(__name__)

_LOOK: Final = timedelta(seconds=3)  # then the record tells what is waited for


class ClusterProgress:
    def __init__(
        self,
        keeper: ClusterKeeper,
        cloud: CloudLook,
        kubernetes: Kubernetes,
        leases: LeaseStore,
        operations: LeaseOperations,
        pods: PodsInUse,
        clock: Clock,
    ) -> None:
        self._keeper = keeper
        self._cloud = cloud
        self._kubernetes = kubernetes
        self._leases = leases
        self._operations = operations
        self._pods = pods
        self._clock = clock

    async def round(self) -> None:
        """Look at the record, and take the next step of what is under way."""
        cluster = await self._keeper.refresh()
        if cluster is None or not cluster.is_running:
            return
        try:
            if cluster.operation.verb is Verb.ENABLE:
                after = await self._enable(cluster)
            else:
                after = await self._disable(cluster)
        except Refused as error:
            after = rules.failed(cluster, error, now=self._clock.now())
        except BerthError as error:  # later: the record tells what it waits for
            after = rules.waits(cluster, str(error), now=self._clock.now())
        if after is not cluster:
            await self._write(cluster, after)

    async def _enable(self, cluster: Cluster) -> Cluster:
        names = [each.subnet for each in cluster.subnets]
        if cluster.operation.step == rules.OPENING:
            look = await self._look(())
            if look.revision < cluster.revision:
                return rules.waits(
                    cluster, "the eni_manager has not read it yet", now=self._clock.now()
                )
            return rules.succeeded(cluster, now=self._clock.now())
        note = cluster_checks.check_kubernetes(await self._kubernetes.facts())
        notes = cluster_checks.check_subnets(
            names,
            await self._look(names, uses_of=names),
            has_fixed_ips=cluster.has_fixed_ips,
            settled=names if cluster.was_enabled else (),
        )
        told = [*([note] if note else []), *notes]
        return rules.opened(cluster, told, now=self._clock.now())

    async def _disable(self, cluster: Cluster) -> Cluster:
        # One that started before its agent gave its stock back: nothing more is taken away.
        rules.check_no_pods(await self._pods.find())
        left = await self._end_leases(cluster)
        operation, now = cluster.operation, self._clock.now()
        if left:
            total = max(left, operation.total)
            reason = f"{left} leases are not handed over yet"
            return rules.went_on(
                cluster, rules.ENDING_LEASES, total - left, total, reason, now=now
            )
        look = await self._look(())
        total = max(look.enis, operation.total if operation.step == rules.DETACHING else 0)
        if look.enis or now - operation.began_at < DRAIN_SETTLES:
            return rules.went_on(
                cluster, rules.DETACHING, total - look.enis, total, look.waits_for, now=now
            )
        return rules.succeeded(cluster, now=now)

    async def _look(
        self, subnets: Sequence[SubnetId], *, uses_of: Sequence[SubnetId] = ()
    ) -> Look:
        # A look that takes longer goes on at the eni_manager: the next round shares it.
        deadline = self._clock.now() + _LOOK
        return await self._cloud.look(subnets, uses_of=uses_of, deadline=deadline)

    async def _end_leases(self, cluster: Cluster) -> int:
        """How many leases there still are, those included that were just ended."""
        reason = f"the cluster is disabled by {cluster.operation.by}"
        count = 0
        async for lease in all_leases(self._leases):
            count += 1
            if is_kept(lease):  # a bound one has a pod, and a moving one waits for its end
                try:
                    await self._operations.end(
                        lease.identity, lease.generation, force=False, reason=reason
                    )
                except (NotFound, Stale, TryLater):  # changed since: the next round looks again
                    continue
        return count

    async def _write(self, before: Cluster, after: Cluster) -> None:
        def step(current: Cluster | None) -> Cluster:
            if current != before:
                raise Stale("the record was changed since: the next round looks again")
            return after

        try:
            await self._keeper.change(step)
        except Stale as error:
            log.debug("a step came too late", extra={"error": str(error)})
            return
        if not after.is_running:
            self._tell_end(after)

    def _tell_end(self, cluster: Cluster) -> None:
        operation = cluster.operation
        if operation.progress is Progress.FAILED:
            self._keeper.tell_cluster("failed", cluster, operation.reason)
            log.warning(
                "not done",
                extra={"verb": operation.verb, "error": operation.reason},
            )
        else:
            self._keeper.tell_cluster(f"{operation.verb}d", cluster)
            log.info("done", extra={"verb": operation.verb})
