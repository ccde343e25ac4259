"""Builds the allocator's Kubernetes side, and starts what of it goes on by itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from nats.aio.client import Client

from services.allocator.domain.ports import LeaseStore
from services.allocator.operations import LeaseOperations
from shared.bus.client import BusClient
from shared.bus.tokens import Signer
from shared.clock import Clock
from shared.errors import InvalidInput, Refused
from shared.kubernetes.client import KubernetesClient
from shared.kubernetes.definitions import ADDRESS, CLAIM
from shared.kubernetes.leadership import Leadership
from shared.kubernetes.watching import ObjectWatch
from shared.runtime.loops import Loops

from .extender import Extender
from .facts import StoredFacts
from .mirror import Mirror, MirrorLimits
from .node_callout import NodeCallout
from .node_tokens import NodeTokens
from .pod_events import PodEvents
from .settings import KubernetesSettings
from .trust import TrustKeeper
from .vacancies import FollowedVacancies
from .webhook import Webhook

LEADER: Final = "berth-allocator-mirror"
_EVENTS_PAUSE_S: Final = 0.05  # a round itself waits for events


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the allocator hands over."""

    leases: LeaseStore
    operations: LeaseOperations
    bus: BusClient
    has_fixed_ips: Callable[[], bool | None]  # None: not known
    clock: Clock
    rng: random.Random
    nats: Client
    replica: str  # a name that no other replica has


async def start(
    kubernetes: KubernetesClient,
    settings: KubernetesSettings,
    around: Surroundings,
    loops: Loops,
    stack: AsyncExitStack,
) -> None:
    """Raises Refused when the webhooks cannot listen, or the callout's key cannot be used."""
    _start_mirror(kubernetes, settings, around, loops)
    if settings.webhook_listen is not None:
        await _start_webhook(
            kubernetes, settings, settings.webhook_listen, around, loops, stack
        )
    if settings.callout_key_file is not None:
        await _start_callout(kubernetes, settings, settings.callout_key_file, around, stack)


def _start_mirror(
    kubernetes: KubernetesClient,
    settings: KubernetesSettings,
    around: Surroundings,
    loops: Loops,
) -> None:
    claims = ObjectWatch(kubernetes, CLAIM.path(), {}, around.rng)
    addresses = ObjectWatch(kubernetes, ADDRESS.path(), {}, around.rng)
    mirror = Mirror(
        kubernetes,
        around.leases,
        around.operations,
        around.clock,
        claims=claims,
        addresses=addresses,
        limits=MirrorLimits(
            writes_per_s=settings.mirror_writes_per_s,
            round_interval_s=settings.mirror_interval_s,
        ),
    )
    leadership = Leadership(
        kubernetes,
        around.clock,
        namespace=settings.kubernetes_namespace,
        name=LEADER,
        holder=around.replica,
        term=timedelta(seconds=settings.leader_term_s),
        lead=mirror.lead,
    )
    loops.keep("claims", claims.run)
    loops.keep("addresses", addresses.run)
    loops.keep("mirror", leadership.run)
    events = PodEvents(around.nats, settings.cluster, kubernetes)
    loops.every("pod-events", events.round, interval_s=_EVENTS_PAUSE_S)


async def _start_webhook(
    kubernetes: KubernetesClient,
    settings: KubernetesSettings,
    listen: str,
    around: Surroundings,
    loops: Loops,
    stack: AsyncExitStack,
) -> None:
    facts = StoredFacts(
        around.leases,
        around.bus,
        around.clock,
        has_fixed_ips=around.has_fixed_ips,
        default_mode=settings.default_network,
        zone_label=settings.zone_label,
    )
    vacancies = FollowedVacancies(around.bus, around.clock)
    extender = Extender(facts, vacancies, fresh_s=settings.extender_fresh_s)
    loops.every("vacancies", vacancies.refresh, interval_s=settings.extender_interval_s)
    webhook = Webhook(facts, listen=listen, beside=extender.routes())
    stack.push_async_callback(webhook.aclose)
    await webhook.start()
    trust = TrustKeeper(
        kubernetes,
        around.clock,
        namespace=settings.kubernetes_namespace,
        service=settings.webhook_service,
        configurations=settings.webhook_configurations,
        serve=webhook.use,
    )
    loops.every("trust", trust.round, interval_s=settings.webhook_renew_interval_s)


async def _start_callout(
    kubernetes: KubernetesClient,
    settings: KubernetesSettings,
    key_file: Path,
    around: Surroundings,
    stack: AsyncExitStack,
) -> None:
    try:
        signer = Signer(key_file.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError, InvalidInput) as error:
        raise Refused(f"callout_key_file {key_file}: cannot be used: {error}") from error
    tokens = NodeTokens(
        kubernetes,
        around.clock,
        namespace=settings.kubernetes_namespace,
        service_account=settings.agent_service_account,
        audience=settings.agent_token_audience,
        in_flight_max=settings.kubernetes_in_flight_max,
    )
    callout = NodeCallout(around.nats, settings.cluster, signer, tokens, around.clock)
    stack.push_async_callback(callout.aclose)
    await callout.start()
