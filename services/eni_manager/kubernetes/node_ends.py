"""A Node that was deleted: its leases come free to move, and its ENIs leave, once nothing runs.

The allocators decide (`cluster.gone`): they ask the cloud and the agent first, and refuse while
the machine runs, because a missing Node object alone proves nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from services.eni_manager.domain.records import NodeImage
from shared.bus.client import BusClient
from shared.clock import Clock
from shared.errors import BerthError, NotFound
from shared.ids import NodeName
from shared.kubernetes.client import KubernetesClient
from shared.kubernetes.watching import ObjectWatch
from shared.messages.departures import NODE_GONE, NodeGoneRequest

from .node_objects import node_path

log = logging.getLogger(__name__)

_BY: Final = "the Node's deletion in Kubernetes"


class NodeEnds:
    """Looks at nodes of our books that have no Node object, and are silent, again and again."""

    def __init__(
        self,
        kubernetes: KubernetesClient,
        bus: BusClient,
        clock: Clock,
        *,
        silence: timedelta,
    ) -> None:
        self._kubernetes = kubernetes
        self._bus = bus
        self._clock = clock
        self._silence = silence
        self._ask_at_s: dict[NodeName, float] = {}

    async def look(self, images: Mapping[NodeName, NodeImage], nodes: ObjectWatch) -> None:
        """Raises Unavailable when the API server does not answer."""
        missing = [name for name in images if nodes.find("", name) is None]
        self._ask_at_s = {name: self._ask_at_s.get(name, 0.0) for name in missing}
        latest = self._clock.now() - self._silence
        for name in missing:
            is_silent = images[name].node.heard_at < latest
            if not is_silent or self._clock.monotonic_s() < self._ask_at_s[name]:
                continue
            silence_s = self._silence.total_seconds()
            self._ask_at_s[name] = self._clock.monotonic_s() + silence_s
            if await self._is_deleted(name):
                await self._end(name)

    async def _is_deleted(self, node: NodeName) -> bool:
        """The watch may be of some Nodes only."""
        try:
            await self._kubernetes.get(node_path(node))
        except NotFound:
            return True
        return False

    async def _end(self, node: NodeName) -> None:
        deadline = self._clock.now() + timedelta(seconds=NODE_GONE.timeout_s)
        request = NodeGoneRequest(deadline=deadline, node=node, by=_BY)
        try:
            told = await self._bus.call(NODE_GONE, request)
        except BerthError as error:  # it may still run: asked again later
            log.info("a deleted Node is held", extra={"node": node, "error": str(error)})
            return
        log.warning(
            "a deleted Node has ended",
            extra={"node": node, "leases": told.leases, "enis": list(told.enis)},
        )
