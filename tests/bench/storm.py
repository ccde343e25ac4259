"""5,000 pods at once on 100 nodes that hold no address yet: how long, and how many calls.

Real allocators, eni_manager, bus and store; the cloud is the simulator without a network, at
the documented rates, with latencies like the cloud's; the nodes' agents are production's own,
all in this process, with a kernel in memory.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, exp, log
from pathlib import Path
from typing import Any, Final

import uvloop
import yaml
from nats.aio.client import Client

from berth.commands.node import fetch_nodes
from berth.enabling import EnableWords, enable_cluster, fetch_status
from services.eni_manager.config import DOCUMENTED_RATES_PER_S
from shared.annotations import NetworkMode
from shared.bus.client import BusClient
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.ids import SubnetId
from tests.bench.allocators import connected, on_servers, program
from tests.bench.figures import Family, Figure, Measured, median
from tests.support.allocators import CLUSTER
from tests.support.servers import NatsServer, RedisServer, free_port, nats_server, redis_server
from tests.support.simulated_cloud import REGION, SECRET_ID, SECRET_KEY
from tests.support.wireless_nodes import WirelessNode, wireless_node

RUNS: Final = 5
DRAWS: Final = 1001
_ENIS: Final = 8  # of an instance, the primary one included
_ADDRESSES_PER_ENI: Final = 30  # the primary one included
_SUBNETS: Final = 4
_STORM_S_MAX: Final = 120.0
_READY_S_MAX: Final = 60.0
_LOOK_S: Final = 0.1
_MUTATING: Final = re.compile(
    r'^berth_vpc_simulator_calls_total\{action="((?:Create|Attach|Assign|Unassign|Detach|Delete'
    r'|Migrate)\w+)",code="(\w+)"\} (\d+)'
)

STORM_TIME = Figure(
    name="storm_time",
    unit="s",
    what="5,000 ADDs at once on 100 nodes without an address, to the last answer, beside the"
    " longest chain of cloud calls and what the documented rates cost",
    aim=1.3,
)
STORM_CALLS = Figure(
    name="storm_calls",
    unit="calls",
    what="mutating calls to the cloud in that storm, beside one call per pod",
    aim=0.125,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large a storm, and how slow the cloud: medians of log-normal latencies."""

    nodes: int = 100
    pods_per_node: int = 50
    create_s: float = 1.0
    attach_s: float = 3.0
    assign_s: float = 0.5
    sigma: float = 0.25

    @property
    def pods(self) -> int:
        return self.nodes * self.pods_per_node

    @property
    def enis_needed(self) -> int:
        return self.nodes * ceil(self.pods_per_node / (_ADDRESSES_PER_ENI - 1))

    def longest_chain_s(self) -> float:
        """What the slowest of the ENIs takes, whoever asks for it: the median of many draws."""
        rng = random.Random(1)

        def chain() -> float:
            medians = (self.create_s, self.attach_s)
            return sum(exp(rng.gauss(log(each), self.sigma)) for each in medians)

        return median([max(chain() for _ in range(self.enis_needed)) for _ in range(DRAWS)])

    def rates_s(self) -> float:
        """What the calls for these ENIs take at the documented rates."""
        actions = ("CreateNetworkInterface", "AttachNetworkInterface")
        return sum(self.enis_needed / DOCUMENTED_RATES_PER_S[each] for each in actions)

    def latencies(self) -> dict[str, object]:
        return {
            action: {"median_ms": seconds * 1000, "sigma": self.sigma}
            for action, seconds in (
                ("CreateNetworkInterface", self.create_s),
                ("AttachNetworkInterface", self.attach_s),
                ("AssignPrivateIpAddresses", self.assign_s),
            )
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """One storm's outcome."""

    took_s: float
    calls: dict[str, int]  # of each mutating action, the refused ones included
    throttled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    url: str
    health_port: int

    def calls(self) -> list[tuple[str, str, int]]:
        """(action, error code, count) of every mutating call so far."""
        page = urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/metrics")
        lines = page.read().decode().splitlines()
        return [(m[1], m[2], int(m[3])) for line in lines if (m := _MUTATING.match(line))]


def measure() -> list[Measured]:
    shape = Shape()
    storms = []
    for run in range(1, RUNS + 1):
        storms.append(uvloop.run(storm(shape)))
        _progress(f"storm {run} of {RUNS}: {storms[-1].took_s:.1f} s, {storms[-1].calls}")
    chain_s, rates_s = shape.longest_chain_s(), shape.rates_s()
    took_s = [each.took_s for each in storms]
    calls = [sum(each.calls.values()) for each in storms]
    time_detail = {
        "runs_s": [round(each, 2) for each in took_s],
        "formula": "longest of the drawn chains create + attach, one per ENI that is needed,"
        " and for each action calls / documented rate",
        "longest_chain_s": round(chain_s, 2),
        "rates_s": round(rates_s, 2),
        "shape": asdict(shape),
        "throttled": [each.throttled for each in storms],
    }
    return [
        Measured(
            figure=STORM_TIME,
            value=median(took_s),
            baseline=chain_s + rates_s,
            detail=time_detail,
        ),
        Measured(
            figure=STORM_CALLS,
            value=median(calls),
            baseline=shape.pods,
            detail={"runs": calls, "by_action": storms[-1].calls},
        ),
    ]


async def storm(shape: Shape) -> Storm:
    """Raises RuntimeError unless every pod has an address of its own at the end."""
    async with AsyncExitStack() as stack:
        nats = stack.enter_context(nats_server())
        redis = stack.enter_context(redis_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_memory_folder())))
        cloud = stack.enter_context(_services(nats, redis, folder, shape))
        client = await stack.enter_async_context(connected(nats))
        await _enable(client)
        nodes = [
            await stack.enter_async_context(
                wireless_node(client, CLUSTER, f"node-{n}", f"ins-{n}", folder / f"node-{n}")
            )
            for n in range(shape.nodes)
        ]
        async with asyncio.timeout(_READY_S_MAX):
            await _known(client, nodes)
        before = cloud.calls()
        assert not before, f"nodes are to be empty, and {before} were called"
        began_s = time.perf_counter()
        deadline = datetime.now(UTC) + timedelta(seconds=_STORM_S_MAX)
        async with asyncio.TaskGroup() as pods:
            for node in nodes:
                for number in range(shape.pods_per_node):
                    pods.create_task(node.add(f"{node.node}-pod-{number}", deadline))
        took_s = time.perf_counter() - began_s
        _check_addresses(nodes, shape.pods)
        calls = cloud.calls()
    by_action: dict[str, int] = {}
    for action, _, count in calls:
        by_action[action] = by_action.get(action, 0) + count
    throttled = sum(count for _, code, count in calls if code != "ok")
    return Storm(took_s=took_s, calls=by_action, throttled=throttled)


