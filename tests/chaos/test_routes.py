"""A server of the bus that is cut off from the others, one way or both, until it is healed."""

from __future__ import annotations

import asyncio

import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from services.vpc_simulator.relay import Way
from tests.chaos.nemeses.clusters import set_apart
from tests.chaos.parts import relayed
from tests.support.bus_clusters import bus_cluster, direct_routes

pytestmark = pytest.mark.long

_SILENT_S = 1.0  # far longer than any way through an open relay


@pytest.mark.parametrize(
    ("ways", "hears", "is_heard"),
    [((Way.IN,), True, False), ((Way.OUT,), False, True), (tuple(Way), False, False)],
    ids=["is_not_heard", "does_not_hear", "neither"],
)
async def test_a_server_that_is_cut_off_hears_and_is_heard_no_more(
    ways: tuple[Way, ...], hears: bool, is_heard: bool
) -> None:
    async with asyncio.timeout(120), relayed(direct_routes()) as (routes, links):
        with bus_cluster(routes) as bus:
            await bus.ready()
            alone, one, other = [await nats.connect(each.url) for each in bus.servers.values()]
            try:
                calls = [await each.subscribe("calls.>") for each in (alone, one, other)]
                await asyncio.gather(*(each.flush() for each in (alone, one, other)))
                while await _heard(calls, one, "before") != [True, True, True]:
                    continue  # routes are still being made

                set_apart(links, next(iter(bus.servers)), ways)

                assert await _heard(calls, one, "apart") == [hears, True, True]
                assert await _heard(calls, alone, "alone") == [True, is_heard, is_heard]
                for link in links.values():
                    link.heal()
                assert await _heard(calls, one, "after") == [True, True, True]
            finally:
                for client in (alone, one, other):
                    await client.close()


async def _heard(calls: list[Subscription], client: Client, word: str) -> list[bool]:
    """Who of them hears the word from this client."""
    await client.publish(f"calls.{word}")
    await client.flush()
    return await asyncio.gather(*(_hears(each, f"calls.{word}") for each in calls))


async def _hears(calls: Subscription, subject: str) -> bool:
    try:
        while (await calls.next_msg(timeout=_SILENT_S)).subject != subject:
            continue
    except nats.errors.TimeoutError:
        return False
    return True
