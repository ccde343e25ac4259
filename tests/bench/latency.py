"""How long one acquire takes, by allocators and requests in flight, beside the echo."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

import uvloop

from tests.bench.allocators import ANSWER_S, Load, Send, connected, rate, timed, world
from tests.bench.echo import SUBJECT, respond
from tests.bench.figures import Family, Figure, Measured, quantile

ALLOCATORS: Final = (1, 2, 4)
REQUESTS: Final = {1: 200, 16: 1500, 64: 2000, 256: 3000}  # how many, by those in flight
RESPONDERS: Final = 2
_OF_FIGURE: Final = (2, 1)  # two allocators, one request in flight

P50 = Figure(
    name="acquire_p50",
    unit="ms",
    what="one durable, journaled acquire at a time of two allocators, median, beside the echo;"
    " its rows are the table below",
    aim=None,
)


def measure() -> list[Measured]:
    return uvloop.run(_measure())


async def _measure() -> list[Measured]:
    rows = [row for allocators in ALLOCATORS for row in await _rows(allocators)]
    row = next(row for row in rows if (row["allocators"], row["in_flight"]) == _OF_FIGURE)
    return [
        Measured(
            figure=P50, value=row["p50_ms"], baseline=row["echo_p50_ms"], detail={"rows": rows}
        )
    ]


async def _rows(allocators: int) -> list[dict[str, float]]:
    rows = []
    async with AsyncExitStack() as stack:
        servers = stack.enter_context(world(allocators))
        client = await stack.enter_async_context(connected(servers.nats))
        load = Load(client, "node-1")
        await load.agent.register()
        for _ in range(RESPONDERS):
            await respond(await stack.enter_async_context(connected(servers.nats)))

        async def echo(body: bytes) -> None:
            await client.request(SUBJECT, body, timeout=ANSWER_S)

        await rate(load.bodies(1000), load.acquire)
        for in_flight, many in REQUESTS.items():
            ours = await _told("", load.bodies(many), load.acquire, in_flight)
            echoes = await _told("echo_", [load.body()] * many, echo, in_flight)
            rows.append({"allocators": allocators, "in_flight": in_flight} | ours | echoes)
    return rows


async def _told(
    prefix: str, bodies: list[bytes], send: Send, in_flight: int
) -> dict[str, float]:
    per_s, took_s = await timed(bodies, send, in_flight=in_flight)
    return {
        f"{prefix}per_s": round(per_s),
        f"{prefix}p50_ms": round(1000 * quantile(took_s, 0.5), 2),
        f"{prefix}p99_ms": round(1000 * quantile(took_s, 0.99), 2),
    }


FAMILIES: Final = (Family(figures=(P50,), measure=measure),)
