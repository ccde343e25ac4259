"""TLS before a server that speaks none: it proves itself, asks for a certificate, relays."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.tls_files import TlsFolder

_BYTES = 1 << 16


class TlsFront:
    """`port` on loopback is `behind`, once both sides have proved themselves."""

    def __init__(self, files: TlsFolder, behind: int) -> None:
        self._files = files
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self._files.ca)
        context.load_cert_chain(self._files.certificate, self._files.key)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=context
        )
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Every connection is cut."""
        assert self._server is not None, "it was started"
        self._server.close()
        for each in self._open.copy():
            each.transport.abort()
        await self._server.wait_closed()

    async def restart(self) -> None:
        """With the files as they are now."""
        await self.stop()
        await self.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner = await asyncio.open_connection("127.0.0.1", self._behind)
        both = {writer, inner}
        self._open |= both
        try:
            await asyncio.gather(_relay(reader, inner), _relay(inner_reader, writer))
        finally:
            self._open -= both
            for each in both:
                each.close()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while said := await reader.read(_BYTES):
            writer.write(said)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def tls_front(files: TlsFolder, behind: int) -> AsyncIterator[TlsFront]:
    front = TlsFront(files, behind)
    await front.start()
    try:
        yield front
    finally:
        await front.stop()
