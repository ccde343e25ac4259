"""A fixed lease whose address is an ENI's own: the ENI itself moves, waits, and is deleted.

Where the ENI is, the cloud says; so each of these is safe to repeat after any crash. Only the
lease's own journaled step authorises it, which is read again right before each cloud call.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address

from services.eni_manager.domain.moves import (
    Move,
    Parking,
    check_authorised,
    check_parking,
    no_place,
)
from services.eni_manager.domain.reclaims import Reclaim, check_expired
from services.eni_manager.domain.records import (
    AddressRecord,
    EniRecord,
    Hold,
    Intent,
    IntentKind,
    Purpose,
)
from services.eni_manager.eni_tags import TAG_CLUSTER, TAG_PURPOSE
from services.eni_manager.node_worker import NodeWorker
from services.eni_manager.tools import Tools
from shared.cloud.errors import CloudLimit, CloudNotFound
from shared.cloud.words import Eni, EniState
from shared.errors import QuotaReached, Unavailable
from shared.ids import EniId, InstanceId


class WholeMoves:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._cloud = tools.cloud

    def has_whole(self, eni: Eni, move: Move) -> bool:
        """Whether the address is the own one of an ENI that was made for one pod."""
        return eni.primary_address == move.address and self._is_ours(eni)

    async def bring(self, worker: NodeWorker, move: Move, eni: Eni) -> EniRecord:
        """Onto the node that the lease names. A slot is made sure of before the ENI leaves
        the node that it is on. The caller holds the lock of the node."""
        instance = worker.book.node.instance
        await self._end_earlier(worker, move.address)
        await self._check_in_flight(move, eni.eni, instance)
        if not eni.is_ready_on(instance):
            subnet = await self._tools.subnets.get(move.subnet)
            if subnet.zone != worker.book.node.zone:
                raise no_place(move, worker.book.node.zone, subnet.zone)
            if eni.instance != instance:
                await self._make_room(worker, move)
            intent = _intent(
                worker, f"move-{move.generation}-{move.address}", move.address, eni
            )
            await worker.book.write(put=[intent])
            if eni.instance not in (None, instance):
                await self._check(move)
                await worker.changes.removals.detach(eni.eni, intent.intent)
            await self._check(move)
            try:
                eni = await worker.changes.additions.attach(eni.eni, intent.intent)
            except CloudLimit as error:  # it has left its node: the move goes on later
                raise Unavailable(f"{eni.eni} cannot be attached: {error}") from error
        return await self._arrive(worker, move, eni)

    async def park(self, worker: NodeWorker, parking: Parking) -> None:
        """Off its node, and kept: nobody else in the VPC can have its address."""
        async with worker.lock:
            leases = self._tools.leases
            check_parking(parking, await leases.find(parking.identity))
            found = await worker.changes.sighting.describe(parking.eni)
            if found is not None and found.instance == worker.book.node.instance:
                await self._end_earlier(worker, parking.address)
                intent = _intent(worker, f"park-{parking.generation}", parking.address, found)
                await worker.book.write(put=[intent])
                await worker.changes.removals.detach(parking.eni, intent.intent)
                await worker.book.write(drop=[intent])
            image = worker.book.image
            record = image.enis.get(parking.eni)
            addresses = image.on(parking.eni)
            await worker.book.write(drop=[*addresses, record] if record else addresses)

    async def _end_earlier(self, worker: NodeWorker, address: IPv4Address) -> None:
        """What was begun before is over: the cloud tells where the ENI is. A detachment that a
        former owner may have left in flight is kept in mind."""
        intents = worker.book.image.intents.values()
        begun = [it for it in intents if it.kind is IntentKind.MOVE and address in it.addresses]
        await worker.changes.addresses.end_moves(begun)

    async def _check_in_flight(self, move: Move, eni: EniId, instance: InstanceId) -> None:
        place = (_off(eni, instance), move.address)
        if until := (await self._tools.embargoes.among([place])).get(place):
            raise Unavailable(
                f"{eni} of {move.identity} cannot go back to {instance}: a detachment that is"
                f" still in flight may take it off there until {until:%H:%M:%S} UTC: nothing"
                " need be done, it is tried again by itself"
            )

    async def park_left(self, parking: Parking) -> None:
        """The ENI's node is no more: no book has it, and its instance may have gone first."""
        lease = await self._tools.leases.find(parking.identity)
        check_parking(parking, lease)
        found = await self._look(parking.eni)
        if found is not None and found.instance is not None:
            await self._detach(parking.eni, found.instance, f"park-{parking.generation}")

    async def reclaim(self, reclaim: Reclaim) -> None:
        """The lease of an ENI that is on no node has expired: the ENI is deleted. Its id is
        never used again, so a late call does no harm."""
        assert reclaim.eni is not None, "a parked lease names its ENI"
        eni = reclaim.eni
        check_expired(reclaim, await self._tools.leases.find(reclaim.identity))
        found = await self._look(eni)
        if found is None:
            return
        if found.primary_address != reclaim.address or not self._is_ours(found):
            raise Unavailable(f"{eni} is not the ENI of {reclaim.address}: it is left alone")
        with suppress(CloudNotFound):
            if found.instance is not None:  # a move to its node was called off
                await self._detach(eni, found.instance, f"reclaim-{reclaim.generation}")
            await self._tools.call(lambda: None, lambda: self._cloud.delete_eni(eni))
        await self._tools.follower.until(
            eni, lambda it: it is None, timeout_s=self._tools.limits.change_timeout_s
        )

    async def _detach(self, eni: EniId, instance: InstanceId, token: str) -> None:
        each_its_own = f"{token}-{self._tools.new_id()}"
        await self._tools.call(
            lambda: None, lambda: self._cloud.detach_eni(eni, instance, token=each_its_own)
        )
        await self._tools.follower.until(
            eni,
            lambda it: it is None or (it.instance is None and it.state is EniState.AVAILABLE),
            timeout_s=self._tools.limits.change_timeout_s,
        )

    async def _look(self, eni: EniId) -> Eni | None:
        found = await self._tools.call(lambda: None, lambda: self._cloud.describe_enis([eni]))
        return found[0] if found else None

    async def _make_room(self, worker: NodeWorker, move: Move) -> None:
        if worker.growing.eni_slots() or await worker.whole.take_back(1):
            return
        raise QuotaReached(
            f"{move.address} of {move.identity} is an ENI's own: node {move.to_node} has no"
            f" slot for another ENI (of {worker.book.node.enis_max}); free one there or let the"
            " pod run on another node of the zone"
        )

    async def _arrive(self, worker: NodeWorker, move: Move, eni: Eni) -> EniRecord:
        subnet = await self._tools.subnets.get(eni.subnet)
        record = EniRecord(
            eni=eni.eni,
            subnet=eni.subnet,
            cidr=subnet.cidr,
            mac=eni.mac,
            primary_address=eni.primary_address,
            purpose=Purpose.EXCLUSIVE,
            security_groups=eni.security_groups,
        )
        given = AddressRecord(address=move.address, eni=eni.eni, hold=Hold.GIVEN)
        image = worker.book.image
        ended = [
            it
            for it in image.intents.values()
            if it.kind is IntentKind.MOVE and move.address in it.addresses
        ]
        is_news = image.enis.get(eni.eni) != record
        await worker.book.write(put=[record, given], drop=ended)
        if is_news:
            self._tools.events.eni("attached", eni.eni, move.to_node, eni.subnet)
        return record

    async def _check(self, move: Move) -> None:
        check_authorised(move, await self._tools.leases.find(move.identity))

    def _is_ours(self, eni: Eni) -> bool:
        is_whole = eni.tags.get(TAG_PURPOSE) == Purpose.EXCLUSIVE
        return is_whole and eni.tags.get(TAG_CLUSTER) == self._tools.cluster


def _intent(worker: NodeWorker, name: str, address: IPv4Address, eni: Eni) -> Intent:
    return worker.book.begin(
        name,
        IntentKind.MOVE,
        eni=eni.eni,
        addresses=(address,),
        source=None if eni.instance is None else _off(eni.eni, eni.instance),
        purpose=Purpose.EXCLUSIVE,
    )


def _off(eni: EniId, instance: InstanceId) -> EniId:
    """Whence an ENI itself goes: named among the sources of moves, of which no ENI is one."""
    return EniId(f"{eni}@{instance}")