def _check_addresses(nodes: list[WirelessNode], pods: int) -> None:
    """Every pod has one, and no two the same."""
    held = [each.address for node in nodes for each in node.agent.ledger.attachments]
    if len(held) != pods or len(set(held)) != len(held):
        raise RuntimeError(f"{len(held)} pods hold {len(set(held))} addresses")


async def _enable(client: Client) -> None:
    bus = BusClient(client, cluster=CLUSTER, clock=SystemClock(), rng=random.Random(2))
    words = EnableWords(
        modes=(NetworkMode.SHARED,),
        subnets=tuple(SubnetId(f"subnet-{n}") for n in range(_SUBNETS)),
        has_fixed_ips=False,  # the nodes' own ENIs are in these subnets, too
        pods_max=(_ENIS - 1) * (_ADDRESSES_PER_ENI - 1),
    )
    async with asyncio.timeout(_READY_S_MAX):
        await _served(bus)
    await enable_cluster(bus, words, by="bench", on_step=lambda _: None, follow_s=_READY_S_MAX)


async def _served(bus: BusClient) -> None:
    """Until an allocator answers."""
    while True:
        try:
            await fetch_status(bus)
        except Unavailable:
            await asyncio.sleep(_LOOK_S)
        else:
            return


async def _known(client: Client, nodes: list[WirelessNode]) -> None:
    """Until every node is registered, and the eni_manager has looked at its instance."""
    for node in nodes:
        await node.registered(_READY_S_MAX)
    bus = BusClient(client, cluster=CLUSTER, clock=SystemClock(), rng=random.Random(1))
    while True:
        known = await fetch_nodes(bus)
        if sum(each.enis_max is not None for each in known) == len(nodes):
            return
        await asyncio.sleep(_LOOK_S)


