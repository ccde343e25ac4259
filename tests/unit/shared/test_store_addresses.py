"""Where the store is, as its setting says: one server, or what the sentinels name."""

from __future__ import annotations

import pytest

from shared.errors import Refused
from shared.store.addresses import ClusterAddress, SentinelAddress, parse_store_url


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:6379/0", "rediss://allocator@store/0", "unix:///run/store.sock"]
)
def test_one_server_needs_nobody_to_name_it(url: str) -> None:
    assert parse_store_url(url) is None


def test_sentinels_are_asked_for_a_service() -> None:
    found = parse_store_url("rediss+sentinel://allocator@one,[::1]:7000/my%20store/2")

    assert found == SentinelAddress(
        sentinels=(("one", 26379), ("::1", 7000)),
        service="my store",
        database=2,
        user="allocator",
    )


def test_members_are_asked_for_the_owner_of_a_slot() -> None:
    found = parse_store_url("redis+cluster://allocator@one,two:7000")

    assert found == ClusterAddress(members=(("one", 6379), ("two", 7000)), user="allocator")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:6379",
        "redis+sentinel://one:26379",
        "redis+sentinel://one:26379/",
        "redis+sentinel://one:port/berth",
        "redis+sentinel://one:99999/berth",
        "redis+sentinel://one,,two/berth",
        "redis+sentinel://one/berth/first",
        "redis+sentinel://one/berth?timeout=1",
        "redis+cluster://one:7000/1",
        "redis+cluster://one,,two",
        "rediss+cluster://one?ssl=no",
    ],
)
def test_what_is_not_an_address_is_refused_by_its_name(url: str) -> None:
    with pytest.raises(Refused, match=r"redis_url: .* is not allowed; allowed: redis://"):
        parse_store_url(url)


def test_what_tls_checks_does_not_belong_into_the_url() -> None:
    with pytest.raises(Refused, match="how TLS is checked: redis_ca_file"):
        parse_store_url("rediss://store:6379/0?ssl_check_hostname=false")


def test_a_password_does_not_belong_into_the_url() -> None:
    with pytest.raises(Refused, match="use redis_password_file"):
        parse_store_url("redis+sentinel://allocator:secret@one/berth")
