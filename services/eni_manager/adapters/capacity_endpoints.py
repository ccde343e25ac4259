"""The eni_manager's subjects about capacities: messages in, messages out."""

from __future__ import annotations

import logging
from typing import Any

from services.eni_manager.domain.capacities import ANNOTATED, check_quota
from services.eni_manager.domain.ports import EniStore
from services.eni_manager.followed_capacities import FollowedCapacities
from shared.bus.server import Handler
from shared.messages.base import Endpoint
from shared.messages.capacities import (
    CAPACITY_SET,
    CAPACITY_SHOW,
    CapacityFields,
    CapacitySetRequest,
    CapacityShown,
    CapacityShowRequest,
    ScopedCapacity,
)

log = logging.getLogger(__name__)


class CapacityEndpoints:
    def __init__(self, capacities: FollowedCapacities, nodes: EniStore) -> None:
        self._capacities = capacities
        self._nodes = nodes

    def handlers(self) -> dict[Endpoint[Any, Any], Handler[Any, Any]]:
        return {CAPACITY_SET: self._set, CAPACITY_SHOW: self._show}

    async def _set(self, request: CapacitySetRequest) -> CapacityShown:
        wish = request.capacity.to_wish() if request.capacity is not None else None
        if wish is not None:
            check_quota(request.scope, wish, await self._nodes.load_nodes())
        await self._capacities.set(request.scope, wish, request.calls)
        log.info(
            "capacity set",
            extra={
                "scope": request.scope,
                "capacity": request.capacity.model_dump() if request.capacity else None,
                "calls": request.calls,
                "by": request.by,
            },
        )
        return self._shown()

    async def _show(self, request: CapacityShowRequest) -> CapacityShown:
        await self._capacities.refresh()
        return self._shown()

    def _shown(self) -> CapacityShown:
        current = self._capacities.current
        return CapacityShown(
            defaults=CapacityFields.of(self._capacities.defaults),
            calls=current.calls,
            scopes=[
                ScopedCapacity(scope=scope, capacity=CapacityFields.of(wish))
                for scope, wish in sorted(current.scopes.items())
                if not scope.startswith(ANNOTATED)  # their objects show them
            ],
        )
