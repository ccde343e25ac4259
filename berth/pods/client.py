"""The caller's side of a runner: started inside an instance, asked, stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import ValidationError

from berth.programs import base_environment, python_module
from shared.errors import BerthError, ErrorCode, Refused, TryLater, Unavailable, error_of
from shared.ids import PodName, PodUid

from .frames import framed, read_frame
from .messages import (
    ANSWER,
    AskHeard,
    Checked,
    CheckPod,
    Failed,
    Heard,
    ListPods,
    PodKey,
    PodRemoved,
    PodRunning,
    PodsListed,
    Probed,
    RemovePod,
    Request,
    RunPod,
    RunProbe,
    SendForged,
    Shape,
    Waiting,
)
from .runner import RunnerOptions

_ANSWER_MARGIN_S: Final = 30.0  # beyond the request's own limit: the last plugin call and DEL
_LOOK_AGAIN_S: Final = 0.02
_STOP_TIMEOUT_S: Final = 20.0
_LOG_SHOWN_BYTES: Final = 2000

Expected = TypeVar("Expected", bound=Shape)
Enter = Callable[[Sequence[str]], list[str]]
OnWaiting = Callable[[Waiting], None]


def ignore(_: Waiting) -> None:
    """For callers that show no progress."""


class Runner:
    """One node's runner. Every method raises the BerthError that the runner answered."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def run(
        self, pod: PodName, uid: PodUid, *, timeout_s: float, on_waiting: OnWaiting = ignore
    ) -> PodRunning:
        request = RunPod(pod=key(pod), uid=uid, timeout_s=timeout_s)
        return await self._ask(request, PodRunning, timeout_s, on_waiting)

    async def remove(self, pod: PodName, *, timeout_s: float) -> PodRemoved:
        return await self._ask(
            RemovePod(pod=key(pod), timeout_s=timeout_s), PodRemoved, timeout_s
        )

    async def probe(
        self,
        pod: PodName | None,
        do: Literal["icmp", "tcp", "udp"],
        destination: IPv4Address,
        *,
        attempts: int = 1,
        timeout_s: float = 1.0,
    ) -> Probed:
        """From a pod of this node; from the node itself when `pod` is None."""
        request = RunProbe(
            pod=key(pod) if pod else None,
            do=do,
            destination=destination,
            attempts=attempts,
            timeout_s=timeout_s,
        )
        return await self._ask(request, Probed, attempts * timeout_s)

    async def send_forged(
        self, pod: PodName, *, source: IPv4Address, destination: IPv4Address, token: str
    ) -> Probed:
        request = SendForged(pod=key(pod), source=source, destination=destination, token=token)
        return await self._ask(request, Probed, 1.0)

    async def heard(self, pod: PodName, token: str) -> tuple[IPv4Address, ...]:
        answer = await self._ask(AskHeard(pod=key(pod), token=token), Heard, 1.0)
        return answer.sources

    async def check(self, pod: PodName) -> None:
        await self._ask(CheckPod(pod=key(pod)), Checked, _ANSWER_MARGIN_S)

    async def pods(self) -> tuple[PodRunning, ...]:
        return (await self._ask(ListPods(), PodsListed, 1.0)).pods

    async def _ask(
        self,
        request: Request,
        expected: type[Expected],
        timeout_s: float,
        on_waiting: OnWaiting = ignore,
    ) -> Expected:
        try:
            async with asyncio.timeout(timeout_s + _ANSWER_MARGIN_S):
                return await self._exchange(request, expected, on_waiting)
        except (TimeoutError, OSError, ValidationError) as error:
            raise Unavailable(f"pod runner {self._socket}: {error!r}") from error

    async def _exchange(
        self, request: Request, expected: type[Expected], on_waiting: OnWaiting
    ) -> Expected:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            writer.write(framed(request.model_dump_json().encode()))
            while (body := await read_frame(reader)) is not None:
                answer = ANSWER.validate_json(body)
                if isinstance(answer, Waiting):
                    on_waiting(answer)
                    continue
                if isinstance(answer, Failed):
                    raise _error(answer)
                assert isinstance(answer, expected), f"{request.type} answered {answer.type}"
                return answer
        finally:
            writer.close()
        raise Unavailable(f"pod runner {self._socket} closed without an answer")


class RunnerProcess:
    """A runner as a child process, for as long as its owner wants it."""

    def __init__(
        self, process: asyncio.subprocess.Process, options: RunnerOptions, log_file: Path
    ) -> None:
        self._process = process
        self._log_file = log_file
        self._options = options
        self.runner = Runner(options.socket)

    @classmethod
    async def start(
        cls, enter: Enter, options: RunnerOptions, *, log_file: Path
    ) -> RunnerProcess:
        """Start it inside an instance, as `enter` says, and wait until it serves."""
        command = enter([*python_module("berth.pods.runner"), *options.arguments()])
        with log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=base_environment(),
                start_new_session=True,
            )
        started = cls(process, options, log_file)
        try:
            await started._wait_ready()
        except BaseException:
            await asyncio.shield(started.stop())
            raise
        return started

    @property
    def pid(self) -> int:
        return self._process.pid

    async def stop(self) -> None:
        """Have it remove its pods in order; end it when it does not. Safe to repeat."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._options.socket.unlink(missing_ok=True)

    async def _wait_ready(self) -> None:
        """Bounded by the runner itself: it ends when no network appears in time."""
        while not await self._is_listening():
            if self._process.returncode is not None:
                raise Unavailable(f"pod runner ended: {self._last_words()}")
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _is_listening(self) -> bool:
        """The socket's file is there a moment before anybody listens on it."""
        try:
            _, writer = await asyncio.open_unix_connection(str(self._options.socket))
        except OSError:
            return False
        writer.close()
        return True

    def _last_words(self) -> str:
        log = self._log_file.read_bytes()[-_LOG_SHOWN_BYTES:].decode("utf-8", "replace")
        return log.strip().splitlines()[-1] if log.strip() else "it said nothing"


def _error(failed: Failed) -> BerthError:
    if failed.code is not ErrorCode.INTERNAL:
        return error_of(failed.code, failed.reason)
    return Refused(failed.reason) if failed.is_final else TryLater(failed.reason)


def key(pod: PodName) -> PodKey:
    return PodKey(namespace=pod.namespace, name=pod.name)
