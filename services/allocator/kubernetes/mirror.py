"""Shows the store's leases as Kubernetes objects, and hears when a person deletes one.

The store is the truth: an object of ours that somebody changed is brought back to what it
says; another component's is left alone until its lease is ours. A claim that is deleted gives
its retained address back; while a pod lives on the address the finalizer keeps the claim, and
its condition says why.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.allocator.domain.leases import Lease
from services.allocator.domain.ports import LeaseStore
from services.allocator.operations import LeaseOperations
from shared.clock import Clock
from shared.errors import BerthError
from shared.kubernetes.client import KubernetesClient
from shared.kubernetes.definitions import ADDRESS, CLAIM
from shared.kubernetes.mirroring import ObjectWriter, plan
from shared.kubernetes.watching import Key, ObjectWatch
from shared.messages.base import IdentityFields
from shared.messages.leases import LEASE_FORGET, LeaseForgetRequest
from shared.telemetry.metrics import MIRROR_BEHIND, MIRROR_WRITES_TOTAL

from .mirrored import address_of, being_deleted, claim_name, claim_of

log = logging.getLogger(__name__)

_PAGE: Final = 1000
_BY: Final = "kubectl delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorLimits:
    writes_per_s: float
    round_interval_s: float


class Mirror:
    """One round compares everything; only the leader runs rounds."""

    def __init__(
        self,
        kubernetes: KubernetesClient,
        leases: LeaseStore,
        operations: LeaseOperations,
        clock: Clock,
        *,
        claims: ObjectWatch,
        addresses: ObjectWatch,
        limits: MirrorLimits,
    ) -> None:
        self._writer = ObjectWriter(
            kubernetes, writes_per_s=limits.writes_per_s, counter=MIRROR_WRITES_TOTAL
        )
        self._leases = leases
        self._operations = operations
        self._clock = clock
        self._claims = claims
        self._addresses = addresses
        self._limits = limits

    async def lead(self) -> None:
        """Rounds for as long as this replica leads; a deleted claim is heard at once."""
        while True:
            try:
                await self.round()
            except BerthError as error:
                log.warning("leases cannot be shown", extra={"error": str(error)})
            await self._claims.changed.wait(self._limits.round_interval_s)

    async def round(self) -> None:
        if not self._claims.lists or not self._addresses.lists:
            return  # what is there is not known yet
        leases = await self._all()
        await self._hear_deletions(leases)
        changes = plan(CLAIM, map(claim_of, leases.values()), self._claims.all())
        changes += plan(ADDRESS, map(address_of, leases.values()), self._addresses.all())
        MIRROR_BEHIND.set(len(changes))
        await self._writer.write(changes)

    async def _all(self) -> dict[Key, Lease]:
        found: dict[Key, Lease] = {}
        cursor = 0
        while True:
            cursor, page = await self._leases.leases(cursor, _PAGE)
            for lease in page:
                found[lease.identity.namespace, claim_name(lease.identity)] = lease
            if cursor == 0:
                return found

    async def _hear_deletions(self, leases: dict[Key, Lease]) -> None:
        for key in being_deleted(self._claims.all()):
            lease = leases.get(key)
            if lease is None:
                continue
            try:
                await self._operations.forget(
                    LeaseForgetRequest(
                        deadline=self._deadline(),
                        identity=IdentityFields.of(lease.identity),
                        generation=lease.generation,
                        force=False,
                        by=_BY,
                    )
                )
            except BerthError as error:  # in use, moving, changed since: the next round asks
                log.info("a deleted claim is held", extra={"error": str(error)})

    def _deadline(self) -> datetime:
        return self._clock.now() + timedelta(seconds=LEASE_FORGET.timeout_s)
