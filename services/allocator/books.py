"""Store, journal and events of one allocator, opened together: the books that leases are in."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass

from nats.aio.client import Client
from redis.asyncio import Redis

from shared.bus.events import EventLog
from shared.clock import Clock
from shared.runtime.loops import Loops
from shared.store.lease_records import RECORD_VERSION
from shared.telemetry.health import Readiness

from .adapters.journal import JetStreamJournal
from .adapters.redis_leases import RedisLeases
from .adapters.store_health import RedisHealth
from .config import AllocatorSettings
from .durability import DurabilityWatch, WriteGate
from .durable_steps import DurableSteps
from .epochs import EpochKeeper
from .recovery import RecoveryOperations
from .way_back import WayBack


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    leases: RedisLeases
    journal: JetStreamJournal
    events: EventLog
    epochs: EpochKeeper
    steps: DurableSteps
    watch: DurabilityWatch
    recovery: RecoveryOperations
    writer: str  # of the journal: a name that no other replica has

    def keep_going(self, loops: Loops, settings: AllocatorSettings) -> None:
        loops.keep("epoch", self.epochs.keep)
        loops.every("durability", self.watch.round, interval_s=settings.durability_interval_s)
        loops.every(
            "journal", self.epochs.finish_rounds, interval_s=settings.journal_interval_s
        )
        if settings.stored_format < RECORD_VERSION:
            way_back = WayBack({"store": self.leases, "journal": self.journal})
            interval_s = settings.stored_format_interval_s
            loops.every("way back", way_back.round, interval_s=interval_s)
        loops.every("folds", self.journal.fold, interval_s=settings.journal_fold_interval_s)


async def open_books(
    settings: AllocatorSettings,
    nats: Client,
    store: Redis,
    readiness: Readiness,
    clock: Clock,
    stack: AsyncExitStack,
) -> Books:
    """Raises Refused for a store that could lose what it acknowledged."""
    gate = WriteGate()
    leases = RedisLeases(store, settings.cluster, gate, stored_format=settings.stored_format)
    store_health = RedisHealth(store, is_durable=settings.durability == "disk")
    await store_health.check_settings()
    writer = uuid.uuid4().hex[:12]
    journal = JetStreamJournal(
        nats,
        settings.cluster,
        writer=writer,
        replicas=settings.journal_replicas,
        stored_format=settings.stored_format,
    )
    await journal.ensure_stream()
    stack.push_async_callback(journal.aclose)
    events = EventLog(nats, cluster=settings.cluster)
    await events.ensure_stream()
    stack.push_async_callback(events.aclose)
    epochs = EpochKeeper(
        leases,
        leases,
        journal,
        clock=clock,
        readiness=readiness,
        claim_timeout_s=settings.claim_timeout_s,
        check_store=store_health.check_settings,
    )
    steps = DurableSteps(leases, journal, events, epochs, gate)
    stack.push_async_callback(steps.drain)
    return Books(
        leases=leases,
        journal=journal,
        events=events,
        epochs=epochs,
        steps=steps,
        watch=DurabilityWatch(gate, store_health, journal, epochs),
        recovery=RecoveryOperations(leases, leases, journal, steps, epochs),
        writer=writer,
    )
