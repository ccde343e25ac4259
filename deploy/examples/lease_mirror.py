"""Keep a copy of a Berth cluster's fixed leases in SQLite: nothing but nats-py is needed.

    python lease_mirror.py NATS_URL CLUSTER KEY_FILE DATABASE [--relist SECONDS]

KEY_FILE holds the nkey seed of an observer. Events make the copy prompt, lists make it whole: an
event may be lost with the allocator that was to tell it, a lease never is. A lease's generation
only rises, so what comes late, twice or out of order is left out; and an event is acknowledged
only once the database has it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError

NAME = (
    "observer"  # of the durable consumer, and in the inbox: an observer's key allows no other
)
TABLE = """CREATE TABLE IF NOT EXISTS leases (
    namespace TEXT, name TEXT, network TEXT, family TEXT,
    address TEXT, state TEXT, node TEXT, eni TEXT, generation INTEGER,
    PRIMARY KEY (namespace, name, network, family))"""
KEEP = """INSERT INTO leases VALUES
    (:namespace, :name, :network, :family, :address, :state, :node, :eni, :generation)
    ON CONFLICT DO UPDATE SET address = excluded.address, state = excluded.state,
    node = excluded.node, eni = excluded.eni, generation = excluded.generation
    WHERE excluded.generation >= leases.generation"""


class Mirror:
    """The copy: one row for each lease; one that ended stays, as `released`, until a list."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        self._database.execute(TABLE)

    def keep(self, leases: list[dict[str, Any]]) -> None:
        with self._database:
            self._database.executemany(KEEP, [each["identity"] | each for each in leases])

    def newest(self) -> int:
        [[newest]] = self._database.execute("SELECT coalesce(max(generation), 0) FROM leases")
        return int(newest)

    def drop_older(self, generation: int, listed: list[dict[str, Any]]) -> None:
        """Forget what a whole list does not hold, unless it has come since the list began."""
        with self._database:
            self._database.execute("CREATE TEMP TABLE listed (generation INTEGER)")
            rows = [(each["generation"],) for each in listed]
            self._database.executemany("INSERT INTO listed VALUES (?)", rows)
            self._database.execute(
                "DELETE FROM leases WHERE generation <= ?"
                " AND generation NOT IN (SELECT generation FROM listed)",
                (generation,),
            )
            self._database.execute("DROP TABLE listed")


def state_after(event: dict[str, Any]) -> dict[str, Any]:
    """The lease as the event leaves it: `released` is the last that is told of one."""
    return event | {"state": "released" if event["verb"] == "released" else event["state"]}


async def list_all(bus: Client, root: str) -> list[dict[str, Any]]:
    """Every fixed lease. Raises RuntimeError with the reason when a page is refused."""
    leases: list[dict[str, Any]] = []
    cursor = "0"
    while True:
        deadline = datetime.now(UTC) + timedelta(seconds=5)
        words = {
            "type": "berth.v1.lease_list_request",
            "deadline": deadline.isoformat(),
            "cursor": cursor,
        }
        answer = await bus.request(f"{root}.lease.list", json.dumps(words).encode(), timeout=5)
        outcome = json.loads(answer.data)["outcome"]
        if outcome["type"] == "berth.v1.rejected":
            raise RuntimeError(f"lease.list: {outcome['code']}: {outcome['detail']}")
        # Addresses of `Immediate` pods are listed too: they have no generation.
        leases += [each for each in outcome["leases"] if each["generation"] is not None]
        cursor = outcome["next_cursor"]
        if cursor == "0":
            return leases


async def relist(bus: Client, root: str, mirror: Mirror, every_s: float) -> None:
    while True:
        newest = mirror.newest()
        try:
            listed = await list_all(bus, root)
        except (nats.errors.Error, RuntimeError) as error:
            print(f"listed later: {error or type(error).__name__}", flush=True)
            await asyncio.sleep(1)
            continue
        mirror.keep(listed)
        mirror.drop_older(newest, listed)
        print(f"listed {len(listed)}", flush=True)
        await asyncio.sleep(every_s)


async def follow(bus: Client, root: str, mirror: Mirror) -> None:
    config = ConsumerConfig(
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=DeliverPolicy.ALL,
        filter_subject=f"{root}.event.lease.>",
        max_ack_pending=1024,
    )
    events = await bus.jetstream().pull_subscribe(
        config.filter_subject or "", durable=NAME, stream="BERTH_EVENTS", config=config
    )
    while True:
        try:
            batch = await events.fetch(256, timeout=5)
        except (nats.errors.Error, APIError):
            continue  # nothing has happened, or the bus is away: the client comes back
        mirror.keep([state_after(json.loads(message.data)) for message in batch])
        for message in batch:
            await message.ack()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("nats_url", "cluster", "key_file", "database"):
        parser.add_argument(name)
    parser.add_argument("--relist", type=float, default=300.0, metavar="SECONDS")
    words = parser.parse_args()
    root = f"berth.v1.{words.cluster}"
    seed = Path(words.key_file).read_text(encoding="ascii").strip()
    bus = await nats.connect(
        words.nats_url,
        nkeys_seed_str=seed,
        inbox_prefix=f"_INBOX_{NAME}",
        max_reconnect_attempts=-1,
    )
    mirror = Mirror(Path(words.database))
    async with asyncio.TaskGroup() as work:
        tasks = [
            work.create_task(relist(bus, root, mirror, words.relist)),
            work.create_task(follow(bus, root, mirror)),
        ]
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(
                number, lambda: [task.cancel() for task in tasks]
            )
    await bus.close()


if __name__ == "__main__":
    asyncio.run(main())
