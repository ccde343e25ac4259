"""Enabling and disabling a cluster as a person has it done: asked once, followed to the end.

The services carry it on by themselves, so whoever stops following has not stopped it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared.annotations import NetworkMode
from shared.bus.client import BusClient
from shared.clock import SystemClock
from shared.clusters import Operation, Progress, Verb
from shared.errors import ClusterChanging, ErrorCode, TryLater, Unavailable, error_of
from shared.ids import SubnetId
from shared.messages.base import Endpoint
from shared.messages.cluster_life import (
    CLUSTER_DISABLE,
    CLUSTER_ENABLE,
    CLUSTER_STATUS,
    ClusterDisableRequest,
    ClusterEnableRequest,
    ClusterStatus,
    ClusterStatusRequest,
)

FOLLOW_S: Final = 600.0
_LOOK_S: Final = 0.2

OnStep = Callable[[Operation], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnableWords:
    """What is named when a cluster is enabled."""

    modes: tuple[NetworkMode, ...]
    subnets: tuple[SubnetId, ...]
    has_fixed_ips: bool
    pods_max: int


async def enable_cluster(
    bus: BusClient, words: EnableWords, *, by: str, on_step: OnStep, follow_s: float = FOLLOW_S
) -> ClusterStatus:
    """Raises the reason when it failed, and Unavailable when it still runs after `follow_s`."""
    request = ClusterEnableRequest(
        modes=list(words.modes),
        subnets=list(words.subnets),
        has_fixed_ips=words.has_fixed_ips,
        pods_max=words.pods_max,
        by=by,
        deadline=_deadline(CLUSTER_ENABLE),
    )
    begun = await bus.call(CLUSTER_ENABLE, request)
    return await _follow(bus, begun, Verb.ENABLE, on_step, follow_s)


async def disable_cluster(
    bus: BusClient,
    *,
    ends_retained: bool,
    by: str,
    on_step: OnStep,
    follow_s: float = FOLLOW_S,
) -> ClusterStatus:
    request = ClusterDisableRequest(
        ends_retained=ends_retained, by=by, deadline=_deadline(CLUSTER_DISABLE)
    )
    begun = await bus.call(CLUSTER_DISABLE, request)
    return await _follow(bus, begun, Verb.DISABLE, on_step, follow_s)


async def fetch_status(bus: BusClient) -> ClusterStatus:
    return await bus.call(
        CLUSTER_STATUS, ClusterStatusRequest(deadline=_deadline(CLUSTER_STATUS))
    )


async def _follow(
    bus: BusClient, status: ClusterStatus, verb: Verb, on_step: OnStep, follow_s: float
) -> ClusterStatus:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + follow_s
    told: Operation | None = None
    while True:
        assert status.cluster is not None, "what was begun has a record"
        operation = status.cluster.operation
        if operation != told:
            on_step(operation)
            told = operation
        if operation.verb is not verb:
            raise ClusterChanging(f"{operation.by} has begun to {operation.verb} the cluster")
        if operation.progress is Progress.SUCCEED:
            return status
        if operation.progress is Progress.FAILED:
            code = ErrorCode(operation.code or ErrorCode.INTERNAL)
            raise error_of(code, operation.reason or operation.step)
        if loop.time() > until_s:
            waits = f": {operation.reason}" if operation.reason else ""
            raise Unavailable(
                f"{verb} still runs after {follow_s:.0f} s, at {operation.step}{waits}; it goes"
                " on by itself, and the same command follows it again"
            )
        await asyncio.sleep(_LOOK_S)
        status = await _look_again(bus, status)


async def _look_again(bus: BusClient, known: ClusterStatus) -> ClusterStatus:
    try:
        return await fetch_status(bus)
    except TryLater:  # a service restarts: what it did goes on after that
        return known


def _deadline(endpoint: Endpoint[Any, Any]) -> datetime:
    return SystemClock().now() + timedelta(seconds=endpoint.timeout_s)
