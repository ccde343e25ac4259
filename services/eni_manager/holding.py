"""A retained address makes way on a node that is full: the cloud keeps it meanwhile, for us.

It is reserved while its ENI still has it, and unassigned after that, so nobody else in the VPC
can have it at any moment. Where it is, the cloud says: each of these is safe to repeat after
any crash. Only the lease's own step to nowhere authorises it, which is read before each call.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from ipaddress import IPv4Address

from services.eni_manager.domain.errands import Urgency, urgent
from services.eni_manager.domain.moves import Parking, check_parking
from services.eni_manager.domain.reclaims import Reclaim, check_expired
from services.eni_manager.domain.records import IntentKind
from services.eni_manager.eni_tags import reservation_tags
from services.eni_manager.node_worker import NodeWorker
from services.eni_manager.tools import Tools
from shared.cloud.errors import (
    CloudDenied,
    CloudLimit,
    CloudNotFound,
    CloudTaken,
)
from shared.cloud.words import Eni, ReservedAddress
from shared.errors import CloudRefused, Refused, Unavailable
from shared.ids import EniId, Identity

log = logging.getLogger(__name__)


class Holding:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._tags = reservation_tags(tools.cluster)

    async def is_shared(self, identity: Identity) -> bool:
        """Whether the lease's address is one of many on its ENI."""
        lease = await self._tools.leases.find(identity)
        return lease is not None and not lease.is_exclusive

    async def hold(self, worker: NodeWorker | None, parking: Parking) -> None:
        """Off the node's ENI, and kept. Of a node that is no more it is kept on its ENI, which
        nobody uses. Raises CloudRefused when the cloud does not keep it: it stays where it
        is."""
        await self._check(parking)
        if worker is None:
            return
        if not worker.book.node.has_joined:
            raise Unavailable(
                f"node {parking.node} has not joined yet: its agent was not heard"
            )
        if not self._tools.capacities.gives_back:
            raise Unavailable("addresses are not given back: calls are switched off")
        async with worker.lock:
            with urgent(Urgency.POD):
                await self._hold(worker, parking)

    async def _hold(self, worker: NodeWorker, parking: Parking) -> None:
        await self._check(parking)
        book, address = worker.book, parking.address
        known = book.image.addresses.get(address)
        eni = parking.eni if known is None else known.eni
        found = await worker.changes.sighting.settled(eni, address)
        await self._end_earlier(worker, address)
        if found is not None and found.phase_of(address) is not None:
            intent = book.begin(
                f"hold-{parking.generation}-{address}",
                IntentKind.MOVE,
                addresses=(address,),
                source=eni,
            )
            await book.write(put=[intent])
            try:
                await self._reserve(worker, parking, found)
                await self._check(parking)
            except Refused:
                await book.write(drop=[intent])
                raise
            await self._take_off(worker, eni, address)
            await book.write(drop=[intent])
            self._tools.events.address("unassigned", address, eni, parking.node, "kept")
        if known is not None:
            await book.write(drop=[known])

    async def _reserve(self, worker: NodeWorker, parking: Parking, eni: Eni) -> None:
        """It may be kept already: by an earlier attempt, or since it was held before."""
        try:
            await self._tools.call(
                worker.book.check_term,
                lambda: self._tools.cloud.reserve(
                    eni.vpc,
                    eni.subnet,
                    parking.address,
                    tags=self._tags,
                    token=f"hold-{parking.generation}-{parking.address}",
                ),
            )
        except (CloudTaken, CloudLimit, CloudDenied) as error:
            kept = await self._tools.call(
                worker.book.check_term,
                lambda: self._tools.cloud.find_reserved(self._tags, parking.address),
            )
            if not kept:
                worker.room.hold_refused()
                raise CloudRefused(
                    f"{parking.address} of {parking.identity} cannot make way on node"
                    f" {parking.node}: the cloud does not keep it ({error})"
                ) from error

    async def _take_off(self, worker: NodeWorker, eni: EniId, address: IPv4Address) -> None:
        changes, is_known = worker.changes.addresses, False
        try:
            is_known = await changes.take_off(eni, (address,))
        finally:
            if not is_known:  # a call may still arrive, when the address has come back to there
                await changes.embargo(eni, (address,))

    async def _end_earlier(self, worker: NodeWorker, address: IPv4Address) -> None:
        intents = worker.book.image.intents.values()
        begun = [it for it in intents if it.kind is IntentKind.MOVE and address in it.addresses]
        await worker.changes.addresses.end_moves(begun)

    async def reclaim(self, reclaim: Reclaim) -> None:
        """The lease of an address that is on no node has expired. What is kept is let go; one
        that is held on an ENI of no instance is the sweeper's once no lease names it."""
        check_expired(reclaim, await self._tools.leases.find(reclaim.identity))
        try:
            kept = await self._tools.call(
                lambda: None,
                lambda: self._tools.cloud.find_reserved(self._tags, reclaim.address),
            )
        except CloudDenied as error:  # a cloud that keeps none for us
            log.info("kept addresses cannot be asked for", extra={"error": str(error)})
            return
        for each in kept:
            if not each.is_used:
                await self._release(each)

    async def _release(self, kept: ReservedAddress) -> None:
        with suppress(CloudNotFound, CloudTaken):
            await self._tools.call(
                lambda: None, lambda: self._tools.cloud.release_reserved(kept)
            )

    async def _check(self, parking: Parking) -> None:
        check_parking(parking, await self._tools.leases.find(parking.identity))
