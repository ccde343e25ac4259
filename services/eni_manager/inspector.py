"""What the cloud holds in the container subnets: of ours, and of others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from services.eni_manager.domain.foreign import RESERVED, foreign_among
from services.eni_manager.domain.ports import EniStore
from services.eni_manager.domain.records import Intent, IntentKind, NodeImage
from services.eni_manager.eni_tags import TAG_CLUSTER, TAG_INTENT
from services.eni_manager.tools import Tools
from shared.cloud.words import Eni, Subnet, UsedAddress
from shared.errors import EpochLost
from shared.ids import SubnetId

_SHOWN_MAX: Final = 3  # names in one sentence
_FRESH_S: Final = 2.0  # a look at a subnet's uses serves whoever asks meanwhile


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

    async def _ours(self) -> list[Eni]:
        return await self._cloud.find_enis_tagged({TAG_CLUSTER: self._tools.cluster})

    async def _images(self) -> list[NodeImage]:
        return [await self._store.load(node) for node in await self._store.load_nodes()]

    async def _used(self, subnet: Subnet) -> list[UsedAddress]:
        """One look at a time for all who ask: a large subnet takes longer than a call lasts."""
        now_s = self._tools.clock.monotonic_s()
        until_s, look = self._looks.get(subnet.subnet, (0.0, None))
        if look is None or (look.done() and (now_s > until_s or look.exception() is not None)):
            look = asyncio.create_task(
                self._cloud.find_used_in(subnet.vpc, subnet.subnet), name="uses of a subnet"
            )
            until_s = now_s + _FRESH_S
            self._looks[subnet.subnet] = (until_s, look)
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
