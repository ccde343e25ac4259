"""The use cases: a node's want, a move, an expired lease's end, and what operators list."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from services.eni_manager.domain.moves import Move, Parking
from services.eni_manager.domain.placement import Capacity
from services.eni_manager.domain.ports import EniStore
from services.eni_manager.domain.reclaims import Reclaim
from services.eni_manager.domain.records import Demand, EniRecord, NodeImage, NodeRecord
from services.eni_manager.holding import Holding
from services.eni_manager.mover import Mover
from services.eni_manager.node_worker import NodeWorker
from services.eni_manager.reclaimer import Reclaimer
from services.eni_manager.reconciler import Reconciler
from services.eni_manager.whole_moves import WholeMoves
from shared.cloud.port import CloudApi
from shared.cloud.words import InstanceState
from shared.errors import NotFound, Stale, Unavailable
from shared.ids import EniId, InstanceId, NodeName
from shared.telemetry.metrics import MOVES_TOTAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The answer to a node's want."""

    problem: str | None  # why it cannot get (more) addresses
    capacity: Capacity | None  # None: not known yet


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWarmth:
    """A node's own word on how much it keeps ready, from its agent's settings."""

    group: str | None = None
    warm_min: int | None = None
    warm_max: int | None = None


class EniManager:
    """Each use case is safe to repeat."""

    def __init__(
        self,
        reconciler: Reconciler,
        mover: Mover,
        reclaimer: Reclaimer,
        whole: WholeMoves,
        holding: Holding,
        store: EniStore,
        cloud: CloudApi,
        *,
        first_look_wait_s: float,
    ) -> None:
        self._reconciler = reconciler
        self._mover = mover
        self._reclaimer = reclaimer
        self._whole = whole
        self._holding = holding
        self._store = store
        self._cloud = cloud
        self._first_look_wait_s = first_look_wait_s

    async def want(
        self,
        node: NodeName,
        instance: InstanceId,
        incarnation: int,
        demand: Demand,
        enis: frozenset[str],
        *,
        exclusive: Demand,
        warmth: NodeWarmth,
        now: datetime,
    ) -> Heard:
        """Hear a node's demand. Offers follow by themselves. The first word waits until the
        instance was looked at."""
        record = NodeRecord(
            node=node,
            instance=instance,
            incarnation=incarnation,
            demand=demand,
            exclusive=exclusive,
            group=warmth.group,
            warm_min=warmth.warm_min,
            warm_max=warmth.warm_max,
            heard_at=now,
        )
        worker = self._reconciler.worker(node) or await self._reconciler.open(record)
        known = worker.book.node
        if incarnation < known.incarnation:
            raise Stale(
                f"incarnation {incarnation} of node {node} has ended: {known.incarnation} lives"
            )
        problem = await worker.hear(record, enis)
        if not worker.checked.is_set():
            try:
                async with asyncio.timeout(self._first_look_wait_s):
                    await worker.checked.wait()
            except TimeoutError:
                return Heard(problem=problem, capacity=worker.capacity())
        return Heard(problem=worker.book.node.problem, capacity=worker.capacity())

    async def move(self, move: Move) -> EniRecord:
        """The ENI on which the address works now. Busy when another replica has the node."""
        worker = self._worker(move.to_node)
        try:
            arrived = await self._mover.move(worker, move)
        except BaseException as error:
            MOVES_TOTAL.labels(type(error).__name__).inc()
            raise
        MOVES_TOTAL.labels("ok").inc()
        self._reconciler.left(move.address, to_node=move.to_node)
        return arrived

    async def park(self, parking: Parking) -> None:
        """Take an ENI, or one of its addresses, off its node, and keep it. Busy when another
        replica has the node."""
        worker = self._reconciler.worker(parking.node)
        if await self._holding.is_shared(parking.identity):
            await self._holding.hold(worker, parking)
        elif worker is None:
            await self._whole.park_left(parking)
        else:
            await self._whole.park(worker, parking)

    async def reclaim(self, reclaim: Reclaim) -> None:
        """Take an expired lease's address. Busy when another replica has the node."""
        if reclaim.node is None and await self._holding.is_shared(reclaim.identity):
            await self._holding.reclaim(reclaim)
        elif reclaim.node is None:
            await self._whole.reclaim(reclaim)
        elif worker := self._reconciler.worker(reclaim.node):
            await self._reclaimer.reclaim(worker, reclaim)
        else:
            await self._reclaimer.reclaim_from_gone(reclaim, await self._store.load_nodes())

    def _worker(self, node: NodeName) -> NodeWorker:
        worker = self._reconciler.worker(node)
        if worker is None:
            raise Unavailable(f"node {node} was not heard of yet: its agent must call")
        return worker

    async def instance(self, node: NodeName) -> tuple[InstanceId, InstanceState]:
        """The machine of a node and its state at the cloud now. Raises NotFound."""
        known = {each.node: each.instance for each in await self._store.load_nodes()}
        instance = known.get(node) or await self._store.instance_of_left(node)
        if instance is None:
            raise NotFound(f"node {node} was never heard of")
        found = await self._cloud.describe_instances([instance])
        return instance, found[0].state if found else InstanceState.TERMINATED

    async def leave(self, node: NodeName, reason: str) -> list[EniId]:
        """A node is gone for ever: the ENIs that left its instance; none if it has left. Busy
        when another replica has the node."""
        worker = self._reconciler.worker(node)
        return [] if worker is None else await worker.leave(reason)

    async def nodes(
        self, *, only: NodeName | None, after: NodeName | None, limit: int | None
    ) -> tuple[list[NodeImage], bool]:
        """A page of the cluster's nodes, whichever replica looks after them; whether it is
        the last one."""
        known = sorted(await self._store.load_nodes(), key=lambda it: it.node)
        chosen = [
            each
            for each in known
            if (only is None or each.node == only) and (after is None or each.node > after)
        ]
        images = [await self._store.load(node) for node in chosen[:limit]]
        return images, len(images) == len(chosen)

    def look(self, node: NodeName) -> None:
        """Compare the node with the cloud soon. Busy when another replica has the node."""
        worker = self._reconciler.worker(node)
        if worker is None:
            raise NotFound(f"node {node} was never heard of")
        worker.observe_soon()
