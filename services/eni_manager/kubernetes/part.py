"""Builds the eni_manager's Kubernetes side, and starts what of it goes on by itself."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.eni_manager.domain.ports import EniStore
from services.eni_manager.tools import Tools
from services.eni_manager.vacancies import VacancyViews
from shared.bus.client import BusClient
from shared.clock import Clock
from shared.kubernetes.client import KubernetesClient
from shared.kubernetes.definitions import ENI, NODE
from shared.kubernetes.leadership import Leadership
from shared.kubernetes.mirroring import ObjectWriter
from shared.kubernetes.watching import ObjectWatch
from shared.runtime.loops import Loops
from shared.telemetry.metrics import NODE_OBJECTS_WRITES_TOTAL

from .images import FollowedImages
from .keeper import KeeperPace, NodeKeeper, Watches
from .node_ends import NodeEnds
from .settings import NodeObjectSettings

LEADER: Final = "berth-eni-manager-nodes"
_NODES: Final = "/api/v1/nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the eni_manager hands over."""

    store: EniStore
    views: VacancyViews
    tools: Tools
    bus: BusClient
    clock: Clock
    rng: random.Random
    replica: str  # a name that no other replica has
    retry: timedelta  # a node is tried again within this time


async def start(
    settings: NodeObjectSettings, around: Surroundings, loops: Loops, stack: AsyncExitStack
) -> None:
    """Nothing, unless it is switched on. Raises Refused for a kubeconfig that is none."""
    if not settings.kubernetes:
        return
    kubernetes = await KubernetesClient.connect(
        settings.kubernetes_config, timeout_s=settings.kubernetes_timeout_s
    )
    stack.push_async_callback(kubernetes.aclose)
    selector = settings.kubernetes_node_selector
    watches = Watches(
        nodes=ObjectWatch(
            kubernetes, _NODES, {"labelSelector": selector} if selector else {}, around.rng
        ),
        enis=ObjectWatch(kubernetes, ENI.path(), {}, around.rng),
        configs=ObjectWatch(kubernetes, NODE.path(), {}, around.rng),
    )
    keeper = NodeKeeper(
        kubernetes,
        FollowedImages(around.store, around.views),
        around.tools,
        watches,
        ObjectWriter(
            kubernetes,
            writes_per_s=settings.mirror_writes_per_s,
            counter=NODE_OBJECTS_WRITES_TOTAL,
        ),
        NodeEnds(
            kubernetes,
            around.bus,
            around.clock,
            silence=timedelta(seconds=settings.kubernetes_gone_after_s),
        ),
        around.clock,
        KeeperPace(
            round_interval_s=settings.mirror_interval_s,
            write_pause_s=1 / settings.mirror_writes_per_s,
            retry=around.retry,
        ),
    )
    leadership = Leadership(
        kubernetes,
        around.clock,
        namespace=settings.kubernetes_namespace,
        name=LEADER,
        holder=around.replica,
        term=timedelta(seconds=settings.leader_term_s),
        lead=keeper.lead,
    )
    loops.keep("kubernetes-nodes", watches.nodes.run)
    loops.keep("kubernetes-enis", watches.enis.run)
    loops.keep("kubernetes-configs", watches.configs.run)
    loops.keep("kubernetes-leader", leadership.run)
