"""A sandbox: the process that holds a pod's network namespace, as a pause container does.

The namespace is named by ``/proc/<pid>/ns/net``: nothing is mounted, so nothing is left behind
when the process ends, however it ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from contextlib import suppress
from typing import Final

from pydantic import JsonValue

from berth.programs import base_environment, python_module
from shared.errors import Unavailable
from shared.kernel.conversation import Conversation
from shared.kernel.links import set_up
from shared.kernel.netns import open_netns

from .frames import framed, read_frame

_START_TIMEOUT_S: Final = 20.0  # an interpreter's start on a machine that is busy
_ANSWER_MARGIN_S: Final = 5.0
_LOOPBACK: Final = 1  # its index in every fresh namespace


class Sandbox:
    """One pod's process, started, asked and stopped."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._one_at_a_time = asyncio.Lock()
        self._asked = 0

    @classmethod
    async def start(cls) -> Sandbox:
        """A process in a fresh namespace with its loopback up. Raises Unavailable."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *python_module("berth.pods.process"),
                *(str(os.getpid()), str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env=base_environment(),
                start_new_session=True,  # Ctrl-C is for the demo, which ends its pods in order
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        sandbox = cls(process, reader, writer)
        try:
            await sandbox._read(_START_TIMEOUT_S)
            sandbox._raise_loopback()
        except BaseException:
            await sandbox.stop()
            raise
        return sandbox

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def netns_path(self) -> str:
        return f"/proc/{self._process.pid}/ns/net"

    async def ask(
        self, request: dict[str, JsonValue], *, timeout_s: float
    ) -> dict[str, JsonValue]:
        """One request to the pod's process; `timeout_s` is the probe's own limit."""
        async with self._one_at_a_time:
            self._asked += 1
            self._writer.write(framed(json.dumps({**request, "id": self._asked}).encode()))
            while True:  # the answer to a question whose asker went away comes first
                answer = await self._read(timeout_s + _ANSWER_MARGIN_S)
                if answer.pop("id") == self._asked:
                    return answer

    async def stop(self) -> None:
        """End the process, and with it the namespace and all that is in it."""
        self._writer.close()
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await asyncio.shield(self._process.wait())

    async def _read(self, timeout_s: float) -> dict[str, JsonValue]:
        try:
            async with asyncio.timeout(timeout_s):
                body = await read_frame(self._reader)
        except (TimeoutError, ConnectionError) as error:
            raise Unavailable(f"pod process {self.pid} did not answer: {error!r}") from error
        if body is None:
            raise Unavailable(f"pod process {self.pid} ended by itself")
        answer = json.loads(body)
        assert isinstance(answer, dict), "the process is ours and answers mappings"
        return answer

    def _raise_loopback(self) -> None:
        netns = open_netns(self.netns_path)
        try:
            with Conversation(netns) as conversation:
                conversation.do([set_up(_LOOPBACK)])
        finally:
            os.close(netns)
