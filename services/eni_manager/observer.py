"""What the cloud, the agent and the leases say of a node, brought into its book.

The cloud decides where an address is, the agent and the leases whose it is. An ENI of ours
that no book knows is taken up by its tags; strangers are left alone but take up slots.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from services.eni_manager.domain.enis import Evidence, compare
from services.eni_manager.domain.records import (
    EniRecord,
    Hold,
    IntentKind,
    Purpose,
    Unclaimed,
    UnclaimedEni,
)
from services.eni_manager.eni_tags import TAG_CLUSTER, TAG_PURPOSE, unclaimed
from services.eni_manager.node_book import NodeBook
from services.eni_manager.tools import Tools
from shared.cloud.words import AddressPhase, Eni, EniQuota, Instance, InstanceState
from shared.errors import (
    CloudRefused,
    EpochLost,
    NotFound,
    QuotaReached,
    Unavailable,
)
from shared.ids import EniId, InstanceId

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A node as the cloud shows it at one moment."""

    instance: Instance
    quota: EniQuota
    enis: list[Eni]


class InstanceGone(NotFound):
    """Raised when the cloud shows no such instance, or a terminated one."""


class Observer:
    """Observes one node. The caller holds the node's lock."""

    def __init__(self, book: NodeBook, tools: Tools) -> None:
        self._book = book
        self._tools = tools
        self._unseen: frozenset[IPv4Address] = frozenset()  # by the last look
        self.lost: frozenset[IPv4Address] = frozenset()
        self._quota: EniQuota | None = None
        self._quota_instance: InstanceId | None = None  # whose it is
        self._quota_until_s = 0.0

    @property
    def strangers(self) -> int:
        """ENIs on the instance that are not ours."""
        return len(self._book.node.strangers)

    def doubt_quota(self) -> None:
        """The cloud refused what the quota seemed to allow."""
        self._quota_until_s = 0.0

    async def observe(self) -> None:
        """Bring the book up to date. Raises what the node cannot be served for."""
        await self._tools.call(self._book.check_term, self._tools.subnets.ensure)
        sight = await self._look()
        self._check(sight)
        await self._book.change_node(
            lambda node: replace(
                node,
                vpc=sight.instance.vpc,
                zone=sight.instance.zone,
            )
        )
        await self.limit()
        known = frozenset(self._book.image.enis)
        await self._record_enis(sight)
        await self._record_addresses(sight, known)

    async def limit(self) -> None:
        """What fits: by the quota, and by what somebody wants to be less. Nothing is asked."""
        quota, node = self._quota, self._book.node
        if quota is None or node.instance != self._quota_instance:
            return
        enis, each = quota.secondary_enis, quota.secondary_addresses_per_eni
        wanted = self._tools.capacities.enis_max(node)
        if wanted is not None:
            enis = min(enis, wanted + self.strangers)
        wanted_each = self._tools.capacities.addresses_per_eni_max(node)
        if wanted_each is not None:
            each = min(each, wanted_each)
        await self._book.change_node(
            lambda node: replace(node, enis_max=enis, addresses_max=each)
        )

    async def _look(self) -> Sight:
        name = self._book.node.instance
        check = self._book.check_term
        instance = await self._tools.call(check, lambda: self._tools.instances.get(name))
        enis = await self._tools.call(check, lambda: self._tools.enis_on.get(name))
        if instance is None or instance.state is InstanceState.TERMINATED:
            raise InstanceGone(f"instance {name} of node {self._book.node.node} does not exist")
        return Sight(
            instance=instance,
            quota=await self._known_quota(name),
            enis=enis or [],
        )

    async def _known_quota(self, instance: InstanceId) -> EniQuota:
        """The cloud's word, which changes seldom and may be asked for seldom."""
        now_s = self._tools.clock.monotonic_s()
        is_known = instance == self._quota_instance and now_s < self._quota_until_s
        if self._quota is None or not is_known:
            self._quota = await self._tools.call(
                self._book.check_term, lambda: self._tools.cloud.describe_quota(instance)
            )
            self._quota_instance = instance
            self._quota_until_s = now_s + self._tools.limits.quota_every_s
        return self._quota

    def _check(self, sight: Sight) -> None:
        node, instance = self._book.node, sight.instance
        if not instance.takes_enis:
            raise CloudRefused(
                f"instance {instance.instance} of node {node.node} is {instance.state}: it"
                " takes ENIs only when it is RUNNING or STOPPED"
            )
        if not sight.quota.secondary_enis or not sight.quota.secondary_addresses_per_eni:
            raise QuotaReached(
                f"instance {instance.instance} of node {node.node} may have {sight.quota.enis}"
                f" ENIs with {sight.quota.addresses_per_eni} addresses each, the primary ones"
                " included: none is left for pods"
            )

    async def _record_enis(self, sight: Sight) -> None:
        """Ours and the instance's own; one whose making is unfinished waits for its end."""
        image = self._book.image
        unfinished = {
            each.intent for each in image.intents.values() if each.kind is IntentKind.ADD_ENI
        }
        found: list[EniRecord] = []
        strangers: list[UnclaimedEni] = []
        for eni in sight.enis:
            purpose = self._purpose(eni)
            if purpose is None:
                node = self._book.node.node
                strangers.append(unclaimed(eni, Unclaimed.STRANGER, node=node))
            elif not unfinished & set(eni.tags.values()):
                found.append(await self._record(eni, purpose))
        seen = {each.eni for each in found}
        lost = [each for each in image.enis.values() if each.eni not in seen]
        for each in lost:
            log.warning("ENI is gone", extra={"eni": each.eni, "node": self._book.node.node})
        fresh = [each for each in found if image.enis.get(each.eni) != each]
        await self._book.write(put=fresh, drop=lost)
        await self._record_strangers(tuple(strangers))

    async def _record_strangers(self, strangers: tuple[UnclaimedEni, ...]) -> None:
        """Left alone, and named once: each takes a slot that pods could have."""
        known = {each.eni for each in self._book.node.strangers}
        await self._book.change_node(lambda node: replace(node, strangers=strangers))
        for each in strangers:
            if each.eni in known:
                continue
            node = self._book.node.node
            log.warning(
                "ENI on a node's instance is not ours: left alone",
                extra={"eni": each.eni, "node": node, "what": each.what},
            )
            self._tools.events.eni("stranger_found", each.eni, node, each.subnet, each.what)

    def _purpose(self, eni: Eni) -> Purpose | None:
        if eni.is_primary:
            return Purpose.PRIMARY
        if eni.tags.get(TAG_CLUSTER) != self._tools.cluster:
            return None
        is_whole = eni.tags.get(TAG_PURPOSE) == Purpose.EXCLUSIVE
        return Purpose.EXCLUSIVE if is_whole else Purpose.SHARED

    async def _record(self, eni: Eni, purpose: Purpose) -> EniRecord:
        subnet = await self._tools.subnets.get(eni.subnet)
        return EniRecord(
            eni=eni.eni,
            subnet=eni.subnet,
            cidr=subnet.cidr,
            mac=eni.mac,
            primary_address=eni.primary_address,
            purpose=purpose,
            security_groups=eni.security_groups,
        )

    async def _record_addresses(self, sight: Sight, known: frozenset[EniId]) -> None:
        image = self._book.image
        ours = {each.eni for each in image.secondary()}
        seen: dict[IPv4Address, EniId] = {
            address.address: eni.eni
            for eni in sight.enis
            if eni.eni in ours
            for address in eni.secondary
            if address.phase is not AddressPhase.DELETING
        }
        whole = {each.eni for each in image.whole()}
        seen |= {eni.primary_address: eni.eni for eni in sight.enis if eni.eni in whole}
        # The inventory first, the leases after it: an address that its agent hands to a lease
        # in between is seen by one of them.
        inventory = await self._inventory()
        self._look_for_lost(inventory, seen.keys())
        doubtful = [
            address
            for address in seen
            if inventory is None
            or address not in inventory
            or image.addresses.get(address) is None
        ]
        evidence = Evidence(leased=await self._leased(doubtful), inventory=inventory)
        findings = compare(image.addresses, seen, evidence, known)
        for each in findings.kept:
            if each.hold is Hold.QUARANTINED:
                self._tools.events.address(
                    "quarantined", each.address, each.eni, self._book.node.node, each.reason
                )
        await self._book.write(
            put=findings.kept, drop=[image.addresses[each] for each in findings.gone]
        )

    @property
    def has_suspects(self) -> bool:
        """An address was not seen, and is to be looked for again soon."""
        return bool(self._unseen - self.lost)

    def _look_for_lost(
        self, inventory: Collection[IPv4Address] | None, seen: Collection[IPv4Address]
    ) -> None:
        """What the agent calls its own, and two looks in a row did not see at the cloud: one
        may have crossed a change."""
        unseen = frozenset() if inventory is None else frozenset(inventory) - frozenset(seen)
        lost, self._unseen = unseen & self._unseen, unseen
        for address in sorted(lost - self.lost):
            log.warning(
                "address is on no ENI of its node any more",
                extra={"address": str(address), "node": self._book.node.node},
            )
        self.lost = lost

    async def _leased(self, addresses: list[IPv4Address]) -> set[IPv4Address] | None:
        try:
            return await self._tools.leases.leased_among(addresses)
        except EpochLost as error:
            log.info("leases cannot be asked", extra={"error": str(error)})
            return None

    async def _inventory(self) -> set[IPv4Address] | None:
        try:
            return await self._tools.agents.inventory(self._book.node.node)
        except Unavailable as error:
            log.info(
                "agent gave no inventory",
                extra={"node": self._book.node.node, "error": str(error)},
            )
            return None
