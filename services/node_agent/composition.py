"""The agent put together out of its ports: what `main` runs, and what tests run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

from shared.clock import Clock
from shared.runtime.loops import Loops
from shared.telemetry.health import Readiness

from .adopting import Adoption
from .bus import Bus, Signals
from .config import NodeAgentSettings
from .cooling import Cooling
from .domain.ports import Book, ExclusiveKernel, Kernel, PodSource
from .domain.wiring import WiringRules
from .failures import Failures
from .fixed import FixedLeases
from .heartbeat import Heartbeat
from .ledger import Ledger
from .links import NodeLinks
from .mending import Mending
from .orders import Orders
from .outbox import Outbox
from .registration import Registration, Self
from .repair import Repairer
from .service import NodeAgent
from .unlinking import Unlinker


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything outside: each a port."""

    bus: Bus
    book: Book
    kernel: Kernel
    unlinking_kernel: Kernel  # a second conversation, used from a thread of its own
    exclusive_kernel: ExclusiveKernel
    pods: PodSource
    clock: Clock
    rng: random.Random
    readiness: Readiness


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One node's agent, not yet running."""

    service: NodeAgent
    orders: Orders
    mending: Mending
    ledger: Ledger
    links: NodeLinks
    repairer: Repairer
    adoption: Adoption
    registration: Registration
    fixed: FixedLeases
    outbox: Outbox
    heartbeat: Heartbeat
    unlinker: Unlinker
    cooling: Cooling
    signals: Signals
    clock: Clock

    def start(self, loops: Loops, settings: NodeAgentSettings) -> None:
        """Kernel = book first; then everything that goes on by itself."""
        self.adoption.adopt()
        self.repairer.start()
        self.fixed.resume()
        loops.keep("links", self.links.watch)
        loops.keep("unlink", self.unlinker.run)
        loops.keep("register", self.registration.run)
        loops.every(
            "outbox",
            self.outbox.deliver,
            interval_s=settings.report_interval_s,
            wake=self.signals.outbox,
        )
        loops.every(
            "want",
            self.heartbeat.beat,
            interval_s=settings.want_interval_s,
            wake=self.signals.want,
        )

        async def greet() -> None:
            while True:
                await self.registration.changed.wait(settings.want_interval_s)
                self.signals.tell()

        loops.every("rest", self.cooling.look, interval_s=settings.rest_interval_s)
        loops.keep("greet", greet)


def compose(world: World, settings: NodeAgentSettings, me: Self) -> Agent:
    """Build the parts. Reads the book; touches neither kernel nor bus."""
    signals = Signals()
    clock, rng = world.clock, world.rng
    ledger = Ledger(world.book, clock.now())
    failures = Failures(clock)
    unlinker = Unlinker(world.unlinking_kernel.remove_links)
    rules = WiringRules(
        table_base=settings.table_base,
        non_masquerade_cidrs=settings.non_masquerade_cidrs if settings.masquerade else None,
        service_cidrs=settings.service_cidrs,
    )
    links = NodeLinks(
        kernel=world.kernel,
        exclusive_kernel=world.exclusive_kernel,
        ledger=ledger,
        clock=clock,
        rules=rules,
        stock_changed=signals.stock_changed,
    )
    registration = Registration(bus=world.bus, ledger=ledger, clock=clock, me=me, rng=rng)
    orders = Orders(
        ledger=ledger,
        links=links,
        kernel=world.kernel,
        failures=failures,
        clock=clock,
        me=me,
        signals=signals,
    )
    fixed = FixedLeases(
        bus=world.bus,
        ledger=ledger,
        registration=registration,
        clock=clock,
        rng=rng,
        node=me.node,
        links=links,
        failures=failures,
        learn_eni=orders.learn_eni,
        signals=signals,
    )
    service = NodeAgent(
        ledger=ledger,
        kernel=world.kernel,
        links=links,
        pods=world.pods,
        fixed=fixed,
        failures=failures,
        unlinker=unlinker,
        clock=clock,
        rng=rng,
        signals=signals,
        tells_exhausted=settings.status_tells_exhausted,
    )
    outbox, heartbeat = _telling(
        world,
        settings,
        me,
        ledger=ledger,
        links=links,
        failures=failures,
        registration=registration,
        fixed=fixed,
    )
    repairer = Repairer(kernel=world.kernel, ledger=ledger, links=links, clock=clock)
    return Agent(
        service=service,
        orders=orders,
        mending=Mending(
            node=me.node,
            repairer=repairer,
            outbox=outbox,
            ledger=ledger,
            clock=clock,
            signals=signals,
        ),
        ledger=ledger,
        links=links,
        repairer=repairer,
        adoption=Adoption(kernel=world.kernel, ledger=ledger, clock=clock),
        registration=registration,
        fixed=fixed,
        outbox=outbox,
        heartbeat=heartbeat,
        unlinker=unlinker,
        cooling=_cooling(world, settings, ledger, failures, links, signals),
        signals=signals,
        clock=clock,
    )


def _cooling(
    world: World,
    settings: NodeAgentSettings,
    ledger: Ledger,
    failures: Failures,
    links: NodeLinks,
    signals: Signals,
) -> Cooling:
    return Cooling(
        ledger=ledger,
        kernel=world.kernel,
        failures=failures,
        usable=links,
        clock=world.clock,
        signals=signals,
        span=timedelta(seconds=settings.cooling_s),
        least=timedelta(seconds=settings.cooling_least_s),
    )


def _telling(
    world: World,
    settings: NodeAgentSettings,
    me: Self,
    *,
    ledger: Ledger,
    links: NodeLinks,
    failures: Failures,
    registration: Registration,
    fixed: FixedLeases,
) -> tuple[Outbox, Heartbeat]:
    """The parts that tell others of this node."""
    outbox = Outbox(
        bus=world.bus,
        ledger=ledger,
        registration=registration,
        fixed=fixed,
        clock=world.clock,
        node=me.node,
        in_flight_max=settings.releases_in_flight_max,
    )
    heartbeat = Heartbeat(
        bus=world.bus,
        ledger=ledger,
        links=links,
        failures=failures,
        fixed=fixed,
        registration=registration,
        readiness=world.readiness,
        clock=world.clock,
        me=me,
    )
    return outbox, heartbeat
