"""What one answer of the scheduler extender takes in a large cluster, beside an empty handler.

A real allocator process with real bus and store; the nodes are told by a stand-in for the
eni_manager, as many pages as it takes. One question at a time, as kube-scheduler asks.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

import aiohttp
import uvloop

from services.allocator.kubernetes.extender import FILTER_PATH, PRIORITIZE_PATH
from services.allocator.kubernetes.trust import SECRET
from shared.annotations import DELETE_POLICY, NETWORKS
from shared.bus.server import RequestServer
from shared.clock import SystemClock
from shared.messages.base import BATCH_MAX, ServiceName
from shared.messages.vacancies import (
    VACANCIES,
    EnisInSubnet,
    NodeVacancy,
    SubnetVacancy,
    VacanciesRequest,
    VacanciesTold,
)
from tests.bench import empty_handler
from tests.bench.allocators import connected, on_servers, program, world
from tests.bench.figures import Family, Figure, Measured, median, quantile
from tests.bench.fill import LeaseFill, lease
from tests.bench.processes import rss_mib
from tests.support.allocators import CLUSTER, Agent, bus_client, registered
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.kinds import SECRETS
from tests.support.kubernetes.server import ApiServer, api_server
from tests.support.servers import NatsServer, free_port

NODES: Final = 5_000
LEASES: Final = 100_000
ZONES: Final = 3
ROUNDS: Final = 5
QUESTIONS: Final = 120  # of each kind in a round
_WAIT_S: Final = 120.0

P99 = Figure(
    name="extender_p99",
    unit="ms",
    what="one filter of 5,000 nodes by the scheduler extender at 100,000 leases, over TLS, 99th"
    " percentile of pods with a fixed address, new ones, and ones that no node can serve;"
    " beside an empty aiohttp handler that is sent the same bytes",
    aim=None,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    path: str
    bodies: list[bytes]


class Nodes:
    """Tells of the cluster's nodes: a third in each zone, every third without any room."""

    def __init__(self) -> None:
        self.all = [_node(number) for number in range(NODES)]

    async def tell(self, request: VacanciesRequest) -> VacanciesTold:
        page = self.all[request.after : request.after + BATCH_MAX]
        return VacanciesTold(
            revision=request.after + len(page),
            newest=NODES,
            is_last=request.after + len(page) == NODES,
            is_anew=not request.after,
            nodes=tuple(page),
            subnets=tuple(_subnet(zone) for zone in range(ZONES)),
        )


def _name(number: int) -> str:
    return f"10.250.{number >> 8}.{number & 255}"


def _subnet_name(zone: int) -> str:
    return lease(0).subnet if zone == 0 else f"subnet-zone{zone}"


def _node(number: int) -> NodeVacancy:
    is_full = number // ZONES % ZONES == 0
    addresses = 120 if is_full else 20 + number % 90
    within = EnisInSubnet(
        subnet=_subnet_name(number % ZONES), enis=4, addresses=addresses, addresses_max=120
    )
    return NodeVacancy(
        node=_name(number),
        zone=f"zone-{number % ZONES}",
        enis=4,
        enis_max=4,
        addresses=addresses,
        addresses_max=120,
        idle=0 if is_full else number % 4,
        within=(within,),
    )


def _subnet(zone: int) -> SubnetVacancy:
    return SubnetVacancy(
        subnet=_subnet_name(zone),
        zone=f"zone-{zone}",
        cidr=IPv4Network(f"10.{zone}.0.0/16"),
        free=20_000,
        total=65_000,
    )


def _body(name: str, **annotations: str) -> bytes:
    pod: dict[str, Any] = {
        "metadata": {
            "name": name,
            "namespace": "production",
            "annotations": {NETWORKS: "tke-route-eni", **annotations},
        },
        "spec": {
            "containers": [{"name": "main", "image": "orders", "env": [{"name": "A"}] * 20}]
        },
    }
    names = [_name(number) for number in range(NODES)]
    return json.dumps({"Pod": pod, "Nodes": None, "NodeNames": names}).encode()


