"""A fixed lease's address comes to an ENI of its new node; safe to repeat after any crash.

The cloud says where the address is, so a repeated move goes on from there. Only the lease's
own moving step authorises it, which is read before and again right before the cloud call.
"""

from __future__ import annotations

from services.eni_manager.domain.errands import Urgency, urgent
from services.eni_manager.domain.moves import (
    FixedLease,
    Move,
    check_authorised,
    choose_eni,
    no_place,
    no_slot,
)
from services.eni_manager.domain.records import (
    AddressRecord,
    EniRecord,
    Hold,
    Intent,
    IntentKind,
)
from services.eni_manager.eni_tags import TAG_CLUSTER
from services.eni_manager.held_enis import HeldEnis
from services.eni_manager.node_worker import NodeWorker
from services.eni_manager.tools import Tools
from services.eni_manager.whole_moves import WholeMoves
from shared.cloud.errors import CloudAway, CloudDetached, CloudNotFound, CloudTaken
from shared.cloud.words import AddressPhase, Eni
from shared.errors import CloudRefused, LeaseInUse, Unavailable, WrongSubnet
from shared.ids import EniId, VpcId

_ATTEMPTS_MAX = 4  # each begins by asking the cloud where the address is


class Mover:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._cloud = tools.cloud
        self._whole = WholeMoves(tools)
        self._held = HeldEnis(tools)

    async def move(self, worker: NodeWorker, move: Move) -> EniRecord:
        """The ENI of the target node on which the address works now."""
        lease = await self._check(move)
        if not worker.book.node.has_joined:
            raise Unavailable(
                f"node {move.to_node} has not joined yet: its agent was not heard"
            )
        async with worker.lock:
            with urgent(Urgency.POD):
                if lease.is_exclusive:
                    return await self._bring_whole(worker, move)
                return await self._attempts(worker, move, has_place=lease.has_place)

    async def _bring_whole(self, worker: NodeWorker, move: Move) -> EniRecord:
        holder = await self._holder(worker, move)
        if holder is None or not self._whole.has_whole(holder, move):
            raise CloudRefused(
                f"the ENI of {move.address} of {move.identity} is no more at the cloud"
                f" ({'nobody' if holder is None else holder.eni} has the address): end the"
                " lease (berth lease release), and the pod gets another"
            )
        return await self._whole.bring(worker, move, holder)

    async def _attempts(self, worker: NodeWorker, move: Move, *, has_place: bool) -> EniRecord:
        for _ in range(_ATTEMPTS_MAX):
            if arrived := await self._attempt(worker, move, has_place=has_place):
                return arrived
        raise Unavailable(f"{move.address} changes its place faster than it can be followed")

    async def _attempt(
        self, worker: NodeWorker, move: Move, *, has_place: bool
    ) -> EniRecord | None:
        """None: the address is not where it was a moment ago, look again."""
        vpc = worker.book.node.vpc
        assert vpc is not None, "a node that has joined has a VPC"
        holder = await self._holder(worker, move)
        if holder is not None and not has_place:
            self._check_unused(worker, move, holder)
        if holder is not None and holder.eni in worker.book.image.enis:
            return await self._arrive(worker, move, holder.eni)
        if holder is not None:
            self._check_ours(move, holder)
            if await self._held.can_bring(worker, move, holder):
                await self._check(move)
                await self._held.bring(worker, move, holder)
                return None
        destination = await self._place(worker, move)
        await self._end_earlier(worker, move)
        intent = worker.book.begin(
            f"move-{move.generation}-{move.address}",
            IntentKind.MOVE,
            eni=destination,
            addresses=(move.address,),
            source=holder.eni if holder is not None else None,
        )
        await worker.book.write(put=[intent])
        await self._check(move)
        try:
            if holder is not None:
                await self._migrate(worker, move, holder.eni, destination)
            elif not await self._assign(worker, vpc, move, intent):
                return None
        except CloudNotFound:
            return None
        except CloudDetached as error:
            if holder is None or holder.instance is not None:
                return None  # it has left its instance since it was looked at
            raise no_slot(move, holder.eni, worker.book.node.enis_max) from error
        return await self._arrive(worker, move, destination)

    async def _migrate(
        self, worker: NodeWorker, move: Move, source: EniId, destination: EniId
    ) -> None:
        async def send() -> None:
            try:
                await self._cloud.migrate(source, destination, move.address)
            except CloudAway:  # it may still arrive, when the address has come back to there
                await worker.changes.addresses.embargo(source, [move.address])
                raise

        await self._tools.call(worker.book.check_term, send)

    async def _end_earlier(self, worker: NodeWorker, move: Move) -> None:
        """What earlier attempts at this address began is over: the cloud tells where it is."""
        await worker.changes.addresses.end_moves(
            [
                intent
                for intent in worker.book.image.intents.values()
                if intent.kind is IntentKind.MOVE and move.address in intent.addresses
            ]
        )

    async def _check_embargo(self, move: Move, eni: EniId) -> None:
        place = (eni, move.address)
        if until := (await self._tools.embargoes.among([place])).get(place):
            raise Unavailable(
                f"{move.address} of {move.identity} is on {eni}, but a call that is still in"
                f" flight may take it off there until {until:%H:%M:%S} UTC: nothing need be"
                " done, it is tried again by itself"
            )

    async def _check(self, move: Move) -> FixedLease:
        return check_authorised(move, await self._tools.leases.find(move.identity))

    async def _holder(self, worker: NodeWorker, move: Move) -> Eni | None:
        """The ENI that has the address, once no other change of it is under way."""
        vpc = worker.book.node.vpc
        assert vpc is not None, "a node that has joined has a VPC"
        found = await self._tools.call(
            worker.book.check_term, lambda: self._cloud.find_eni_of(vpc, move.address)
        )
        if found is None or found.phase_of(move.address) is AddressPhase.AVAILABLE:
            return found
        settled = await worker.changes.sighting.settled(found.eni, move.address)
        if settled is not None and settled.phase_of(move.address) is not None:
            return settled
        return await self._tools.call(
            worker.book.check_term, lambda: self._cloud.find_eni_of(vpc, move.address)
        )

    def _check_ours(self, move: Move, holder: Eni) -> None:
        is_primary = any(
            each.is_primary for each in holder.addresses if each.address == move.address
        )
        if is_primary or holder.tags.get(TAG_CLUSTER) != self._tools.cluster:
            raise CloudRefused(
                f"{move.address} of {move.identity} is on {holder.eni}, which is not an ENI of"
                f" cluster {self._tools.cluster}: somebody else took the address"
            )

    def _check_unused(self, worker: NodeWorker, move: Move, holder: Eni) -> None:
        """A nominated address is taken from nobody. On its own node the agent knows best: it
        asks for none that a pod there has."""
        if holder.primary_address == move.address:
            raise CloudRefused(
                f"{move.address}, which {move.identity} nominates, is the primary address of"
                f" {holder.eni}: nominate an address that no ENI has"
            )
        self._check_ours(move, holder)
        if holder.eni not in worker.book.image.enis:
            raise LeaseInUse(
                f"{move.address}, which {move.identity} nominates, is on {holder.eni} of"
                f" instance {holder.instance}: that node's stock or one of its pods has it;"
                " nominate an address that no node has"
            )

    async def _place(self, worker: NodeWorker, move: Move) -> EniId:
        """An ENI of the node in the address's subnet with room for it."""
        growing = worker.growing
        if found := choose_eni(move.subnet, growing.rooms()):
            return found
        subnet = await self._tools.subnets.get(move.subnet)
        zone = worker.book.node.zone
        if subnet.zone != zone:
            raise no_place(move, zone, subnet.zone)
        for each in growing.rooms():
            if each.subnet == move.subnet and await worker.releasing.recall(1, each.eni):
                return each.eni
        if not growing.new_eni_slots(for_pods=True):
            if await worker.room.hold([move.subnet], 1):
                raise Unavailable(
                    f"node {move.to_node} is full: a retained address makes way for"
                    f" {move.address} of {move.identity}, which comes after that"
                )
            if growing.lacks_eni(for_pods=True):
                raise self._tools.vpc_enis.shortage(move.to_node)
            raise no_place(move, zone, subnet.zone)
        made = await worker.changes.additions.add([move.subnet], 0)
        return made.eni

    async def _assign(self, worker: NodeWorker, vpc: VpcId, move: Move, intent: Intent) -> bool:
        """No ENI has the address: it is assigned by name, unless a stranger took it."""
        destination = intent.eni
        assert destination is not None, "a move names where it goes"
        check = worker.book.check_term
        try:
            await self._tools.call(
                check,
                lambda: self._cloud.assign_address(
                    destination, move.address, token=f"{intent.intent}-{destination}"
                ),
            )
        except CloudTaken as error:
            if await self._tools.call(
                check, lambda: self._cloud.find_eni_of(vpc, move.address)
            ):
                return False  # an ENI has it since a moment ago: maybe by an earlier attempt
            used = await self._tools.call(
                check, lambda: self._cloud.find_used(vpc, move.address)
            )
            raise CloudRefused(
                f"{move.address} of {move.identity} was taken by somebody else in the VPC (a"
                f" {used.kind if used else 'stranger'}): release it there, or forget the lease"
            ) from error
        return True

    async def _arrive(self, worker: NodeWorker, move: Move, eni: EniId) -> EniRecord | None:
        settled = await worker.changes.sighting.settled(eni, move.address)
        if settled is None or settled.phase_of(move.address) is None:
            return None
        record = worker.book.image.enis[eni]
        if record.is_primary:
            raise WrongSubnet(
                f"{move.address} of {move.identity} is on {eni}, the primary ENI of node"
                f" {move.to_node}, which never carries pods"
            )
        await self._check_embargo(move, eni)
        known = worker.book.image.addresses.get(move.address)
        given = AddressRecord(address=move.address, eni=eni, hold=Hold.GIVEN)
        if known != given:
            await worker.book.write(put=[given])
        await self._end_earlier(worker, move)
        if known != given:
            self._tools.events.address("migrated", move.address, eni, move.to_node, None)
        return record
