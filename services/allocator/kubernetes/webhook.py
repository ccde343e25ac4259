"""``POST /mutate`` and ``/validate``: pods on their way into the API server.

Whatever goes wrong here lets the pod pass: the validating rules are checked again at ADD, and
what the mutating one adds only makes scheduling better. A pod is refused only for what it says
itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from aiohttp import web

from shared.annotations import DeletePolicy
from shared.errors import BerthError, InvalidInput, Refused
from shared.ids import PodName
from shared.telemetry.health import parse_listen
from shared.telemetry.metrics import WEBHOOK_REVIEWS_TOTAL

from . import admission
from .admission import ClusterFacts, Review
from .certificates import KeyPair

log = logging.getLogger(__name__)

BODY_BYTES_MAX: Final = 3 << 20  # the API server's own limit for an object
LOOK_UP_S: Final = 1.0  # for a lease's zone; a pod does not wait longer for a better place
_SHUTDOWN_S: Final = 2.0


class PodFacts(Protocol):
    """What the webhook asks of the rest of the allocator."""

    def cluster(self) -> ClusterFacts: ...

    async def zone_of(self, pod: PodName) -> str | None:
        """The zone that the fixed address of this name is at home in; None: it has none."""
        ...


class Webhook:
    """Serves over TLS from the moment it has a certificate; a new one is taken up live."""

    def __init__(
        self, facts: PodFacts, *, listen: str, beside: Sequence[web.RouteDef] = ()
    ) -> None:
        self._facts = facts
        self._beside = beside
        self._host, self._port = parse_listen(listen)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._runner: web.AppRunner | None = None
        self.port = 0

    def use(self, pair: KeyPair) -> None:
        """For every handshake from now on."""
        # The ssl module reads files only. This one is for our eyes, and gone at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(pair.certificate + pair.key)
            file.flush()
            self._tls.load_cert_chain(file.name)

    async def start(self) -> None:
        """Raises Refused in one line when the port is taken."""
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/mutate", self._handler("mutate", self._mutate))
        app.router.add_post("/validate", self._handler("validate", self._validate))
        app.router.add_routes(self._beside)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, ssl_context=self._tls).start()
        except OSError as error:
            await runner.cleanup()
            reason = error.strerror or str(error)
            raise Refused(f"webhook_listen {self._host}:{self._port}: {reason}") from error
        self._runner = runner
        self.port = int(runner.addresses[0][1])

    async def aclose(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _handler(
        self, name: str, answer: Callable[[Review], Awaitable[dict[str, Any]]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                review = admission.parse_review(await request.read())
            except InvalidInput as error:  # no review: there is no uid to answer to
                WEBHOOK_REVIEWS_TOTAL.labels(name, "malformed").inc()
                return web.json_response({"error": str(error)}, status=400)
            body = await answer(review)
            is_allowed = body["response"]["allowed"]
            WEBHOOK_REVIEWS_TOTAL.labels(name, "allowed" if is_allowed else "refused").inc()
            return web.json_response(body, dumps=json.dumps)

        return handle

    async def _mutate(self, review: Review) -> dict[str, Any]:
        facts = self._facts.cluster()
        try:
            network = admission.network_of(review, facts)
        except InvalidInput:  # the validating webhook says so, in its own words
            return admission.allowed(review, [])
        zone = None
        name = admission.pod_name(review)
        if network is not None and network.policy is DeletePolicy.NEVER and name is not None:
            zone = await self._zone_of(name)
        return admission.allowed(review, admission.additions(review, network, facts, zone))

    async def _validate(self, review: Review) -> dict[str, Any]:
        try:
            admission.check(review, self._facts.cluster())
        except InvalidInput as error:
            return admission.refused(review, str(error))
        return admission.allowed(review, [])

    async def _zone_of(self, name: PodName) -> str | None:
        try:
            async with asyncio.timeout(LOOK_UP_S):
                return await self._facts.zone_of(name)
        except (BerthError, TimeoutError) as error:
            log.info("zone of a lease is not known", extra={"error": str(error)})
            return None