def _questions() -> dict[str, Question]:
    rng = random.Random(5)
    numbers = rng.sample(range(LEASES), QUESTIONS)
    fixed = [
        _body(lease(number).identity.name, **{DELETE_POLICY: "Never"}) for number in numbers
    ]
    new = [_body(f"new-{number}") for number in range(QUESTIONS)]
    nowhere = [
        _body(f"new-{number}", **{NETWORKS: "tke-direct-eni"}) for number in range(QUESTIONS)
    ]
    return {
        "fixed": Question(path=FILTER_PATH, bodies=fixed),
        "new": Question(path=FILTER_PATH, bodies=new),
        "no_node_suits": Question(path=FILTER_PATH, bodies=nowhere),
        "prioritize": Question(path=PRIORITIZE_PATH, bodies=fixed),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Both servers, ready to be asked."""

    http: aiohttp.ClientSession
    ours: str
    empty: str
    allocator_pid: int

    async def took_s(self, url: str, bodies: list[bytes]) -> list[float]:
        took = []
        for body in bodies:
            began_s = time.perf_counter()
            async with self.http.post(url, data=body) as answer:
                await answer.read()
                assert answer.status == 200, answer.status
            took.append(time.perf_counter() - began_s)
        return took


@asynccontextmanager
async def _asked() -> AsyncIterator[Asked]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = stack.enter_context(world(0))
        api = await stack.enter_async_context(api_server())
        client = await stack.enter_async_context(connected(servers.nats))
        bus = RequestServer(client, cluster=CLUSTER, clock=SystemClock(), in_flight_max=64)
        stack.push_async_callback(bus.drain, grace_s=1.0)
        await bus.serve_all(ServiceName.ENI_MANAGER, "nodes", {VACANCIES: Nodes().tell})
        ours, empty = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        allocator = stack.enter_context(
            program(
                "services.allocator.main",
                (),
                on_servers(servers.nats, servers.redis)
                | {
                    "BERTH_ALLOCATOR_POD_SOURCE": "kubernetes",
                    "BERTH_ALLOCATOR_KUBERNETES_CONFIG": str(kubeconfig(api, folder)),
                    "BERTH_ALLOCATOR_WEBHOOK_LISTEN": ours,
                    "BERTH_ALLOCATOR_WEBHOOK_CONFIGURATIONS": "[]",
                    "BERTH_ALLOCATOR_WEBHOOK_RENEW_INTERVAL_S": "1",
                },
                folder / "allocator.log",
            )
        )
        await _fill(servers.nats, LeaseFill(client, servers.redis))
        certificate = folder / "certificate"
        certificate.write_bytes(await _certificate(api))
        settings = {empty_handler.LISTEN: empty, empty_handler.CERTIFICATE: str(certificate)}
        stack.enter_context(
            program("tests.bench.empty_handler", (), settings, folder / "empty.log")
        )
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # of a machine-local bench: not checked
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls))
        stack.push_async_callback(http.close)
        found = Asked(
            http=http,
            ours=f"https://{ours}",
            empty=f"https://{empty}{empty_handler.PATH}",
            allocator_pid=allocator.pid,
        )
        await _until_judged(found)
        yield found


async def _fill(nats: NatsServer, fill: LeaseFill) -> None:
    async with bus_client(nats) as (bus, _), fill:
        await registered(Agent(bus, _name(0)))
        await fill.put(LEASES)


async def _certificate(api: ApiServer) -> bytes:
    async with asyncio.timeout(_WAIT_S):
        while True:
            changed = api.store.changed
            for each in api.store.list(SECRETS, "", lambda _: True):
                if each["metadata"]["name"] == SECRET:
                    parts = (each["data"][name] for name in ("tls.crt", "tls.key"))
                    return b"".join(base64.b64decode(part) for part in parts)
            await changed.wait()


async def _until_judged(asked: Asked) -> None:
    """Servers that start tell of nothing by themselves."""
    async with asyncio.timeout(_WAIT_S):
        while True:
            try:
                await asked.took_s(asked.empty, [b"{}"])
                url = f"{asked.ours}{FILTER_PATH}"
                async with asked.http.post(url, data=_body("a-pod")) as answer:
                    if len((await answer.json())["NodeNames"]) < NODES:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


def measure() -> list[Measured]:
    return uvloop.run(_measure())


async def _measure() -> list[Measured]:
    questions = _questions()
    ours: dict[str, list[list[float]]] = {kind: [] for kind in questions}
    empty: list[list[float]] = []
    async with _asked() as asked:
        for number in range(ROUNDS + 1):
            taken = {
                kind: await asked.took_s(f"{asked.ours}{it.path}", it.bodies)
                for kind, it in questions.items()
            }
            nothing = [
                took
                for it in questions.values()
                if it.path == FILTER_PATH
                for took in await asked.took_s(asked.empty, it.bodies)
            ]
            if number:  # the first one warms up
                empty.append(nothing)
                for kind, took in taken.items():
                    ours[kind].append(took)
        memory_mib = rss_mib(asked.allocator_pid)
    filters = [kind for kind, it in questions.items() if it.path == FILTER_PATH]
    mixed = [[each for kind in filters for each in ours[kind][at]] for at in range(ROUNDS)]
    detail = {
        "nodes": NODES,
        "leases": LEASES,
        "rounds": ROUNDS,
        "questions": QUESTIONS * len(filters),
        "p50_and_p99_ms": {kind: _told(rounds) for kind, rounds in ours.items()},
        "empty_p50_and_p99_ms": _told(empty),
        "allocator_rss_mib": round(memory_mib),
    }
    return [
        Measured(
            figure=P99, value=_p_ms(mixed, 0.99), baseline=_p_ms(empty, 0.99), detail=detail
        )
    ]


def _told(rounds: list[list[float]]) -> list[float]:
    return [round(_p_ms(rounds, q), 2) for q in (0.5, 0.99)]


def _p_ms(rounds: list[list[float]], q: float) -> float:
    """The median of the rounds' quantiles."""
    return 1000 * median([quantile(each, q) for each in rounds])


FAMILIES: Final = (Family(figures=(P99,), measure=measure),)
