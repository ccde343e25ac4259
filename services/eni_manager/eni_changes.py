"""Changes at the cloud for one node, each with its intent written first.

An intent's id is the call's ClientToken, so whoever finds an unfinished intent repeats the
call and gets the first one's effect, never a second. Calls without a token are made so by
describing before them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address

from services.eni_manager.domain.records import (
    AddressRecord,
    EniRecord,
    Hold,
    Intent,
    IntentKind,
    Purpose,
)
from services.eni_manager.node_book import NodeBook
from services.eni_manager.tools import Tools
from shared.cloud.errors import RETRIED, CloudAway, CloudError, CloudNotFound, CloudTaken
from shared.cloud.port import ADDRESSES_PER_CALL_MAX
from shared.cloud.words import AddressPhase, Eni, EniState, NewEni
from shared.ids import EniId, NodeName, SubnetId

TAG_CLUSTER = "berth-cluster"
TAG_NODE = "berth-node"
TAG_PURPOSE = "berth-purpose"
TAG_INTENT = "berth-intent"
_ENI_NAME_BYTES_MAX = 60
# What was made and is not shown after this time has failed at the cloud.
_VISIBLE_AFTER_S = 5.0


class EniChanges:
    """The verbs of one node's ENIs. The caller holds the node's lock."""

    def __init__(self, book: NodeBook, tools: Tools) -> None:
        self._book = book
        self._tools = tools
        self._cloud = tools.cloud

    async def add_eni(
        self, subnet: SubnetId, count: int, purpose: Purpose = Purpose.SHARED
    ) -> EniRecord:
        """Made, tagged, attached, with `count` addresses on their way to the agent; of one that
        a pod is to have as a whole it is the primary address."""
        intent = Intent(
            intent=self._tools.new_id(),
            kind=IntentKind.ADD_ENI,
            subnet=subnet,
            count=count,
            security_groups=self._security_groups(),
            purpose=purpose,
        )
        await self._book.write(put=[intent])
        return await self._finish_add_eni(intent, is_repeat=False)

    async def assign(self, eni: EniId, count: int) -> None:
        """`count` addresses of the cloud's choice, on their way to the agent."""
        intent = Intent(
            intent=self._tools.new_id(), kind=IntentKind.ASSIGN, eni=eni, count=count
        )
        await self._book.write(put=[intent])
        await self._finish_assign(intent)

    async def finish(self, intent: Intent) -> None:
        """Go on with what an earlier round, or an earlier owner, began."""
        match intent.kind:
            case IntentKind.ADD_ENI:
                await self._finish_add_eni(intent, is_repeat=True)
            case IntentKind.ASSIGN:
                await self._finish_assign(intent)
            case IntentKind.UNASSIGN:
                await self.finish_unassign(intent)
            case IntentKind.REMOVE_ENI:
                await self._finish_remove(intent)
            case IntentKind.MOVE | IntentKind.RECALL:
                raise AssertionError(f"{intent.kind} is not finished here")

    async def finish_unassign(self, intent: Intent) -> None:
        """The addresses leave their ENI; one that has left already is a success."""
        assert intent.eni is not None, "an unassignment names its ENI"
        for start in range(0, len(intent.addresses), ADDRESSES_PER_CALL_MAX):
            await self._unassign(
                intent.eni, intent.addresses[start : start + ADDRESSES_PER_CALL_MAX]
            )
        image = self._book.image
        gone = [image.addresses[each] for each in intent.addresses if each in image.addresses]
        await self._book.write(drop=[*gone, intent])
        for each in intent.addresses:
            self._tools.events.address("unassigned", each, intent.eni, self._name, None)

    async def settled(self, eni: EniId, address: IPv4Address) -> Eni | None:
        """Wait until the address works on the ENI, or is no more on it."""

        def is_decided(found: Eni | None) -> bool:
            phase = found.phase_of(address) if found else None
            return phase in (None, AddressPhase.AVAILABLE)

        return await self._tools.follower.until(
            eni, is_decided, timeout_s=self._tools.limits.change_timeout_s
        )

    @property
    def _name(self) -> NodeName:
        return self._book.node.node

    async def _finish_add_eni(self, intent: Intent, *, is_repeat: bool) -> EniRecord:
        try:
            made = await self._made(intent, is_repeat=is_repeat)
        except RETRIED:
            raise
        except CloudError:
            await self._book.write(drop=[intent])  # refused for good: nothing was made
            raise
        try:
            ready = await self.attach(made.eni, intent.intent)
        except RETRIED:
            raise
        except CloudError:
            await self._discard(intent, made.eni)
            raise
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
        fresh = self._fresh(ready.eni, own or [each.address for each in ready.secondary])
        await self._book.write(put=[record, *fresh], drop=[intent])
        self._tools.subnets.took(ready.subnet, len(ready.addresses))
        self._tools.events.eni("attached", ready.eni, self._name, ready.subnet)
        self._tell_assigned(fresh)
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
            name=_eni_name(node.node),
            secondary_count=intent.count,
            security_groups=intent.security_groups,
            tags={
                TAG_CLUSTER: self._tools.cluster,
                TAG_NODE: node.node,
                TAG_PURPOSE: intent.purpose,
                TAG_INTENT: intent.intent,
            },
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
        found = await self._there(eni, lambda it: it.state is EniState.AVAILABLE)
        if found.instance is None:
            token = f"{intent}-{self._tools.new_id()}"
            with suppress(CloudTaken):
                await self._tools.call(
                    self._book.check_term,
                    lambda: self._cloud.attach_eni(eni, instance, token=token),
                )
        failed_at_s = self._tools.clock.monotonic_s() + _VISIBLE_AFTER_S

        def is_decided(it: Eni) -> bool:
            if it.state is EniState.AVAILABLE and it.instance is None:
                return self._tools.clock.monotonic_s() > failed_at_s
            return it.is_ready_on(instance) and it.is_settled

        ready = await self._there(eni, is_decided)
        if ready.instance is None:
            raise CloudAway("AttachNetworkInterface", "Failed", f"{eni} stayed detached")
        return ready

    async def _there(self, eni: EniId, wanted: Callable[[Eni], bool]) -> Eni:
        """Wait for the ENI. Raises CloudNotFound when it does not exist (any more)."""
        visible_at_s = self._tools.clock.monotonic_s() + _VISIBLE_AFTER_S

        def is_decided(found: Eni | None) -> bool:
            if found is None:
                return self._tools.clock.monotonic_s() > visible_at_s
            return wanted(found)

        found = await self._tools.follower.until(
            eni, is_decided, timeout_s=self._tools.limits.change_timeout_s
        )
        if found is None:
            raise CloudNotFound("DescribeNetworkInterfaces", "ResourceNotFound", f"no {eni}")
        return found

    async def _discard(self, intent: Intent, eni: EniId) -> None:
        """The instance refuses the ENI for good: it is taken away again."""
        with suppress(CloudNotFound):
            await self._tools.call(self._book.check_term, lambda: self._cloud.delete_eni(eni))
        await self._book.write(drop=[intent])

    async def detach(self, eni: EniId, token: str) -> None:
        """Off its instance, wherever that is; one that is off, or gone, is a success."""
        found = await self.look(eni)
        if found is not None and found.instance is not None:
            instance = found.instance
            if found.state is not EniState.DETACHING:
                with suppress(CloudNotFound):
                    await self._tools.call(
                        self._book.check_term,
                        lambda: self._cloud.detach_eni(
                            eni, instance, token=f"{token}-{self._tools.new_id()}"
                        ),
                    )
            await self._tools.follower.until(
                eni,
                lambda it: (
                    it is None or (it.instance is None and it.state is EniState.AVAILABLE)
                ),
                timeout_s=self._tools.limits.change_timeout_s,
            )
            self._tools.events.eni("detached", eni, self._name, found.subnet)

    async def _finish_remove(self, intent: Intent) -> None:
        assert intent.eni is not None, "it is an ENI that is removed"
        eni = intent.eni
        await self.detach(eni, intent.intent)
        if await self.look(eni) is not None:
            with suppress(CloudNotFound):
                await self._tools.call(
                    self._book.check_term, lambda: self._cloud.delete_eni(eni)
                )
            await self._tools.follower.until(
                eni,
                lambda it: it is None,
                timeout_s=self._tools.limits.change_timeout_s,
            )
        image = self._book.image
        record = image.enis.get(eni)
        await self._book.write(drop=[*image.on(eni), *([record] if record else []), intent])
        if record is not None:
            self._tools.events.eni("deleted", eni, self._name, record.subnet)

    async def _finish_assign(self, intent: Intent) -> None:
        assert intent.eni is not None, "addresses are assigned to an ENI"
        eni = intent.eni
        try:
            addresses = await self._tools.call(
                self._book.check_term,
                lambda: self._cloud.assign_count(eni, intent.count, token=intent.intent),
            )
        except RETRIED:
            raise
        except CloudError:
            await self._book.write(drop=[intent])
            raise
        visible_at_s = self._tools.clock.monotonic_s() + _VISIBLE_AFTER_S

        def is_decided(found: Eni) -> bool:
            phases = {found.phase_of(each) for each in addresses}
            if None in phases and self._tools.clock.monotonic_s() <= visible_at_s:
                return False
            return AddressPhase.PENDING not in phases

        try:
            shown = await self._there(eni, is_decided)
        except CloudNotFound:
            await self._book.write(drop=[intent])
            raise
        fresh = self._fresh(eni, [it for it in addresses if shown.phase_of(it) is not None])
        await self._book.write(put=fresh, drop=[intent])
        record = self._book.image.enis.get(eni)
        if record is not None:
            self._tools.subnets.took(record.subnet, len(fresh))
        self._tell_assigned(fresh)

    async def _unassign(self, eni: EniId, addresses: tuple[IPv4Address, ...]) -> None:
        def remaining(found: Eni | None) -> list[IPv4Address]:
            return [it for it in addresses if found and found.phase_of(it) is not None]

        found = await self.look(eni)
        if left := remaining(found):
            try:
                await self._tools.call(
                    self._book.check_term, lambda: self._cloud.unassign(eni, left)
                )
            except CloudNotFound:
                # One of them has left: the others are asked for again in the next round.
                if remaining(await self.look(eni)):
                    raise
        await self._tools.follower.until(
            eni,
            lambda it: not remaining(it),
            timeout_s=self._tools.limits.change_timeout_s,
        )

    async def look(self, eni: EniId) -> Eni | None:
        found = await self._tools.call(
            self._book.check_term, lambda: self._cloud.describe_enis([eni])
        )
        return found[0] if found else None

    def _fresh(self, eni: EniId, addresses: list[IPv4Address]) -> list[AddressRecord]:
        """Those that nobody was given: a repeated call may name some that were."""
        known = self._book.image.addresses
        return [
            AddressRecord(address=each, eni=eni, hold=Hold.ASSIGNING)
            for each in addresses
            if each not in known or known[each].hold is not Hold.GIVEN
        ]

    def _tell_assigned(self, fresh: list[AddressRecord]) -> None:
        for each in fresh:
            self._tools.events.address("assigned", each.address, each.eni, self._name, None)

    def _security_groups(self) -> tuple[str, ...]:
        """Those of the settings, else those of the instance's own ENI."""
        if self._tools.security_groups:
            return self._tools.security_groups
        primary = [each for each in self._book.image.enis.values() if each.is_primary]
        return primary[0].security_groups if primary else ()


def _eni_name(node: NodeName) -> str:
    return f"berth-{node}".encode()[:_ENI_NAME_BYTES_MAX].decode(errors="ignore")
