"""The container subnets as operators see them: the cloud's numbers, the record's options, and
what is ours in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.eni_manager.domain.ports import EniStore, UnclaimedBook
from services.eni_manager.domain.records import UnclaimedEni
from services.eni_manager.foreign_watch import ForeignBook
from services.eni_manager.tools import Tools
from shared.cloud.words import Subnet, UsedAddress
from shared.clusters import ContainerSubnet


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSubnet:
    subnet: Subnet
    options: ContainerSubnet
    enis: int
    addresses: int  # on them, their primary ones included
    foreign: Sequence[UsedAddress]  # as of the last look


class ClusterViews:
    def __init__(
        self, tools: Tools, store: EniStore, foreign: ForeignBook, unclaimed: UnclaimedBook
    ) -> None:
        self._tools = tools
        self._store = store
        self._foreign = foreign
        self._unclaimed = unclaimed

    async def unclaimed(self) -> list[UnclaimedEni]:
        """ENIs that no book has, as of the last looks: strangers on nodes, strays, orphans."""
        nodes = await self._store.load_nodes()
        strangers = [stranger for node in nodes for stranger in node.strangers]
        found = [*strangers, *await self._unclaimed.read()]
        return sorted(found, key=lambda each: (each.found, each.eni))

    async def subnets(self) -> list[ListedSubnet]:
        """Those that exist at the cloud."""
        await self._tools.subnets.refresh()
        images = [await self._store.load(node) for node in await self._store.load_nodes()]
        options = {each.subnet: each for each in self._tools.record.container()}
        foreign = await self._foreign.read()
        listed = []
        for subnet in self._tools.subnets.container():
            loads = [
                len(image.on(eni.eni))
                for image in images
                for eni in image.enis.values()
                if eni.subnet == subnet.subnet and not eni.is_primary
            ]
            listed.append(
                ListedSubnet(
                    subnet=subnet,
                    options=options[subnet.subnet],
                    enis=len(loads),
                    addresses=sum(loads) + len(loads),
                    foreign=foreign.get(subnet.subnet, ()),
                )
            )
        return listed
