"""One connection to the bus: its key, its inbox, and what losing it means.

At start an unreachable bus is one clear line. Once connected, the client reconnects for ever;
callers see Unavailable meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import nats
import nats.errors
from nats.aio.client import Client

from shared.errors import Refused, Unavailable
from shared.ids import encode_token
from shared.settings import ServiceSettings
from shared.telemetry.health import Readiness
from shared.tls import TlsFiles

log = logging.getLogger(__name__)

BUS_CONDITION: Final = "bus"
_PING_S: Final = 10
_PENDING_BYTES_MAX: Final = 8 << 20
_RECONNECT_WAIT_S: Final = 0.25
_DRAIN_S: Final = 5
_CLOSE_S: Final = _DRAIN_S + 5.0


def inbox_prefix(client_name: str) -> str:
    """Replies to a client arrive below a prefix of its own, so that nobody else may listen."""
    return f"_INBOX_{encode_token(client_name)}"


class _LastingClient(Client):
    """Comes back also after a refusal: who admits clients may be away when the bus restarts.

    nats-py closes a connected client for good then. Who connects for the first time asks for
    `refusal`: a server that says something else before it has decided makes nats-py believe
    that it is connected.
    """

    refusal: str | None = None
    tls: TlsFiles | None = None

    def __init__(self) -> None:
        super().__init__()
        self._attempts: set[asyncio.Task[None]] = set()  # to reconnect

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Of the files as they are now: nats-py's own keeps what was read at the start."""
        return super().ssl_context if self.tls is None else self.tls.context()

    async def _process_info(
        self, info: dict[str, Any], initial_connection: bool = False
    ) -> None:
        """nats-py goes on in the clear where a server, or who stands before it, offers that."""
        if initial_connection and self.tls is not None and not info.get("tls_required"):
            raise nats.errors.Error("nats: it requires no TLS, and tls:// does")
        await super()._process_info(info, initial_connection)

    async def _process_err(self, err_msg: str) -> None:
        said = err_msg.lower()
        if "authorization" in said or "authentication" in said:
            self.refusal = err_msg
            await self._process_op_err(nats.errors.Error(f"nats: {err_msg}"))
        else:
            await super()._process_err(err_msg)

    async def _attempt_reconnect(self) -> None:
        attempt = asyncio.current_task()
        assert attempt is not None, "nats-py makes it a task"
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)
        await super()._attempt_reconnect()

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        if self.is_reconnecting:
            # It cannot be sent any more. nats-py would write it to the transport that is lost,
            # to which uvloop answers RuntimeError.
            self._pending, self._pending_data_size = [], 0
        try:
            await super()._close(status, do_cbs)
        finally:
            await self._end_attempts()
            self._status = status  # such an attempt may have said that it is under way

    async def _end_attempts(self) -> None:
        """An attempt that is cancelled at the moment at which it is refused hears the refusal
        alone (`wait_for` of Python 3.11), and would try for ever."""
        while going_on := self._attempts - {asyncio.current_task()}:
            for attempt in going_on:
                attempt.cancel()
            await asyncio.wait(going_on, timeout=_RECONNECT_WAIT_S)


class _Watch:
    """What nats-py calls back: quiet until the first connection, and once it is closing."""

    def __init__(self, client: Client, url: str, readiness: Readiness | None) -> None:
        self._client = client
        self._url = url
        self._readiness = readiness
        self._was_connected = False
        self.last_error: Exception | None = None

    def connected(self) -> None:
        self._was_connected = True
        if self._readiness is not None:
            self._readiness.set(BUS_CONDITION)

    async def lost(self) -> None:
        if not self._was_connected or self._client.is_draining or self._client.is_closed:
            return
        log.warning("bus lost")
        if self._readiness is not None:
            self._readiness.clear(BUS_CONDITION, "not connected")

    async def found(self) -> None:
        log.info("bus found again")
        if self._readiness is not None:
            self._readiness.set(BUS_CONDITION)

    async def failed(self, error: Exception) -> None:
        self.last_error = error
        if self._was_connected:
            # nats-py repeats an unreachable server's error at every attempt: `lost` said it.
            if not isinstance(error, OSError):
                log.warning("bus error", extra={"error": str(error)})
        elif "authorization" in str(error).lower():
            # Raised out of connect(): the same key would be refused again and again.
            raise Refused(f"nats_url {self._url}: the bus refuses this key: {error}") from error


async def connect_bus(
    settings: ServiceSettings, *, client_name: str, readiness: Readiness | None = None
) -> Client:
    """Connect, or raise Unavailable / Refused in one line that names the address."""
    client = _LastingClient()
    client.tls = _tls(settings)
    watch = _Watch(client, settings.nats_url, readiness)
    try:
        # A client that reconnects for ever would also try its first connection for ever.
        async with asyncio.timeout(settings.nats_connect_timeout_s):
            await client.connect(
                servers=settings.nats_url.split(","),
                name=client_name,
                nkeys_seed_str=_read_seed(settings.nats_key_file),
                token=_token_of(settings.nats_token_file),
                inbox_prefix=inbox_prefix(client_name),
                tls_hostname=settings.nats_tls_hostname,
                connect_timeout=max(1, round(settings.nats_connect_timeout_s)),
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_WAIT_S,  # type: ignore[arg-type] # a float is fine
                ping_interval=_PING_S,
                pending_size=_PENDING_BYTES_MAX,
                drain_timeout=_DRAIN_S,
                disconnected_cb=watch.lost,
                reconnected_cb=watch.found,
                error_cb=watch.failed,
            )
            await client.flush()  # answered only to who was let in
    except (Refused, OSError, nats.errors.Error) as error:
        with suppress(Exception):
            await client.close()
        if isinstance(error, Refused):
            raise
        if client.refusal is not None:
            raise Refused(
                f"nats_url {settings.nats_url}: the bus refuses this key: {client.refusal}"
            ) from error
        reason = str(error) or str(watch.last_error or type(error).__name__)
        raise Unavailable(
            f"nats_url {settings.nats_url}: the bus does not answer: {reason}"
        ) from error
    watch.connected()
    return client


async def close_bus(client: Client) -> None:
    """Send what was said, and close. A bus that is away is no reason to end in disorder:
    nats-py refuses to drain while it reconnects, and may raise CancelledError to who was not
    cancelled, for which it has a task of its own here."""
    if client.is_closed:
        return
    closing = asyncio.create_task(_close(client), name="close the bus")
    try:
        await asyncio.wait({closing}, timeout=_CLOSE_S)
    finally:
        closing.cancel()
    if closing.done() and closing.cancelled():
        log.info("bus not closed in order", extra={"error": "it was lost meanwhile"})


async def _close(client: Client) -> None:
    try:
        await (client.drain() if client.is_connected else client.close())
    except (nats.errors.Error, OSError, RuntimeError) as error:  # the last: lost meanwhile
        log.info("bus not closed in order", extra={"error": str(error)})


def _read_seed(key_file: Path | None) -> str | None:
    if key_file is None:
        return None
    try:
        return key_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"nats_key_file {key_file}: cannot be read: {error}") from error


def _token_of(token_file: Path | None) -> Callable[[], str] | None:
    """Read for each connection: a cluster replaces such a token every hour."""
    return None if token_file is None else lambda: token_file.read_text("ascii").strip()


def _tls(settings: ServiceSettings) -> TlsFiles | None:
    if "tls://" not in settings.nats_url:
        return None
    files = TlsFiles(
        ca=settings.nats_ca_file,
        certificate=settings.nats_tls_cert_file,
        key=settings.nats_tls_key_file,
    )
    files.check("nats")
    return files
