"""The eni_manager's subjects about the cluster's subnets: messages in, messages out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.eni_manager.cluster_views import ClusterViews, ListedSubnet
from services.eni_manager.inspector import Inspector, SubnetSight, Use
from shared.bus.server import Handler
from shared.cloud.words import UsedAddress
from shared.ids import SubnetId
from shared.messages.base import BATCH_MAX, Endpoint
from shared.messages.cluster_life import (
    SUBNET_INSPECT,
    USES_SHOWN_MAX,
    ForeignUse,
    SubnetFacts,
    SubnetInspectRequest,
    SubnetsInspected,
)
from shared.messages.clusters import (
    SUBNET_LIST,
    UNCLAIMED_LIST,
    SubnetListRequest,
    SubnetsListed,
    SubnetView,
    UnclaimedListed,
    UnclaimedListRequest,
    UnclaimedView,
)
from shared.messages.subnet_uses import (
    SUBNET_USES,
    AddressUse,
    SubnetUsesListed,
    SubnetUsesRequest,
)


class ClusterEndpoints:
    def __init__(self, views: ClusterViews, inspector: Inspector) -> None:
        self._views = views
        self._inspector = inspector

    def handlers(self) -> dict[Endpoint[Any, Any], Handler[Any, Any]]:
        return {
            SUBNET_LIST: self._list,
            SUBNET_INSPECT: self._inspect,
            SUBNET_USES: self._uses,
            UNCLAIMED_LIST: self._unclaimed,
        }

    async def _list(self, request: SubnetListRequest) -> SubnetsListed:
        return SubnetsListed(subnets=[_view(each) for each in await self._views.subnets()])

    async def _unclaimed(self, request: UnclaimedListRequest) -> UnclaimedListed:
        found = await self._views.unclaimed()
        shown = tuple(
            UnclaimedView(
                eni=each.eni,
                found=each.found,
                subnet=each.subnet,
                primary_address=each.primary_address,
                instance=each.instance,
                node=each.node,
                tags=each.tags,
            )
            for each in found[:BATCH_MAX]
        )
        return UnclaimedListed(enis=shown, count=len(found))

    async def _uses(self, request: SubnetUsesRequest) -> SubnetUsesListed:
        found, is_last = await self._inspector.uses(
            SubnetId(request.subnet), request.after, request.limit
        )
        return SubnetUsesListed(uses=tuple(map(_use, found)), is_last=is_last)

    async def _inspect(self, request: SubnetInspectRequest) -> SubnetsInspected:
        found = await self._inspector.inspect(
            [SubnetId(each) for each in request.subnets],
            frozenset(SubnetId(each) for each in request.finds_uses_of),
        )
        return SubnetsInspected(
            revision=found.revision,
            subnets=[_facts(each) for each in found.subnets],
            enis=found.enis,
            waits_for=found.waits_for,
        )


def _view(listed: ListedSubnet) -> SubnetView:
    subnet = listed.subnet
    return SubnetView(
        subnet=subnet.subnet,
        zone=subnet.zone,
        cidr=subnet.cidr,
        free=subnet.free,
        total=subnet.total,
        state=listed.options.state,
        reclaims_under_pressure=listed.options.reclaims_under_pressure,
        enis=listed.enis,
        addresses=listed.addresses,
        foreign=_shown(listed.foreign),
        foreign_count=len(listed.foreign),
    )


def _facts(sight: SubnetSight) -> SubnetFacts:
    subnet = sight.subnet
    return SubnetFacts(
        subnet=subnet.subnet,
        vpc=subnet.vpc,
        zone=subnet.zone,
        cidr=subnet.cidr,
        free=subnet.free,
        total=subnet.total,
        enis=sight.enis,
        addresses=sight.addresses,
        foreign=_shown(sight.foreign),
        foreign_count=len(sight.foreign),
    )


def _use(found: Use) -> AddressUse:
    used = found.used
    return AddressUse(
        address=used.address,
        kind=used.kind,
        resource=used.resource,
        is_ours=found.is_ours,
        instance=found.instance,
        node=found.node,
        is_given=found.is_given,
    )


def _shown(foreign: Sequence[UsedAddress]) -> tuple[ForeignUse, ...]:
    return tuple(
        ForeignUse(address=each.address, kind=each.kind, resource=each.resource)
        for each in foreign[:USES_SHOWN_MAX]
    )
