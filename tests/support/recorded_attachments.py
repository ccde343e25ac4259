"""The Attachments port for tests of its callers: it wires nothing, and remembers what came.

Like the real one it gives an attachment the same answer again, and forgets it at DEL.
"""

from __future__ import annotations

import asyncio
import os
from ipaddress import IPv4Address

from services.node_agent.domain.requests import POD_GATEWAY, Add, Check, Wired
from shared.errors import BerthError, NotFound
from shared.ids import AttachmentKey

FIRST_ADDRESS = IPv4Address("10.0.3.17")


class RecordedAttachments:
    """Every verb raises `failure` while it is set, and waits while `gate` is clear."""

    def __init__(self) -> None:
        self.wired: dict[AttachmentKey, Wired] = {}
        self.adds: list[Add] = []
        self.deleted: list[AttachmentKey] = []
        self.checks: list[Check] = []
        self.collected: list[tuple[str, frozenset[AttachmentKey]]] = []
        self.netns_inodes: list[int] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Semaphore(0)  # one more for every call that reached a verb
        self.in_flight = 0
        self.in_flight_peak = 0

    async def add(self, request: Add) -> Wired:
        self.adds.append(request)
        self.netns_inodes.append(os.fstat(request.netns_fd).st_ino)
        await self._pass()
        if request.key not in self.wired:
            self.wired[request.key] = self._wire(request)
        return self.wired[request.key]

    async def delete(self, key: AttachmentKey) -> None:
        await self._pass()
        self.deleted.append(key)
        self.wired.pop(key, None)

    async def check(self, request: Check) -> None:
        self.checks.append(request)
        self.netns_inodes.append(os.fstat(request.netns_fd).st_ino)
        await self._pass()
        wired = self.wired.get(request.key)
        if wired is None or request.address not in (None, wired.address):
            raise NotFound(f"{request.key} is not wired with {request.address}")

    async def status(self) -> None:
        await self._pass()

    async def collect(self, network: str, valid: frozenset[AttachmentKey]) -> None:
        await self._pass()
        self.collected.append((network, valid))
        self.wired = {
            key: wired
            for key, wired in self.wired.items()
            if key.network != network or key in valid
        }

    async def _pass(self) -> None:
        self.in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
        self.entered.release()
        try:
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
        finally:
            self.in_flight -= 1

    def _wire(self, request: Add) -> Wired:
        return Wired(
            host_ifname="eni3f2a9c01b7d",
            host_mac="02:00:00:00:00:01",
            ifname=request.key.ifname,
            mac="02:00:00:00:00:02",
            mtu=1500,
            address=FIRST_ADDRESS + len(self.wired),
            gateway=POD_GATEWAY,
        )


def refused(error: type[BerthError]) -> BerthError:
    return error("because the test says so")
