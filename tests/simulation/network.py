"""The bus of a simulated world, as nats-py's client shows it to our own client and server.

Messages are late, lost and doubled as the seed says; a queue group's message goes to one of its
living members. What nobody serves is known at once, as on NATS.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import nats.errors

from .virtual import Process

Callback = Callable[[Any], Awaitable[None]]
_LATE_S: Final = (0.05, 12.0)
_USUAL_S: Final = (0.0005, 0.004)


@dataclass(slots=True, kw_only=True)
class Weather:
    """How bad the network is now: chances of a message, and who is cut off."""

    loses: float = 0.0
    doubles: float = 0.0
    delays: float = 0.0
    cut_off: set[str] = field(default_factory=set)  # names of processes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    process: Process
    tokens: list[str]
    queue: str
    callback: Callback

    def hears(self, tokens: list[str]) -> bool:
        if len(tokens) != len(self.tokens):
            return False
        return all(mine in ("*", his) for mine, his in zip(self.tokens, tokens, strict=True))


@dataclass(slots=True, kw_only=True)
class _Incoming:
    """What a handler is given; nats-py's services API answers through the message's client."""

    subject: str
    data: bytes
    answer: Callable[[bytes], None]
    headers: dict[str, str] | None = None
    reply: str = "inbox"

    @property
    def _client(self) -> _Incoming:
        return self

    async def respond(self, data: bytes) -> None:
        self.answer(data)

    async def publish(
        self, reply: str, data: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.answer(data)


class Network:
    """What lies between all processes."""

    def __init__(self, rng: random.Random) -> None:
        self.weather = Weather()
        self._rng = rng
        self._servers: list[_Server] = []
        self._routes: dict[str, list[_Server]] = {}  # by subject; those that serve it

    def join(self, process: Process) -> Member:
        return Member(self, process)

    def serve(self, process: Process, subject: str, queue: str, callback: Callback) -> None:
        self._routes.clear()
        self._servers = [each for each in self._servers if each.process.is_alive]
        self._servers.append(
            _Server(process=process, tokens=subject.split("."), queue=queue, callback=callback)
        )

    def lag_s(self) -> float:
        bounds = _LATE_S if self._rng.random() < self.weather.delays else _USUAL_S
        return self._rng.uniform(*bounds)

    def is_lost(self, *parties: Process) -> bool:
        if any(each.name in self.weather.cut_off for each in parties):
            return True
        return self._rng.random() < self.weather.loses

    def ask(self, caller: Process, subject: str, body: bytes) -> asyncio.Future[bytes]:
        """An answer, perhaps."""
        known = self._routes.get(subject)
        if known is None:
            tokens = subject.split(".")
            known = [each for each in self._servers if each.hears(tokens)]
            self._routes[subject] = known
        found = [each for each in known if each.process.is_alive]
        if not found:
            raise nats.errors.NoRespondersError
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        copies = 2 if self._rng.random() < self.weather.doubles else 1
        for _ in range(copies):
            self._send(caller, self._rng.choice(found), subject, body, answer)
        return answer

    def _send(
        self,
        caller: Process,
        server: _Server,
        subject: str,
        body: bytes,
        answer: asyncio.Future[bytes],
    ) -> None:
        loop = asyncio.get_running_loop()

        def answered(data: bytes) -> None:
            if not self.is_lost(caller, server.process) and server.process.is_alive:
                loop.call_later(self.lag_s(), heard, data)

        def heard(data: bytes) -> None:
            if not answer.done():
                answer.set_result(data)

        def arrive() -> None:
            if server.process.is_alive:
                incoming = _Incoming(subject=subject, data=body, answer=answered)
                server.process.start(_call(server.callback, incoming))

        if not self.is_lost(caller, server.process):
            loop.call_later(self.lag_s(), arrive)


async def _call(callback: Callback, incoming: _Incoming) -> None:
    await callback(incoming)


@dataclass(frozen=True, slots=True)
class _Answer:
    data: bytes


class _Subscription:
    """Nobody unsubscribes: a process is killed, or the world ends."""


class _Names:
    def next(self) -> bytes:
        return b"service"


class Member:
    """One process' connection: as much of nats-py's Client as ours use."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process
        self._nuid = _Names()  # the services API asks for it

    async def flush(self) -> None:
        """What was subscribed is known at once."""

    async def request(self, subject: str, body: bytes, timeout: float) -> _Answer:
        self._process.check()
        answer = self._network.ask(self._process, subject, body)
        try:
            async with asyncio.timeout(timeout):
                return _Answer(await answer)
        except TimeoutError:
            raise nats.errors.TimeoutError from None
        finally:
            self._process.check()

    async def subscribe(self, subject: str, *, cb: Callback, queue: str = "") -> _Subscription:
        self._network.serve(self._process, subject, queue, cb)
        return _Subscription()
