"""Admits node agents to the bus: each for the subjects of the node that its token proves.

The bus asks any one of the replicas (auth callout). Whoever has no token of an agent's service
account is refused; so is everybody while the API server cannot be asked, and tries again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus.permissions import CALLOUT_SUBJECT, bus_permissions
from shared.bus.roles import Role, client_name
from shared.bus.tokens import CalloutRequest, Signer, parse_request
from shared.clock import Clock
from shared.errors import BerthError, InvalidInput, NotAuthorised
from shared.ids import ClusterName, NodeName
from shared.kubernetes.answers import ObjectConflict
from shared.runtime.loops import cancel, spawn
from shared.telemetry.metrics import CALLOUTS_TOTAL

log = logging.getLogger(__name__)

# Above this a question is left unanswered: the server refuses, and the client comes again.
_RUNNING_MAX: Final = 1024


class KnowsNodes(Protocol):
    async def node_of(self, token: str) -> NodeName: ...


class NodeCallout:
    def __init__(
        self,
        client: Client,
        cluster: ClusterName,
        signer: Signer,
        nodes: KnowsNodes,
        clock: Clock,
    ) -> None:
        self._client = client
        self._cluster = cluster
        self._signer = signer
        self._nodes = nodes
        self._clock = clock
        self._running: set[asyncio.Task[object]] = set()

    async def start(self) -> None:
        await self._client.subscribe(CALLOUT_SUBJECT, queue=Role.ALLOCATOR, cb=self._take)

    async def aclose(self) -> None:
        await cancel(self._running)

    async def _take(self, message: Msg) -> None:
        # Callbacks of one subscription run one after another: they only hand over.
        if len(self._running) < _RUNNING_MAX:
            spawn(self._running, self._answer(message), name="callout")
        else:
            CALLOUTS_TOTAL.labels("busy").inc()

    async def _answer(self, message: Msg) -> None:
        try:
            request = parse_request(message.data)
        except InvalidInput as error:
            CALLOUTS_TOTAL.labels("malformed").inc()
            log.warning("not a question of a bus server", extra={"error": str(error)})
            return
        answer = await self._decide(request)
        try:
            await message.respond(answer)
        except nats.errors.Error as error:  # the bus went away: its client comes again
            log.info("question not answered", extra={"error": str(error)})

    async def _decide(self, request: CalloutRequest) -> bytes:
        now_s = int(self._clock.now().timestamp())
        try:
            if not request.token:
                raise NotAuthorised("neither a known key nor a token")
            node = await self._nodes.node_of(request.token)
        except (BerthError, ObjectConflict) as error:
            CALLOUTS_TOTAL.labels("refused").inc()
            log.info("client refused", extra={"client": request.client, "error": str(error)})
            return self._signer.refuse(request, str(error), now_s)
        CALLOUTS_TOTAL.labels("admitted").inc()
        may = bus_permissions(Role.NODE_AGENT, self._cluster, node)
        return self._signer.admit(request, client_name(Role.NODE_AGENT, node), may, now_s)
