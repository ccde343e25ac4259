"""Addresses that pods name: judged before they become leases, given up if refused.

Such a lease begins in `moving`, from no place: its first move has the address assigned by name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Address

from shared.clusters import Cluster
from shared.errors import (
    BerthError,
    ClusterNotEnabled,
    QuotaReached,
    Refused,
    Stale,
    SubnetFull,
    WrongSubnet,
)
from shared.telemetry.metrics import ALLOCATOR_STEPS_TOTAL

from .domain.cluster_ports import CloudLook
from .domain.leases import Claim, GiveUpStatus, Lease
from .domain.nominations import nomination_of
from .domain.ports import LeaseStore
from .durable_steps import DurableSteps


class Nominations:
    def __init__(
        self,
        leases: LeaseStore,
        steps: DurableSteps,
        cloud: CloudLook,
        cluster: Callable[[], Cluster | None],
    ) -> None:
        self._leases = leases
        self._steps = steps
        self._cloud = cloud
        self._cluster = cluster

    async def settle(self, claim: Claim, address: IPv4Address, deadline: datetime) -> Claim:
        """With the nomination, unless there is a lease, which wins. Raises InvalidInput."""
        if await self._leases.find(claim.identity) is not None:
            return claim
        current = self._cluster()
        if current is None:
            raise ClusterNotEnabled(
                f"{claim.identity}: {address} is in no container subnet: none is known, as the"
                " cluster is not enabled"
            )
        look = await self._cloud.look(
            [each.subnet for each in current.subnets], deadline=deadline
        )
        nomination = nomination_of(claim.identity, address, current, look.subnets)
        return replace(claim, nomination=nomination)

    async def give_up(self, lease: Lease, error: BerthError) -> None:
        """Nothing is left half done: exactly this generation ends, and is handed over."""
        step = await self._steps.watched(
            self._leases.give_up(
                lease.identity, lease.generation, force=False, is_called_off=True
            )
        )
        ALLOCATOR_STEPS_TOTAL.labels("call_off", step.status).inc()
        if step.status is not GiveUpStatus.EXPIRED or step.lease is None:
            return
        if not step.is_journaled:
            await self._steps.make_durable(step.lease)
            self._steps.tell("expired", step.lease, reason=f"it cannot come: {error}")


def ends_move(lease: Lease, error: BerthError) -> bool:
    """Whether a move was refused before any cloud call: the lease is where it was."""
    if isinstance(error, (WrongSubnet, QuotaReached)):
        return True
    is_final = isinstance(error, (Refused, SubnetFull)) and not isinstance(error, Stale)
    return is_final and not lease.has_place


def note_on(
    lease: Lease, nominated: IPv4Address | None, subnets: Collection[str]
) -> str | None:
    """What a pod that nominated an address, or subnets, should know of what it got."""
    if nominated is not None and nominated != lease.address:
        held, wanted = str(lease.address), str(nominated)
    elif subnets and lease.subnet not in subnets:
        held, wanted = f"{lease.address} in {lease.subnet}", ", ".join(subnets)
    else:
        return None
    return (
        f"the lease of {held} that {lease.identity} has wins over the nominated {wanted};"
        " to change it, end that lease (berth lease release)"
    )
