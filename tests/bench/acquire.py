"""The figures of ``lease.acquire``: how many, how it grows, and the process that does it."""

from __future__ import annotations

import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import uvloop

from tests.bench.allocators import (
    ANSWER_S,
    Load,
    World,
    connected,
    rate,
    running,
    until_served,
    world,
)
from tests.bench.echo import SUBJECT, respond
from tests.bench.figures import Family, Figure, Measured, median
from tests.bench.fill import LeaseFill
from tests.bench.processes import cpu_s, rss_mib

ROUNDS: Final = 7
ACQUIRES: Final = 2000
ECHOES: Final = 5000
RESPONDERS: Final = 2
GROWN: Final = 1_000_000
SMALL: Final = 1000
BETWEEN: Final = (10_000, 100_000)  # told in the detail

RATE = Figure(
    name="acquire_rate",
    unit="acquire/s",
    what="durable, journaled acquires of two allocators, 64 in flight, beside a nats-py echo of"
    " the same bytes by two responders in a queue group, same event loop",
    aim=0.2,
    higher_is_better=True,
)
GROWTH = Figure(
    name="acquire_growth",
    unit="ms",
    what="time per acquire (64 in flight, one allocator) with 1,000,000 leases in store and"
    " journal, over that with 1,000",
    aim=1.2,
)
ALLOCATOR_RSS = Figure(
    name="allocator_rss",
    unit="MiB",
    what="resident memory of an allocator process after the acquires",
    aim=130,
    is_ratio=False,
)


def measure() -> list[Measured]:
    return uvloop.run(_measure_rate())


async def _measure_rate() -> list[Measured]:
    ours: list[float] = []
    echoes: list[float] = []
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(world(2))
        client = await stack.enter_async_context(connected(servers.nats))
        load = Load(client, "node-1")
        await load.agent.register()

        for _ in range(RESPONDERS):
            await respond(await stack.enter_async_context(connected(servers.nats)))

        async def echo(body: bytes) -> None:
            await client.request(SUBJECT, body, timeout=ANSWER_S)

        await rate(load.bodies(ACQUIRES), load.acquire)
        used_s = dict.fromkeys(_used_s(servers), 0.0)
        for _ in range(ROUNDS):
            echoes.append(await rate([load.body()] * ECHOES, echo))
            bodies, before_s = load.bodies(ACQUIRES), _used_s(servers)
            ours.append(await rate(bodies, load.acquire))
            for part, after_s in _used_s(servers).items():
                used_s[part] += after_s - before_s[part]
        memory_mib = max(rss_mib(process.pid) for process in servers.processes)
    detail: dict[str, Any] = {
        "rounds": ROUNDS,
        "acquires": ACQUIRES,
        "in_flight": 64,
        "allocators": 2,
    }
    done = ROUNDS * ACQUIRES
    detail["echo_processes_per_s"] = round(await _echo_of_processes(load.body()))
    detail |= {"cpu_us_per_acquire": {k: round(v / done * 1e6) for k, v in used_s.items()}}
    return [
        Measured(figure=RATE, value=median(ours), baseline=median(echoes), detail=detail),
        Measured(
            figure=ALLOCATOR_RSS,
            value=memory_mib,
            baseline=None,
            detail={"acquires": ACQUIRES * (ROUNDS + 1)},
        ),
    ]


async def _echo_of_processes(body: bytes) -> float:
    """The same echo with its responders in processes of their own, as allocators are."""
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(world(0))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number in range(RESPONDERS):
            log = folder / f"echo-{number}"
            stack.enter_context(running("tests.bench.echo", log, servers.nats, servers.redis))
        client = await stack.enter_async_context(connected(servers.nats))

        async def echo(body: bytes) -> None:
            await client.request(SUBJECT, body, timeout=ANSWER_S)

        await until_served(echo, body)
        return median([await rate([body] * ECHOES, echo) for _ in range(ROUNDS)])


def _used_s(servers: World) -> dict[str, float]:
    """Processor time so far, by part: the sum is what two cores have to share."""
    return {
        "allocators": sum(cpu_s(process.pid) for process in servers.processes),
        "bus": cpu_s(servers.nats.pid),
        "store": cpu_s(servers.redis.pid),
        "load": cpu_s(os.getpid()),
    }


def measure_growth() -> list[Measured]:
    return uvloop.run(_measure_growth())


async def _measure_growth() -> list[Measured]:
    sizes = (SMALL, *BETWEEN, GROWN)
    took_ms: dict[int, list[float]] = {size: [] for size in sizes}
    async with AsyncExitStack() as stack:
        loads: dict[int, Load] = {}
        for size in sizes:
            servers = stack.enter_context(world(1))
            client = await stack.enter_async_context(connected(servers.nats))
            loads[size] = load = Load(client, "node-1")
            await load.agent.register()
            async with LeaseFill(client, servers.redis) as fill:
                await fill.put(size)
            await rate(load.bodies(ACQUIRES), load.acquire)
        for _ in range(ROUNDS):
            for size, load in loads.items():
                done = await rate(load.bodies(ACQUIRES), load.acquire)
                took_ms[size].append(1000 / done)
    return [
        Measured(
            figure=GROWTH,
            value=median(took_ms[GROWN]),
            baseline=median(took_ms[SMALL]),
            detail={
                "ms_by_leases": {
                    size: round(median(took), 3) for size, took in took_ms.items()
                },
                "rounds": ROUNDS,
                "acquires": ACQUIRES,
            },
        )
    ]


FAMILIES: Final = (
    Family(figures=(RATE, ALLOCATOR_RSS), measure=measure),
    Family(figures=(GROWTH,), measure=measure_growth),
)
