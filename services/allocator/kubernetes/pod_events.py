"""Tells Kubernetes what became of a pod's address: an event on the pod, or on its claim.

A durable consumer of the bus' own events, shared by the replicas. An event has a name of its
own, made from what it tells, so telling it twice is one event.
"""

from __future__ import annotations

import logging
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError
from pydantic import ValidationError

from shared.errors import BerthError, InvalidInput, NotFound, Unavailable
from shared.ids import ClusterName, PodName, encode_token
from shared.kubernetes.answers import ObjectConflict
from shared.kubernetes.client import KubernetesClient
from shared.kubernetes.definitions import CLAIM
from shared.kubernetes.events import Told, event_object, events_path, reference
from shared.kubernetes.paths import pod_path
from shared.kubernetes.watching import Object
from shared.messages.base import subject_root
from shared.messages.events import EVENT_STREAM, LeaseEvent
from shared.telemetry.metrics import POD_EVENTS_TOTAL

from .mirrored import claim_name

log = logging.getLogger(__name__)

_COMPONENT: Final = "berth-allocator"
_BATCH: Final = 32
_FETCH_S: Final = 5.0
_ACK_S: Final = 60.0  # one that was not told by then is told by another replica
_TRIES_MAX: Final = 10
_TELLS: Final = {
    "bound": ("AddressBound", "Normal", "{address} is bound to this pod on node {node}, {eni}"),
    "moving": ("AddressMoving", "Normal", "{address} is on its way from node {node}"),
    "moved": ("AddressMoved", "Normal", "{address} has arrived on node {node}, {eni}"),
    "retained": ("AddressRetained", "Normal", "{address} waits for the pod's return on {node}"),
    "parked": ("AddressParked", "Normal", "{address} is held where no node uses it"),
    "expired": ("AddressReclaimed", "Warning", "{address} is given back: {reason}"),
}


class PodEvents:
    """One round takes what has come and tells it."""

    def __init__(
        self, nats: Client, cluster: ClusterName, kubernetes: KubernetesClient
    ) -> None:
        self._js = nats.jetstream(timeout=_FETCH_S)
        self._cluster = cluster
        self._kubernetes = kubernetes
        self._subscription: JetStreamContext.PullSubscription | None = None

    async def round(self) -> None:
        """Waits for events up to a few seconds. Raises Unavailable."""
        try:
            if self._subscription is None:
                self._subscription = await self._subscribe()
            messages = await self._subscription.fetch(_BATCH, timeout=_FETCH_S)
        except TimeoutError:
            return
        except (nats.errors.Error, APIError, OSError) as error:
            self._subscription = None
            raise Unavailable(f"the event stream: {error}") from error
        for message in messages:
            await self._tell(message)

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        token = encode_token(self._cluster).replace("%", "_")
        return await self._js.pull_subscribe(
            f"{subject_root(self._cluster)}.event.lease.*",
            durable=f"kubernetes-{token}",
            stream=EVENT_STREAM,
            config=ConsumerConfig(
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=_ACK_S,
                deliver_policy=DeliverPolicy.NEW,  # what was before is no news
                max_deliver=_TRIES_MAX,
            ),
        )

    async def _tell(self, message: Msg) -> None:
        try:
            event = LeaseEvent.model_validate_json(message.data)
        except ValidationError as error:
            log.warning("an event cannot be read", extra={"error": str(error)})
            await message.term()
            return
        outcome = "ok"
        try:
            await self._tell_lease(event)
        except ObjectConflict:
            outcome = "told_before"
        except (NotFound, InvalidInput) as error:
            outcome = error.code.value  # nothing is there to tell it of
        except BerthError as error:
            POD_EVENTS_TOTAL.labels(event.verb, error.code.value).inc()
            log.warning("an event was not told", extra={"error": str(error)})
            await message.nak(delay=_FETCH_S)
            return
        POD_EVENTS_TOTAL.labels(event.verb, outcome).inc()
        await message.ack()

    async def _tell_lease(self, event: LeaseEvent) -> None:
        tells, pod = _TELLS.get(event.verb), event.identity.to_identity().pod
        if tells is None:
            return
        about = None if pod is None else await self._pod(pod)
        about = about or await self._claim(event)
        body = event_object(_told(event, *tells), about)
        await self._kubernetes.create(events_path(about), body)

    async def _pod(self, pod: PodName) -> Object | None:
        try:
            found = await self._kubernetes.get(pod_path(pod))
        except NotFound:
            return None
        return reference("v1", "Pod", found)

    async def _claim(self, event: LeaseEvent) -> Object:
        """The pod has gone, or has a random name: who looks for the address finds its claim."""
        identity = event.identity.to_identity()
        path = CLAIM.path(identity.namespace, claim_name(identity))
        found = await self._kubernetes.get(path)
        return reference(found["apiVersion"], found["kind"], found)


def _told(event: LeaseEvent, reason: str, kind: str, text: str) -> Told:
    message = text.format(
        address=event.address,
        node=event.node or "no node",
        eni=event.eni or "an ENI",
        reason=event.reason or "it was kept for as long as it is kept",
    )
    if event.verb == "bound" and event.reason is not None:
        message += f": {event.reason}"
    return Told(
        reason=reason,
        message=message,
        is_warning=kind == "Warning",
        at=event.at,
        by=_COMPONENT,
        key=f"{event.identity.to_identity().token}/{event.generation}/{event.verb}",
    )
