"""What the cloud holds in the container subnets: of ours, and of others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from services.eni_manager.domain.foreign import ENI, RESERVED, foreign_among
from services.eni_manager.domain.ports import EniStore
from services.eni_manager.domain.records import Hold, Intent, IntentKind, NodeImage
from services.eni_manager.eni_tags import TAG_CLUSTER, TAG_INTENT
from services.eni_manager.tools import Tools
from shared.cloud.words import Eni, Subnet, UsedAddress
from shared.errors import EpochLost, NotFound
from shared.ids import EniId, InstanceId, NodeName, SubnetId

_SHOWN_MAX: Final = 3  # names in one sentence
_FRESH_S: Final = 2.0  # a look at a subnet's uses serves whoever asks meanwhile
_PAGED_S: Final = 60.0  # and who pages through it


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetSight:
    """One subnet as the cloud shows it."""

    subnet: Subnet
    enis: int  # ours in it, those that are being made included
    addresses: int  # on them
    foreign: tuple[UsedAddress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    revision: int  # of the cluster's record that is acted on
    subnets: tuple[SubnetSight, ...]  # those that exist
    enis: int  # of this cluster, wherever they are
    waits_for: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """An address that is not free, and as much as is known of where it is."""

    used: UsedAddress
    is_ours: bool
    instance: InstanceId | None
    node: NodeName | None
    is_given: bool  # to an agent or a lease


class Inspector:
    def __init__(self, tools: Tools, store: EniStore) -> None:
        self._tools = tools
        self._cloud = tools.cloud
        self._store = store
        self._looks: dict[SubnetId, tuple[float, asyncio.Task[list[UsedAddress]]]] = {}

    async def inspect(
        self, subnets: Sequence[SubnetId], uses_of: Collection[SubnetId]
    ) -> Inspection:
        found = await self._cloud.describe_subnets(subnets)
        used = {each.subnet: await self._used(each) for each in found if each.subnet in uses_of}
        # Ours after the uses: an address that comes meanwhile is on an ENI that is known here.
        ours = await self._ours()
        images = await self._images()
        making = [each.subnet for each in _making(images, ours)]
        sights = []
        for each in found:
            uses = used.get(each.subnet, [])
            here = [eni for eni in ours if eni.subnet == each.subnet]
            sights.append(
                SubnetSight(
                    subnet=each,
                    enis=len(here) + making.count(each.subnet),
                    addresses=sum(len(eni.addresses) for eni in here),
                    foreign=foreign_among(
                        uses, {eni.eni for eni in ours}, await self._leased(uses)
                    ),
                )
            )
        return Inspection(
            revision=self._tools.record.revision,
            subnets=tuple(sights),
            enis=len(ours) + len(making),
            waits_for=_what_is_left(images, ours),
        )

    async def uses(
        self, name: SubnetId, after: IPv4Address | None, limit: int
    ) -> tuple[list[Use], bool]:
        """Some of a subnet's addresses that are not free, and whether they are the last."""
        found = await self._cloud.describe_subnets([name])
        if not found:
            raise NotFound(f"no such subnet at the cloud: {name}")
        age_s = 0.0 if after is None else _PAGED_S
        used = sorted(await self._used(found[0], age_s), key=lambda each: each.address)
        left = [each for each in used if after is None or each.address > after]
        shown = left[:limit]
        enis = [EniId(each.resource) for each in shown if each.kind == ENI]
        by_name = {
            each.eni: each for each in await self._cloud.describe_enis(sorted(set(enis)))
        }
        images = await self._images()
        return [self._use(each, by_name, images) for each in shown], len(left) <= limit

    def _use(
        self, used: UsedAddress, enis: Mapping[EniId, Eni], images: Sequence[NodeImage]
    ) -> Use:
        eni = enis.get(EniId(used.resource))
        instance = None if eni is None else eni.instance
        books = [each.addresses.get(used.address) for each in images]
        return Use(
            used=used,
            is_ours=eni is not None and eni.tags.get(TAG_CLUSTER) == self._tools.cluster,
            instance=instance,
            node=next((it.node.node for it in images if it.node.instance == instance), None),
            is_given=any(each is not None and each.hold is Hold.GIVEN for each in books),
        )

    async def _ours(self) -> list[Eni]:
        return await self._cloud.find_enis_tagged({TAG_CLUSTER: self._tools.cluster})

    async def _images(self) -> list[NodeImage]:
        return [await self._store.load(node) for node in await self._store.load_nodes()]

    async def _used(self, subnet: Subnet, age_s: float = _FRESH_S) -> list[UsedAddress]:
        """One look at a time for all who ask: a large subnet takes longer than a call lasts."""
        now_s = self._tools.clock.monotonic_s()
        began_s, look = self._looks.get(subnet.subnet, (0.0, None))
        is_old = now_s - began_s > age_s
        if look is None or (look.done() and (is_old or look.exception() is not None)):
            look = asyncio.create_task(
                self._cloud.find_used_in(subnet.vpc, subnet.subnet), name="uses of a subnet"
            )
            self._looks[subnet.subnet] = (now_s, look)
        return await asyncio.shield(look)

    async def _leased(self, used: Sequence[UsedAddress]) -> set[IPv4Address]:
        kept = [each.address for each in used if each.kind == RESERVED]
        try:
            return await self._tools.leases.leased_among(kept)
        except EpochLost:  # nothing is known: better not to call a kept address a stranger's
            return set(kept)


def _making(images: Sequence[NodeImage], ours: Sequence[Eni]) -> list[Intent]:
    """ENIs that were begun and that the cloud does not show (yet)."""
    shown = {each.tags.get(TAG_INTENT) for each in ours}
    return [
        intent
        for image in images
        for intent in image.intents.values()
        if intent.kind is IntentKind.ADD_ENI and intent.intent not in shown
    ]


def _what_is_left(images: Sequence[NodeImage], ours: Sequence[Eni]) -> str | None:
    """What stands in the way of the last ENIs: addresses that cool or are in use, an agent
    that is away, an ENI that is yet to be swept."""
    left = {
        image.node.node: sum(len(image.on(eni)) for eni in image.ours()) for image in images
    }
    busy = [f"{count} on {node}" for node, count in sorted(left.items()) if count]
    booked = {eni for image in images for eni in image.ours()}
    lost = sorted(each.eni for each in ours if each.eni not in booked)
    told = []
    if busy:
        told.append(f"addresses that their agents have not given back: {_first(busy)}")
    if lost:
        told.append(f"ENIs that are in no node's book: {_first(lost)}")
    return "; ".join(told) or None


def _first(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_MAX
    return ", ".join(names[:_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
