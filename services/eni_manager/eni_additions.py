"""New ENIs of one node: made, tagged, attached, with their addresses; the intent is written
first, and its id is the call's ClientToken, so a repeated call has the first one's effect."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from services.eni_manager.domain.records import (
    EniRecord,
    Intent,
    IntentKind,
    Purpose,
)
from services.eni_manager.eni_tags import TAG_INTENT, eni_name, eni_tags
from services.eni_manager.fresh_addresses import fresh_addresses
from services.eni_manager.node_book import NodeBook
from services.eni_manager.sighting import VISIBLE_AFTER_S, Sighting
from services.eni_manager.tools import Tools
from shared.cloud.errors import (
    RETRIED,
    CloudAway,
    CloudError,
    CloudNotFound,
    CloudTaken,
    CloudVpcFull,
)
from shared.cloud.words import Eni, EniState, NewEni
from shared.errors import BerthError, SubnetFull
from shared.ids import EniId, SubnetId


class EniAdditions:
    """The caller holds the node's lock."""

    def __init__(self, book: NodeBook, tools: Tools, sighting: Sighting) -> None:
        self._book = book
        self._tools = tools
        self._cloud = tools.cloud
        self._sighting = sighting

    async def add(
        self, subnets: Sequence[SubnetId], count: int, purpose: Purpose = Purpose.SHARED
    ) -> EniRecord:
        """An ENI in the subnet that has most left, once what is under way is counted, with as
        many of `count` addresses as that subnet can give; of one that a pod is to have as a
        whole it is the primary address. Raises SubnetFull."""
        intent_id = self._tools.new_id()
        call = self._book.call_of(intent_id)
        taken = await self._tools.headroom.take(
            call, subnets, least=1 + min(count, 1), most=1 + count
        )
        if taken is None:
            for each in subnets:
                self._tools.subnets.note_free(each, 0)
            raise SubnetFull(f"{', '.join(subnets)}: what is free is on its way to other nodes")
        self._tools.subnets.note_free(taken.subnet, taken.left)
        try:
            intent = self._book.begin(
                intent_id,
                IntentKind.ADD_ENI,
                subnet=taken.subnet,
                count=taken.count - 1,
                security_groups=self._security_groups(),
                purpose=purpose,
            )
            await self._book.write(put=[intent])
        except BerthError:
            await self._tools.headroom.give_back(call, taken.subnet)
            raise
        return await self._finish(intent, is_repeat=False)

    async def finish(self, intent: Intent) -> None:
        await self._finish(intent, is_repeat=True)

    async def _finish(self, intent: Intent, *, is_repeat: bool) -> EniRecord:
        assert intent.subnet is not None, "an ENI is made in a subnet"
        try:
            made = await self._made(intent, is_repeat=is_repeat)
        except RETRIED:
            raise
        except CloudError as error:
            # Refused for good: nothing was made.
            if isinstance(error, CloudVpcFull):
                self._tools.vpc_enis.refused(error)
            else:
                self._tools.subnets.refused(intent.subnet, error)
            await self._drop(intent, intent.subnet)
            raise
        self._tools.subnets.worked(intent.subnet)
        try:
            ready = await self.attach(made.eni, intent.intent)
        except RETRIED:
            raise
        except CloudError:
            await self._discard(intent, made.eni)
            raise
        return await self._record(intent, ready)

    async def _record(self, intent: Intent, ready: Eni) -> EniRecord:
        subnet = await self._tools.subnets.get(ready.subnet)
        record = EniRecord(
            eni=ready.eni,
            subnet=ready.subnet,
            cidr=subnet.cidr,
            mac=ready.mac,
            primary_address=ready.primary_address,
            purpose=intent.purpose,
            security_groups=ready.security_groups,
        )
        own = [ready.primary_address] if record.is_exclusive else []
        fresh = fresh_addresses(
            self._book.image, ready.eni, own or [each.address for each in ready.secondary]
        )
        await self._book.write(put=[record, *fresh], drop=[intent])
        await self._tools.headroom.settle(self._book.call_of(intent.intent), ready.subnet)
        node = self._book.node.node
        self._tools.events.eni("attached", ready.eni, node, ready.subnet)
        for each in fresh:
            self._tools.events.address("assigned", each.address, each.eni, node, None)
        return record

    async def _made(self, intent: Intent, *, is_repeat: bool) -> Eni:
        node = self._book.node
        assert intent.subnet is not None, "an ENI is made in a subnet"
        assert node.vpc is not None, "a node that grows has joined"
        if is_repeat:
            known = await self._tools.call(
                self._book.check_term,
                lambda: self._cloud.find_enis_tagged({TAG_INTENT: intent.intent}),
            )
            if known:
                return known[0]
        new = NewEni(
            vpc=node.vpc,
            subnet=intent.subnet,
            name=eni_name(node.node),
            secondary_count=intent.count,
            security_groups=intent.security_groups,
            tags=eni_tags(self._tools.cluster, node.node, intent.purpose, intent.intent),
            token=intent.intent,
        )
        made = await self._tools.call(
            self._book.check_term, lambda: self._cloud.create_eni(new)
        )
        self._tools.events.eni("created", made.eni, node.node, made.subnet)
        return made

    async def attach(self, eni: EniId, intent: str) -> Eni:
        """Attach it to the node unless it is. Each try has a token of its own, because a
        repeated one would only tell again of an attachment that failed; the ENI's state forbids
        a second."""
        instance = self._book.node.instance
        found = await self._sighting.there(eni, lambda it: it.state is EniState.AVAILABLE)
        if found.instance is None:
            token = f"{intent}-{self._tools.new_id()}"
            with suppress(CloudTaken):
                await self._tools.call(
                    self._book.check_term,
                    lambda: self._cloud.attach_eni(eni, instance, token=token),
                )
        failed_at_s = self._tools.clock.monotonic_s() + VISIBLE_AFTER_S

        def is_decided(it: Eni) -> bool:
            if it.state is EniState.AVAILABLE and it.instance is None:
                return self._tools.clock.monotonic_s() > failed_at_s
            return it.is_ready_on(instance) and it.is_settled

        ready = await self._sighting.there(eni, is_decided)
        if ready.instance is None:
            raise CloudAway("AttachNetworkInterface", "Failed", f"{eni} stayed detached")
        return ready

    async def _discard(self, intent: Intent, eni: EniId) -> None:
        """The instance refuses the ENI for good: it is taken away again."""
        assert intent.subnet is not None, "an ENI is made in a subnet"
        with suppress(CloudNotFound):
            await self._tools.call(self._book.check_term, lambda: self._cloud.delete_eni(eni))
        await self._drop(intent, intent.subnet)

    async def _drop(self, intent: Intent, subnet: SubnetId) -> None:
        await self._book.write(drop=[intent])
        await self._tools.headroom.give_back(self._book.call_of(intent.intent), subnet)

    def _security_groups(self) -> tuple[str, ...]:
        """Those of the settings, else those of the instance's own ENI."""
        if self._tools.security_groups:
            if self._tools.capacities.has_no_groups(self._book.node):
                return ()
            return self._tools.security_groups
        primary = [each for each in self._book.image.enis.values() if each.is_primary]
        return primary[0].security_groups if primary else ()
