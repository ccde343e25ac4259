"""The Unix socket on which the CNI plugin calls the agent: one frame in, one frame out.

A frame is four bytes of length, most significant first, and JSON; an open network namespace
may come beside its first byte. Everything a peer can send has a limit, and what a peer does
wrong ends its own connection and nothing else.
"""

from __future__ import annotations

import array
import asyncio
import logging
import os
import select
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

from services.node_agent.cni.codes import NEWEST_VERSION
from services.node_agent.cni.endpoint import Answer, CniEndpoint, refusal
from services.node_agent.domain.requests import Attachments
from shared.clock import Clock, SystemClock
from shared.errors import Busy, InvalidInput, NotAuthorised, Refused

log = logging.getLogger(__name__)

SOCKET_NAME: Final = "agent.sock"
ALIVE_NAME: Final = "agent.alive"
FRAME_BYTES_MAX: Final = (1024 + 128) * 1024  # the plugin's largest configuration, escaped
_BACKLOG: Final = 256
_PART_BYTES: Final = 64 * 1024
_FDS_MAX: Final = 8  # more than one is refused, but must be received to be closed
_ACCEPT_PAUSE_S: Final = 0.1  # when the process is out of descriptors
_LENGTH: Final = struct.Struct("!I")
_UCRED: Final = struct.Struct("3i")


class _PeerGone(Exception):
    """The peer closed before its frame was whole: nobody is there to be told."""


class CniServer:
    """Serves Attachments to the plugins of this node."""

    def __init__(
        self,
        attachments: Attachments,
        *,
        socket_path: Path,
        clock: Clock | None = None,
        in_flight_max: int = 256,
        receive_timeout_s: float = 5.0,
    ) -> None:
        """`receive_timeout_s` is what a peer has to send its frame, and to take the answer."""
        self._path = socket_path
        self._endpoint = CniEndpoint(
            attachments,
            clock=clock or SystemClock(),
            spool_dir=socket_path.parent / "spool",
        )
        self._in_flight_max = in_flight_max
        self._receive_timeout_s = receive_timeout_s
        self._running: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._inode = 0

    async def start(self) -> None:
        """Open the socket; a dead agent's is replaced, a living one's is respected."""
        _refuse_living(self._path)
        self._listener = _listen(self._path)
        self._inode = self._path.stat().st_ino
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        self.touch_alive()

    @property
    def is_reachable(self) -> bool:
        """Whether the socket is still where the plugin looks for it."""
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def touch_alive(self) -> None:
        """Say that the agent serves; while this is fresh the plugin's STATUS excuses us."""
        touch_alive(self._path.parent)

    async def drain(self, grace_s: float) -> int:
        """Take no more calls, finish those taken; returns how many had to be cut off."""
        self._close_listener()
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        cut_off = list(self._running)
        for task in cut_off:
            task.cancel()
        await asyncio.gather(*cut_off, return_exceptions=True)
        if cut_off:
            log.warning("calls cut off by the drain", extra={"count": len(cut_off)})
        return len(cut_off)

    def _close_listener(self) -> None:
        if self._listener is None:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        if self.is_reachable:  # else a successor has replaced it
            self._path.unlink(missing_ok=True)
        self._listener.close()
        self._listener = None

    def _accept(self) -> None:
        """One call; the loop comes again for the next."""
        assert self._listener is not None, "only an open listener accepts"
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._pause_accepting(error)
            return
        connection.setblocking(False)
        if len(self._running) >= self._in_flight_max:
            _turn_away(connection, self._in_flight_max)
            return
        task = asyncio.create_task(self._serve(connection), name="cni-call")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _pause_accepting(self, error: OSError) -> None:
        log.warning("cannot accept calls", extra={"why": str(error)})
        loop, listener = asyncio.get_running_loop(), self._listener
        assert listener is not None, "only an open listener accepts"
        loop.remove_reader(listener)

        def resume() -> None:
            if self._listener is listener:
                loop.add_reader(listener, self._accept)

        loop.call_later(_ACCEPT_PAUSE_S, resume)

    async def _serve(self, connection: socket.socket) -> None:
        fds: list[int] = []
        try:
            answer = await self._answer(connection, fds)
            if answer.added is not None and _has_hung_up(connection):
                await self._endpoint.undo(answer.added)
                return
            body = answer.encode()
            await _send(connection, _LENGTH.pack(len(body)) + body, self._receive_timeout_s)
        except (_PeerGone, TimeoutError, OSError) as error:
            log.info("call dropped", extra={"why": str(error) or type(error).__name__})
        finally:
            for fd in fds:
                os.close(fd)
            connection.close()

    async def _answer(self, connection: socket.socket, fds: list[int]) -> Answer:
        """`fds` takes every descriptor that arrives; the caller closes them."""
        try:
            _check_peer(connection)
            deadline_s = asyncio.get_running_loop().time() + self._receive_timeout_s
            body = await _receive_frame(connection, fds, deadline_s)
            if len(fds) > 1:
                raise InvalidInput.of("descriptors", len(fds), "at most one, the namespace")
        except (InvalidInput, NotAuthorised) as error:
            log.warning("peer refused", extra={"why": str(error)})
            return refusal(error, verb="unknown", cni_version=NEWEST_VERSION)
        return await self._endpoint.answer(body, fds[0] if fds else None)