@contextmanager
def _services(
    nats: NatsServer, redis: RedisServer, folder: Path, shape: Shape
) -> Iterator[Cloud]:
    with ExitStack() as stack:
        cloud = stack.enter_context(_simulator(folder, shape))
        for name, text in (("secret-id", SECRET_ID), ("secret-key", SECRET_KEY)):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text, encoding="ascii")
        common = on_servers(nats, redis)
        manager = common | {
            "BERTH_ENI_MANAGER_CLOUD_URL": cloud.url,
            "BERTH_ENI_MANAGER_CLOUD_REGION": REGION,
            "BERTH_ENI_MANAGER_CLOUD_SECRET_ID_FILE": str(folder / "secret-id"),
            "BERTH_ENI_MANAGER_CLOUD_SECRET_KEY_FILE": str(folder / "secret-key"),
            "BERTH_ENI_MANAGER_WARM_ADDRESSES_MIN": "0",
        }
        for number in range(2):
            log_file = folder / f"allocator-{number}.log"
            stack.enter_context(program("services.allocator.main", (), common, log_file))
        log_file = folder / "eni-manager.log"
        stack.enter_context(program("services.eni_manager.main", (), manager, log_file))
        yield cloud


@contextmanager
def _simulator(folder: Path, shape: Shape) -> Iterator[Cloud]:
    topology, ready = folder / "topology.yaml", folder / "simulator-ready"
    topology.write_text(yaml.safe_dump(_topology(shape)), encoding="utf-8")
    arguments = ("--listen", f"127.0.0.1:{free_port()}", "--topology", str(topology))
    environment = {
        "BERTH_SIMULATOR_SECRET_ID": SECRET_ID,
        "BERTH_SIMULATOR_SECRET_KEY": SECRET_KEY,
        "BERTH_LOG_LEVEL": "WARNING",
    }
    with program(
        "services.vpc_simulator.main",
        (*arguments, "--wireless", "--ready-file", str(ready)),
        environment,
        folder / "simulator.log",
    ) as process:
        until_s = time.monotonic() + _READY_S_MAX
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError((folder / "simulator.log").read_text()[-2000:])
            time.sleep(_LOOK_S)
        told: dict[str, Any] = json.loads(ready.read_text())
        yield Cloud(url=told["url"], health_port=told["health_port"])


def _topology(shape: Shape) -> dict[str, object]:
    zone = "zone-1"
    return {
        "region": REGION,
        "vpc": {"id": "vpc-one", "cidr": "10.0.0.0/8"},
        "subnets": [
            {"id": f"subnet-{n}", "cidr": f"10.{n}.0.0/16", "zone": zone}
            for n in range(_SUBNETS)
        ],
        "instances": [
            {
                "id": f"ins-{n}",
                "node": f"node-{n}",
                "zone": zone,
                "subnet": f"subnet-{n % _SUBNETS}",
                "quota": {"enis": _ENIS, "addresses_per_eni": _ADDRESSES_PER_ENI},
            }
            for n in range(shape.nodes)
        ],
        "latency": {"effects": {"actions": shape.latencies()}},
    }


def _memory_folder() -> str | None:
    """Where an fsync costs nothing: a hundred nodes have a hundred disks, not one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _progress(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


FAMILIES: Final = (Family(figures=(STORM_TIME, STORM_CALLS), measure=measure),)
