"""A store behind TLS: who is trusted, by which name, who is let in, and files that change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.errors import InvalidInput, Refused, Unavailable
from shared.settings import StoreSettings
from shared.store.connection import check_store, close_store, open_store
from tests.support.servers import RedisServer
from tests.support.tls_files import NAME, TlsFolder
from tests.support.tls_front import TlsFront, tls_front


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    files: TlsFolder
    front: TlsFront

    def settings(self, **changes: Any) -> StoreSettings:
        values = {
            "redis_url": f"rediss://127.0.0.1:{self.front.port}/0",
            "redis_ca_file": self.files.ca,
            "redis_tls_cert_file": self.files.client_certificate,
            "redis_tls_key_file": self.files.client_key,
        }
        return StoreSettings.model_validate(values | changes)

    async def reach(self, **changes: Any) -> None:
        settings = self.settings(**changes)
        store = open_store(settings)
        try:
            await check_store(store, settings)
        finally:
            await close_store(store)


@pytest.fixture
async def store(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Store]:
    files = TlsFolder(tmp_path / "tls")
    async with tls_front(files, redis_server.port) as front:
        yield Store(files=files, front=front)


async def test_both_sides_prove_themselves(store: Store) -> None:
    await store.reach()

    with pytest.raises(Unavailable, match="does not answer"):
        await store.reach(redis_tls_cert_file=None, redis_tls_key_file=None)


async def test_an_authority_that_is_not_ours_is_not_trusted(store: Store) -> None:
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await store.reach(redis_ca_file=None)


async def test_the_certificate_must_be_of_the_address_or_of_the_name_that_is_set(
    store: Store,
) -> None:
    store.files.issue_server(has_address=False)
    await store.front.restart()

    await store.reach(redis_tls_hostname=NAME)

    with pytest.raises(Unavailable, match=r"not valid for '127\.0\.0\.1'"):
        await store.reach()
    with pytest.raises(Unavailable, match=r"not valid for 'other\.example'"):
        await store.reach(redis_tls_hostname="other.example")


async def test_new_files_are_taken_with_the_next_connection(store: Store) -> None:
    settings = store.settings()
    client = open_store(settings)
    first = store.files.authority
    try:
        await client.set("kept", "yes")
        store.files.replace_authority()
        store.files.trust(store.files.authority)
        await store.front.restart()
        store.files.trust(first)  # what the client has is the old bundle still
        with pytest.raises(Unavailable):  # its connection was cut
            await check_store(client, settings)
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await check_store(client, settings)

        store.files.trust(first, store.files.authority)
        found = await client.get("kept")
    finally:
        await close_store(client)

    assert found == b"yes"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"redis_tls_key_file": None},
            "redis_tls_cert_file and redis_tls_key_file go together",
        ),
        ({"redis_ca_file": Path("/nowhere")}, "redis_ca_file /nowhere: cannot be read"),
        ({"redis_url": "redis://127.0.0.1:1/0"}, "speaks no TLS, and redis_ca_file"),
        ({"redis_url": "redis+sentinel://one/berth"}, "speaks no TLS"),
    ],
)
async def test_what_does_not_go_together_is_refused_at_the_start(
    store: Store, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        await store.reach(**changes)


async def test_what_is_no_certificate_is_refused_at_the_start(store: Store) -> None:
    store.files.client_key.write_text("secret words\n")

    with pytest.raises(Refused, match="no certificates as PEM") as refused:
        await store.reach()

    assert "secret words" not in str(refused.value)


async def test_an_address_switches_no_check_off(store: Store) -> None:
    url = f"rediss://127.0.0.1:{store.front.port}/0?ssl_cert_reqs=none"

    with pytest.raises(InvalidInput, match="how TLS is checked: redis_ca_file"):
        await store.reach(redis_url=url)
