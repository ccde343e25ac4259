"""``/livez``, ``/readyz`` and ``/metrics`` of every service, on a listener of their own."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from shared.errors import Refused

_BACKLOG_MAX: Final = 64
_SHUTDOWN_S: Final = 1.0


class Readiness:
    """Named conditions, each true or with its reason why not. Ready when all are true."""

    def __init__(self, *conditions: str) -> None:
        self._reasons: dict[str, str | None] = dict.fromkeys(conditions, "starting")

    def set(self, condition: str) -> None:
        self._reasons[condition] = None

    def clear(self, condition: str, reason: str) -> None:
        self._reasons[condition] = reason

    @property
    def is_ready(self) -> bool:
        return not self.missing()

    def missing(self) -> dict[str, str]:
        return {name: reason for name, reason in self._reasons.items() if reason is not None}


def parse_listen(listen: str) -> tuple[str, int]:
    """ADDRESS:PORT, checked."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise Refused(f"listen address {listen!r}: ADDRESS:PORT is allowed, port 0 to 65535")
    return host.strip("[]"), int(port)


class HealthServer:
    """The three paths, answered from memory."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, listen: str) -> None:
        """Raises Refused in one line when the port is taken."""
        host, port = parse_listen(listen)
        app = web.Application(client_max_size=1024)
        app.router.add_get("/livez", self._live)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=_BACKLOG_MAX).start()
        except OSError as error:
            await runner.cleanup()
            reason = error.strerror or str(error)
            raise Refused(f"health_listen {listen}: cannot listen: {reason}") from error
        self._runner = runner
        self.port = int(runner.addresses[0][1])

    async def aclose(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        missing = self._readiness.missing()
        lines = "".join(f"{name}: {reason}\n" for name, reason in sorted(missing.items()))
        return web.Response(text=lines or "ok\n", status=503 if missing else 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(REGISTRY), headers={"Content-Type": content_type})
