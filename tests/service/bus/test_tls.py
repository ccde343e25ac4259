"""A bus behind TLS: who is trusted, who is let in, and files that change."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client

from shared.bus.connection import connect_bus
from shared.errors import Unavailable
from shared.settings import ServiceSettings
from tests.support.eni_world import eventually
from tests.support.servers import NatsServer, nats_server
from tests.support.tls_files import TlsFolder

_WAIT_S = 20.0


@pytest.fixture
def files(tmp_path: Path) -> TlsFolder:
    return TlsFolder(tmp_path / "tls")


@pytest.fixture
def bus(files: TlsFolder) -> Iterator[NatsServer]:
    words = (
        f'cert_file: "{files.certificate}", key_file: "{files.key}",'
        f' ca_file: "{files.ca}", verify: true'
    )
    with nats_server(f"tls {{ {words} }}") as server:
        yield server


async def reached(bus: NatsServer, files: TlsFolder, **changes: Any) -> Client:
    values = {
        "nats_url": bus.url.replace("nats://", "tls://"),
        "nats_ca_file": files.ca,
        "nats_tls_cert_file": files.client_certificate,
        "nats_tls_key_file": files.client_key,
        "nats_connect_timeout_s": 2.0,
    }
    settings = ServiceSettings.model_validate(values | changes)
    return await connect_bus(settings, client_name="test")


async def test_a_bus_that_asks_for_a_certificate_gets_it(
    bus: NatsServer, files: TlsFolder
) -> None:
    client = await reached(bus, files)
    await client.close()

    with pytest.raises(Unavailable):
        await reached(bus, files, nats_tls_cert_file=None, nats_tls_key_file=None)


async def test_nothing_is_said_in_the_clear_where_tls_was_asked_for(
    nats_server: NatsServer, files: TlsFolder
) -> None:
    with pytest.raises(Unavailable, match="it requires no TLS"):
        await reached(nats_server, files)


async def test_new_files_are_taken_with_the_next_connection(
    bus: NatsServer, files: TlsFolder
) -> None:
    client = await reached(bus, files)
    try:
        files.replace_authority()
        files.trust(files.authority)
        os.kill(bus.pid, signal.SIGHUP)  # it reads its files, and keeps its connections
        await asyncio.to_thread(bus.wait_for_words, "Reloaded server configuration")
        await client.force_reconnect()

        await eventually(partial(is_answered, client), timeout_s=_WAIT_S)
    finally:
        await client.close()


async def is_answered(client: Client) -> bool:
    with suppress(nats.errors.Error):
        await client.flush(timeout=1)
        return client.is_connected
    return False
