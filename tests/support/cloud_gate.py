"""Stands between an eni_manager and its cloud: stops it at one of its changing calls."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

import aiohttp
from aiohttp import web

_READS = ("Describe",)
_HELD_MAX_S = 60.0


class Stop(StrEnum):
    KILL_AFTER = "kill after the call"
    FREEZE_BEFORE = "freeze before the call"


class CloudGate:
    """Passes every call on. Armed, it counts the changing ones and stops the sender of one."""

    def __init__(self, cloud_url: str, http: aiohttp.ClientSession) -> None:
        self._cloud_url = cloud_url
        self._http = http
        self._stop: Stop | None = None
        self._at = -1
        self._process: asyncio.subprocess.Process | None = None
        self._late = asyncio.Event()
        self.answers: dict[str, dict[str, object]] = {}  # in place of the cloud's, by action
        self.calls: list[str] = []  # changing ones since it was armed, by action
        self.heard = 0  # calls of every kind
        self.stopped = asyncio.Event()
        self.late_answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def arm(self, stop: Stop | None, at: int, process: asyncio.subprocess.Process) -> None:
        self.calls.clear()
        self._stop, self._at, self._process = stop, at, process

    def let_late_call_through(self) -> None:
        """What was held back arrives now, and its sender wakes up."""
        self._late.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        action = request.headers["X-TC-Action"]
        self.heard += 1
        if action in self.answers:
            body_text = json.dumps({"Response": {"RequestId": "gate", **self.answers[action]}})
            return web.Response(body=body_text.encode(), content_type="application/json")
        is_last = False
        if self._process is not None and not action.startswith(_READS):
            is_last = len(self.calls) == self._at and not self.stopped.is_set()
            self.calls.append(action)
        if is_last and self._stop is Stop.FREEZE_BEFORE:
            self._signal(signal.SIGSTOP)
            self.stopped.set()
            async with asyncio.timeout(_HELD_MAX_S):
                await self._late.wait()
        # The host is part of what was signed.
        headers = dict(request.headers)
        async with self._http.post(self._cloud_url, data=body, headers=headers) as answer:
            text = await answer.text()
        if is_last and self._stop is Stop.FREEZE_BEFORE:
            self.late_answer.set_result(text)
            self._signal(signal.SIGCONT)
        if is_last and self._stop is Stop.KILL_AFTER:
            self._signal(signal.SIGKILL)
            self.stopped.set()
        return web.Response(body=text.encode(), content_type="application/json")

    def _signal(self, signum: signal.Signals) -> None:
        assert self._process is not None, "it is armed"
        os.kill(self._process.pid, signum)


@asynccontextmanager
async def cloud_gate(cloud_url: str) -> AsyncIterator[tuple[CloudGate, str]]:
    """The gate, and its URL."""
    async with aiohttp.ClientSession(skip_auto_headers=("User-Agent",)) as http:
        gate = CloudGate(cloud_url, http)
        app = web.Application()
        app.router.add_post("/", gate.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            yield gate, f"http://{host}:{port}"
        finally:
            gate.let_late_call_through()
            await runner.cleanup()
