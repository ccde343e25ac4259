"""Keeps Kubernetes' picture of the nodes: VpcENI and NodeENIConfig objects, taints, conditions,
events. The books are the truth; only the leader runs rounds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from services.eni_manager.domain.records import NodeImage
from services.eni_manager.tools import Tools
from shared.clock import Clock
from shared.errors import BerthError, NotFound
from shared.ids import NodeName
from shared.kubernetes.answers import ObjectConflict
from shared.kubernetes.client import KubernetesClient
from shared.kubernetes.definitions import API, ENI, NODE
from shared.kubernetes.events import Told, event_object, events_path, reference
from shared.kubernetes.mirroring import Change, ObjectWriter, plan
from shared.kubernetes.watching import Object, ObjectWatch
from shared.telemetry.metrics import NODE_OBJECTS_TAINTED

from .images import FollowedImages
from .node_annotations import Around, asked_of
from .node_ends import NodeEnds
from .node_objects import (
    CONDITION,
    condition_patch,
    is_settled,
    is_tainted,
    node_path,
    taint_patch,
)
from .shown import NOT_JOINED, Serving, conditions_by_type, enis_of, node_of, serving_of

log = logging.getLogger(__name__)

_BY: Final = "berth-eni-manager"
_LOOK_S: Final = 1.0  # at nodes that cannot serve yet
_QUIET_S: Final = 0.2  # nodes tell of themselves all the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Watches:
    nodes: ObjectWatch
    enis: ObjectWatch
    configs: ObjectWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperPace:
    round_interval_s: float
    write_pause_s: float  # between two nodes that are changed
    retry: timedelta  # of a node's own rounds


class NodeKeeper:
    def __init__(
        self,
        kubernetes: KubernetesClient,
        images: FollowedImages,
        tools: Tools,
        watches: Watches,
        writer: ObjectWriter,
        ends: NodeEnds,
        clock: Clock,
        pace: KeeperPace,
    ) -> None:
        self._kubernetes = kubernetes
        self._images = images
        self._tools = tools
        self._watches = watches
        self._writer = writer
        self._ends = ends
        self._clock = clock
        self._pace = pace
        self._complained: set[tuple[NodeName, str]] = set()

    async def lead(self) -> None:
        """Rounds for as long as this replica leads. Nodes that pods wait for are looked at
        apart from the rest: to show a whole cluster takes long, as it is paced."""
        async with asyncio.TaskGroup() as work:
            work.create_task(self._settle(), name="kubernetes-settle")
            work.create_task(self._show(), name="kubernetes-show")
            work.create_task(self._end(), name="kubernetes-end")  # it may wait for the cloud

    async def _show(self) -> None:
        while True:
            try:
                await self.round()
            except BerthError as error:
                log.warning("nodes cannot be shown", extra={"error": str(error)})
            await asyncio.sleep(self._pace.round_interval_s)

    async def _settle(self) -> None:
        """A Node that comes is looked at at once, one that cannot serve every second."""
        while True:
            try:
                await self._images.refresh()
                nodes = self._watches.nodes.all().values()
                await self._keep_nodes([each for each in nodes if not is_settled(each)])
                NODE_OBJECTS_TAINTED.set(sum(is_tainted(each) for each in nodes))
            except BerthError as error:  # a right is missing, or somebody is away
                log.warning("nodes cannot be kept", extra={"error": str(error)})
            await asyncio.sleep(min(_QUIET_S, self._pace.round_interval_s))
            await self._watches.nodes.changed.wait(min(_LOOK_S, self._pace.round_interval_s))

    async def _end(self) -> None:
        while True:
            try:
                if self._watches.nodes.lists:
                    await self._ends.look(self._images.all(), self._watches.nodes)
            except BerthError as error:
                log.warning("deleted nodes cannot be ended", extra={"error": str(error)})
            await asyncio.sleep(self._pace.round_interval_s)

    async def round(self) -> None:
        await self._images.refresh()
        images = self._images.all()
        if self._watches.nodes.lists:
            if self._watches.configs.lists:  # else what they say is not known
                await self._follow_annotations(images)
            try:
                await self._keep_nodes(list(self._watches.nodes.all().values()))
            except BerthError as error:  # a right is missing: the rest is shown all the same
                log.warning("nodes cannot be kept", extra={"error": str(error)})
        await self._writer.write(self._changes(images))

    async def _follow_annotations(self, images: Mapping[NodeName, NodeImage]) -> None:
        nodes, configs = self._watches.nodes, self._watches.configs
        for name, image in images.items():
            node, config = nodes.find("", name), configs.find("", name)
            asked = asked_of(_annotations(node), _annotations(config), self._around(image))
            await self._tools.capacities.annotate(name, asked.wish)
            about = node if config is None else config
            for problem in asked.problems:
                if about is not None and (name, problem) not in self._complained:
                    await self._complain(about, problem)
                    self._complained.add((name, problem))
            self._complained -= {
                each
                for each in self._complained
                if each[0] == name and each[1] not in asked.problems
            }

    def _around(self, image: NodeImage) -> Around:
        cluster, node = self._tools.record.current, image.node
        return Around(
            modes=() if cluster is None else cluster.modes,
            has_groups=bool(self._tools.security_groups),
            enis_max=node.enis_max,
            addresses_max=node.addresses_max,
            addresses_used=node.demand.bound + node.demand.promised,
            enis_used=node.exclusive.bound + node.exclusive.promised,
        )

    async def _complain(self, about: Object, problem: str) -> None:
        is_config = about.get("kind") == NODE.kind
        named = reference(API if is_config else "v1", NODE.kind if is_config else "Node", about)
        now = self._clock.now()
        told = Told(
            reason="AnnotationRefused",
            message=problem,
            is_warning=True,
            at=now,
            by=_BY,
            key=f"{problem}/{about['metadata']['resourceVersion']}",
        )
        await self._create(event_object(told, named), named)

    def _serving(self, image: NodeImage | None) -> Serving:
        if image is None:
            return NOT_JOINED
        return serving_of(image, keeps_warm=self._tools.marks(image.node).warm_min > 0)

    def _changes(self, images: Mapping[NodeName, NodeImage]) -> list[Change]:
        """Where the definitions are missing nothing was listed, and nothing is written."""
        changes: list[Change] = []
        enis, configs = self._watches.enis, self._watches.configs
        if enis.lists:
            wanted = [each for image in images.values() for each in enis_of(image)]
            changes += plan(ENI, wanted, enis.all())
        if configs.lists:
            now = self._clock.now()
            shown = [
                node_of(
                    image,
                    self._serving(image),
                    retry=self._pace.retry,
                    now=now,
                    found=configs.find("", name),
                )
                for name, image in images.items()
            ]
            changes += plan(NODE, shown, configs.all())
        return changes

    async def _keep_nodes(self, nodes: Sequence[Object]) -> None:
        images = self._images.all()
        for node in nodes:
            serving = self._serving(images.get(NodeName(node["metadata"]["name"])))
            try:
                await self._keep_node(node, serving)
            except (ObjectConflict, NotFound):
                continue  # changed, or gone, since: the next round looks again

    async def _keep_node(self, node: Object, serving: Serving) -> None:
        """The taint first: what is written to the status names a newer version after it."""
        path = node_path(node["metadata"]["name"])
        current = node
        if patch := taint_patch(current, serving):
            current = await self._kubernetes.patch(path, patch)
        patch = condition_patch(current, serving, self._clock.now())
        if patch is None:
            return
        before = conditions_by_type(node).get(CONDITION, {})
        await self._tell(node, serving, before)
        await self._kubernetes.patch(f"{path}/status", patch)
        await asyncio.sleep(self._pace.write_pause_s)

    async def _tell(self, node: Object, serving: Serving, before: Mapping[str, Any]) -> None:
        now = self._clock.now()
        about = reference("v1", "Node", node)
        told = Told(
            reason="EniIpAvailable" if serving.is_able else "EniIpUnavailable",
            message=f"{serving.reason}: {serving.message}",
            is_warning=not serving.is_able or serving.reason != "Serving",
            at=now,
            by=_BY,
            key=f"{serving.reason}/{serving.message}/{before.get('lastTransitionTime')}",
        )
        await self._create(event_object(told, about), about)

    async def _create(self, event: Object, about: Object) -> None:
        try:
            await self._kubernetes.create(events_path(about), event)
        except ObjectConflict:
            return  # told before


def _annotations(found: Object | None) -> dict[str, str]:
    return (found or {}).get("metadata", {}).get("annotations") or {}
