"""The runner process of a node: serves the pod requests of its Unix socket, one a connection.

It lives inside the instance's network namespace until SIGTERM (pods are then removed in order)
or until the process it watches ends (pods are then killed at once: the whole node goes). A
caller that hangs up ends what it asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from shared.errors import BerthError, ErrorCode, TryLater
from shared.kernel.syscalls import outlive_parent
from shared.telemetry.logs import configure_logging

from .conflist import wait_for_network_list
from .frames import framed, read_frame
from .messages import (
    REQUEST,
    Answer,
    AskHeard,
    CheckPod,
    Failed,
    ListPods,
    RemovePod,
    Request,
    RunPod,
    RunProbe,
    SendForged,
    Waiting,
)
from .networks import PodNetworks
from .node import NodePods, Report
from .plugins import ProgramCaller

log = logging.getLogger(__name__)

_CONNECTIONS_MAX: Final = 64
_READ_TIMEOUT_S: Final = 5.0
_STOP_TIMEOUT_S: Final = 10.0
_REASON_CHARACTERS_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    socket: Path
    conf_dir: Path
    bin_dir: Path
    kept_dir: Path
    until_pid: int  # the runner's life ends with this process's
    network_timeout_s: float  # for the configuration list to appear
    plugin_timeout_s: float

    def arguments(self) -> list[str]:
        """The command line that `parse` reads."""
        return [
            *("--socket", str(self.socket)),
            *("--conf-dir", str(self.conf_dir)),
            *("--bin-dir", str(self.bin_dir)),
            *("--kept-dir", str(self.kept_dir)),
            *("--until-pid", str(self.until_pid)),
            *("--network-timeout-s", str(self.network_timeout_s)),
            *("--plugin-timeout-s", str(self.plugin_timeout_s)),
        ]

    @classmethod
    def parse(cls, arguments: list[str] | None = None) -> RunnerOptions:
        parser = argparse.ArgumentParser(prog="berth-pod-runner", description=__doc__)
        for name in ("socket", "conf-dir", "bin-dir", "kept-dir"):
            parser.add_argument(f"--{name}", type=Path, required=True)
        parser.add_argument("--until-pid", type=int, required=True)
        for name in ("network-timeout-s", "plugin-timeout-s"):
            parser.add_argument(f"--{name}", type=float, required=True)
        return cls(**vars(parser.parse_args(arguments)))


class PodServer:
    """The socket's side: frames in, the node's answers out."""

    def __init__(self, pods: NodePods) -> None:
        self._pods = pods
        self._slots = asyncio.Semaphore(_CONNECTIONS_MAX)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._slots:
                await self._converse(reader, writer)
        except (ConnectionError, TimeoutError) as error:
            log.warning("a caller went away", extra={"error": repr(error)})
        finally:
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            body = await read_frame(reader)
        if body is None:
            return
        work = asyncio.create_task(self._answer(body, writer), name="pod request")
        hang_up = asyncio.create_task(reader.read(1), name="pod request hang-up")
        try:
            await asyncio.wait({work, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                writer.write(framed(work.result().model_dump_json().encode()))
                await writer.drain()
        finally:
            for task in (work, hang_up):
                task.cancel()
            await asyncio.gather(work, hang_up, return_exceptions=True)

    async def _answer(self, body: bytes, writer: asyncio.StreamWriter) -> Answer:
        def report(waiting: Waiting) -> None:
            writer.write(framed(waiting.model_dump_json().encode()))

        try:
            return await self._do(REQUEST.validate_json(body), report)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            reason = str(problem["msg"])
            return Failed(code=ErrorCode.INVALID_INPUT, is_final=True, reason=reason)
        except BerthError as error:
            is_final = not isinstance(error, TryLater)
            return Failed(code=error.code, is_final=is_final, reason=str(error))
        except Exception as error:  # a bug: the caller hears of it, the log has the traceback
            log.exception("pod request failed")
            reason = repr(error)[:_REASON_CHARACTERS_MAX]
            return Failed(code=ErrorCode.INTERNAL, is_final=True, reason=reason)

    async def _do(self, request: Request, report: Report) -> Answer:
        match request:
            case RunPod():
                return await self._pods.run(request, report)
            case RemovePod():
                return await self._pods.remove(request)
            case RunProbe():
                return await self._pods.probe(request)
            case SendForged():
                return await self._pods.send_forged(request)
            case AskHeard():
                return await self._pods.heard(request)
            case CheckPod():
                return await self._pods.check(request)
            case ListPods():
                return self._pods.listed()


async def serve(options: RunnerOptions) -> None:
    """Until SIGTERM or the end of the watched process; leaves no pod and no socket behind."""
    loop = asyncio.get_running_loop()
    is_ordered: asyncio.Future[bool] = loop.create_future()  # the end, and of which kind
    watched = os.pidfd_open(options.until_pid)

    def end(ordered: bool) -> None:
        loop.remove_reader(watched)
        if not is_ordered.done():
            is_ordered.set_result(ordered)

    loop.add_reader(watched, end, False)
    loop.add_signal_handler(signal.SIGTERM, end, True)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is for whoever started us
    preparing = asyncio.create_task(_prepare(options), name="runner's network")
    try:
        either: list[asyncio.Future[NodePods] | asyncio.Future[bool]] = [preparing, is_ordered]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if preparing.done():
            await _serve_pods(preparing.result(), options.socket, is_ordered)
    finally:
        preparing.cancel()
        loop.remove_reader(watched)
        os.close(watched)


async def _prepare(options: RunnerOptions) -> NodePods:
    network = await wait_for_network_list(options.conf_dir, timeout_s=options.network_timeout_s)
    rng = random.Random()
    caller = ProgramCaller([options.bin_dir], timeout_s=options.plugin_timeout_s, rng=rng)
    return NodePods(PodNetworks(network, caller, options.kept_dir), rng)


async def _serve_pods(pods: NodePods, path: Path, is_ordered: asyncio.Future[bool]) -> None:
    server = await asyncio.start_unix_server(PodServer(pods).accept, str(path))
    path.chmod(0o600)
    try:
        if await is_ordered:
            await pods.stop(timeout_s=_STOP_TIMEOUT_S)
    finally:
        server.close()
        path.unlink(missing_ok=True)
        await pods.kill()


def main() -> None:
    options = RunnerOptions.parse()
    outlive_parent()  # `enter` had it die with its parent; `until_pid` says more
    configure_logging(service="pod-runner", level="INFO", style="json")
    try:
        asyncio.run(serve(options))
    except (BerthError, ProcessLookupError) as error:  # the latter: the watched one is gone
        sys.exit(f"pod runner: {error}")


if __name__ == "__main__":
    main()
