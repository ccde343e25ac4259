"""``berth status``: what runs, whether it serves, and how the cluster is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.commands.cluster import operation_line
from berth.commands.options import Json, RunDir, ask
from berth.commands.output import say, show, show_json, warn
from berth.commands.subnet import COLUMNS, fetch_subnets, subnet_row
from berth.enabling import fetch_status
from berth.playground.state import PlaygroundState, read_state
from shared.bus.client import BusClient
from shared.clusters import Cluster
from shared.errors import BerthError
from shared.kernel.processes import started_at
from shared.messages.cluster_life import ClusterStatus
from shared.messages.clusters import SubnetView


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the services say; a part that nobody tells is None."""

    status: ClusterStatus | None
    subnets: list[SubnetView] | None
    replicas: dict[str, int]


def status(run_dir: RunDir, as_json: Json = False) -> None:
    """The cluster, its subnets and services; of a playground, its processes and places too."""
    state = None if "BERTH_NATS_URL" in os.environ else read_state(run_dir.absolute())
    processes = _processes(state)
    seen = _ask(run_dir)
    places = _places(state)
    if as_json:
        named = {"cluster": state.cluster, **places, "processes": processes} if state else {}
        show_json(named | _document(seen))
        return
    if state is not None:
        columns = ("name", "pid", "is_running", "log")
        show(processes, columns, title="Processes", as_json=False)
    for what, place in places.items():
        say(f"{what:<9} {place}")
    _tell(seen)


def _ask(run_dir: Path) -> Seen:
    try:
        return ask(run_dir, _look)
    except BerthError as error:  # what runs is worth showing all the more
        warn(f"the services cannot be asked: {error}")
        return Seen(status=None, subnets=None, replicas={})


async def _look(bus: BusClient) -> Seen:
    replicas = await bus.find_replicas()
    try:
        status: ClusterStatus | None = await fetch_status(bus)
    except BerthError as error:
        warn(f"no allocator tells of the cluster: {error}")
        status = None
    try:
        subnets: list[SubnetView] | None = await fetch_subnets(bus)
    except BerthError as error:
        warn(f"no eni_manager tells of the subnets: {error}")
        subnets = None
    return Seen(status=status, subnets=subnets, replicas=replicas)


def _processes(state: PlaygroundState | None) -> list[dict[str, object]]:
    children = state.children if state is not None else ()
    return [
        {
            "name": child.name,
            "pid": child.pid,
            "is_running": started_at(child.pid) == child.started,
            "log": str(child.log_file),
        }
        for child in children
    ]


def _places(state: PlaygroundState | None) -> dict[str, str]:
    if state is None:
        return {}
    return {"bus": state.nats_url, "store": state.redis_url, "cloud": state.cloud_url}


def _document(seen: Seen) -> dict[str, Any]:
    record = seen.status.model_dump(mode="json") if seen.status is not None else {}
    return {
        "record": record.get("cluster"),
        "notes": record.get("notes", []),
        "subnets": seen.subnets,
        "replicas": seen.replicas,
    }


def _tell(seen: Seen) -> None:
    shown = ", ".join(f"{count} {name}" for name, count in sorted(seen.replicas.items()))
    say(f"{'replicas':<9} {shown or 'none answers'}")
    if seen.status is not None:
        cluster = seen.status.cluster
        words = "never enabled: `berth enable`" if cluster is None else _words(cluster)
        say(f"{'cluster':<9} {words}")
        for note in seen.status.notes:
            say(f"note: {note}")
    if seen.subnets:
        show(map(subnet_row, seen.subnets), COLUMNS, title="Subnets", as_json=False)


def _words(cluster: Cluster) -> str:
    is_on = "enabled" if cluster.is_enabled else "not enabled"
    fixed = "with" if cluster.has_fixed_ips else "without"
    modes = ", ".join(cluster.modes)
    return (
        f"{is_on}: {modes}, {fixed} fixed IPs, {cluster.pods_max} pods per node at most;"
        f" {operation_line(cluster.operation)}"
    )
