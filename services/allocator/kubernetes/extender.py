"""``POST /scheduler/filter`` and ``/prioritize``: where a pod can have its address.

Answered from memory; of a pod with a fixed address the store is asked once, for its lease. What
is not known now is not held against any node: ADD is the back-stop, and says why.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiohttp import web

from services.allocator.domain.leases import Lease
from shared.addresses import AddressState
from shared.annotations import RESOURCE_EXCLUSIVE, DeletePolicy, NetworkMode, PodNetwork
from shared.errors import BerthError, InvalidInput
from shared.ids import NodeName, PodName, SubnetId
from shared.telemetry.metrics import EXTENDER_ANSWERS_TOTAL, EXTENDER_SECONDS

from . import admission, extender_calls
from .admission import ClusterFacts, Pod
from .extender_calls import ExtenderArgs
from .placing import Misfit, Need, Placing, Score
from .pod_patches import asks_for
from .vacancies import FollowedVacancies

log = logging.getLogger(__name__)

FILTER_PATH: Final = "/scheduler/filter"
PRIORITIZE_PATH: Final = "/scheduler/prioritize"
LOOK_UP_S: Final = 0.3  # for a lease; the scheduler waits a second for all of it


class PlacingFacts(Protocol):
    """What the extender asks of the rest of the allocator."""

    def cluster(self) -> ClusterFacts: ...

    async def lease_of(self, pod: PodName) -> Lease | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """Every node passes."""

    answer: str  # why, in one word for the metric


class Extender:
    def __init__(
        self, facts: PlacingFacts, vacancies: FollowedVacancies, *, fresh_s: float
    ) -> None:
        self._facts = facts
        self._vacancies = vacancies
        self._fresh_s = fresh_s

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(FILTER_PATH, self._handler("filter", self._filter)),
            web.post(PRIORITIZE_PATH, self._handler("prioritize", self._prioritize)),
        ]

    def _handler(
        self, verb: str, answer: Callable[[ExtenderArgs, Placing | _Open], Any]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            began_s = time.perf_counter()
            try:
                args = extender_calls.parse_args(body)
            except InvalidInput as error:
                EXTENDER_ANSWERS_TOTAL.labels(verb, "malformed").inc()
                return web.json_response({"Error": str(error)}, status=400)
            placing = await self._placing(args.pod)
            told = answer(args, placing)
            outcome = placing.answer if isinstance(placing, _Open) else "judged"
            EXTENDER_ANSWERS_TOTAL.labels(verb, outcome).inc()
            EXTENDER_SECONDS.labels(verb).observe(time.perf_counter() - began_s)
            return web.json_response(told, dumps=json.dumps)

        return handle

    async def _placing(self, pod: Pod) -> Placing | _Open:
        try:
            network = admission.pod_network(pod, self._facts.cluster())
        except InvalidInput:  # ADD refuses it, in its own words
            return _Open(answer="not_ours")
        if network is None:
            return _Open(answer="not_ours")
        if why := self._why_not_fresh():
            log.warning("nodes are not judged", extra={"reason": why})
            return _Open(answer="stale")
        lease = None
        if network.policy is DeletePolicy.NEVER:
            name = PodName(pod.metadata.namespace, pod.metadata.name)
            try:
                async with asyncio.timeout(LOOK_UP_S):
                    lease = await self._facts.lease_of(name)
            except (BerthError, TimeoutError) as error:
                log.warning("a pod's lease is not known", extra={"error": str(error)})
                return _Open(answer="lease_unknown")
        if lease is not None and lease.state is AddressState.EXPIRED:
            lease = None  # it is being given back: the pod gets another
        mode = network.mode or self._facts.cluster().default_mode
        need = Need(
            is_exclusive=mode is NetworkMode.EXCLUSIVE
            or (mode is None and asks_for(pod.spec, RESOURCE_EXCLUSIVE)),
            lease=lease,
            nominated=self._nominated(network),
        )
        return Placing(need, self._vacancies.subnets)

    def _nominated(self, network: PodNetwork) -> tuple[SubnetId, ...]:
        if network.nominated is None:
            return network.nominated_subnets
        found = self._vacancies.subnets.items()
        return tuple(name for name, each in found if network.nominated in each.cidr)

    def _why_not_fresh(self) -> str | None:
        age_s = self._vacancies.age_s
        if age_s > self._fresh_s:
            return f"what nodes could still take was told {age_s:.0f} s ago: every node passes"
        if not self._vacancies.knows_any:
            return "no node is known yet: every node passes"
        return None

    def _filter(self, args: ExtenderArgs, placing: Placing | _Open) -> dict[str, Any]:
        kept: list[str] = []
        failed: dict[str, str] = {}
        failed_for_good: dict[str, str] = {}
        for name in args.node_names:
            verdict = self._verdict(placing, name)
            if not isinstance(verdict, Misfit):
                kept.append(name)
            elif verdict.is_for_good:
                failed_for_good[name] = verdict.reason
            else:
                failed[name] = verdict.reason
        return extender_calls.filtered(kept, failed, failed_for_good)

    def _prioritize(self, args: ExtenderArgs, placing: Placing | _Open) -> list[dict[str, Any]]:
        scores = {}
        for name in args.node_names:
            verdict = self._verdict(placing, name)
            scores[name] = 0 if isinstance(verdict, Misfit) else int(verdict)
        return extender_calls.prioritized(scores)

    def _verdict(self, placing: Placing | _Open, name: str) -> Score | Misfit:
        if isinstance(placing, _Open):
            return Score.UNKNOWN
        node = NodeName(name)
        return placing.judge(node, self._vacancies.nodes.get(node))