def touch_alive(run_dir: Path) -> None:
    """Renew ``agent.alive``, whose age the plugin reads."""
    (run_dir / ALIVE_NAME).touch(mode=0o644)
    os.utime(run_dir / ALIVE_NAME)


def _listen(path: Path) -> socket.socket:
    """Bound aside, closed to others, then moved into place: never open to all, never absent."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(str(temporary))
        temporary.chmod(0o600)
        listener.listen(_BACKLOG)
        temporary.rename(path)
    except OSError as error:
        listener.close()
        temporary.unlink(missing_ok=True)
        raise Refused(f"{path}: the agent's socket cannot be opened: {error}") from error
    return listener


def _refuse_living(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except BlockingIOError:
            pass  # its backlog is full: busy, therefore alive
        except OSError as error:
            raise Refused(f"{path}: no place for the agent's socket: {error}") from error
    raise Refused(f"{path}: another node agent serves this socket")


def _check_peer(connection: socket.socket) -> None:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(credentials)
    if uid not in (0, os.geteuid()):
        raise NotAuthorised(f"uid {uid} may not call the node agent; allowed: root and itself")


def _has_hung_up(connection: socket.socket) -> bool:
    """Whether the peer is gone for good; one that only said all it had to say still listens."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))


async def _receive_frame(connection: socket.socket, fds: list[int], deadline_s: float) -> bytes:
    data = bytearray()
    wanted = _LENGTH.size
    while len(data) < wanted:
        data += await _receive_part(connection, fds, deadline_s)
        if wanted == _LENGTH.size and len(data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data)
            if length > FRAME_BYTES_MAX:
                raise InvalidInput.of(
                    "frame length", length, f"at most {FRAME_BYTES_MAX} bytes"
                )
            wanted += length
    return bytes(memoryview(data)[_LENGTH.size : wanted])


async def _receive_part(connection: socket.socket, fds: list[int], deadline_s: float) -> bytes:
    control_bytes = socket.CMSG_SPACE(_FDS_MAX * array.array("i").itemsize)
    while True:
        try:
            part, ancillary, _, _ = connection.recvmsg(
                _PART_BYTES, control_bytes, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            async with asyncio.timeout_at(deadline_s):
                await _readable(connection)
            continue
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(content[: len(content) // 4 * 4])
                fds.extend(received)
        if len(fds) > _FDS_MAX:
            raise InvalidInput.of("descriptors", len(fds), "at most one, the namespace")
        if not part:
            raise _PeerGone("closed before its frame was whole")
        return part


async def _send(connection: socket.socket, data: bytes, timeout_s: float) -> None:
    """At once, as nearly every answer goes; else as fast as the peer takes it."""
    try:
        sent = connection.send(data)
    except BlockingIOError:
        sent = 0
    if sent < len(data):
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_sendall(connection, data[sent:])


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _turn_away(connection: socket.socket, in_flight_max: int) -> None:
    busy = Busy(f"{in_flight_max} calls are being served, the most this agent takes")
    body = refusal(busy, verb="unknown", cni_version=NEWEST_VERSION).encode()
    with connection, suppress(OSError):
        connection.send(_LENGTH.pack(len(body)) + body)
