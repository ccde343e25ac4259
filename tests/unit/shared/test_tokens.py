"""The bus's signed claims: what is no question of a server, and what is no key to sign with."""

from __future__ import annotations

import base64
import json

import pytest

from shared.bus.tokens import REQUEST_BYTES_MAX, Signer, parse_request
from shared.errors import InvalidInput

SERVER = "N" + "A" * 55
USER = "U" + "B" * 55


def question(**changes: object) -> bytes:
    asked = {
        "server_id": {"id": SERVER},
        "user_nkey": USER,
        "connect_opts": {"auth_token": "secret", "name": "node_agent-x"},
    } | changes
    claims = base64.urlsafe_b64encode(json.dumps({"nats": asked}).encode()).rstrip(b"=")
    return b"e30." + claims + b".c2ln"


def test_a_question_tells_who_asks_for_whom() -> None:
    found = parse_request(question())

    assert (found.server, found.user, found.token) == (SERVER, USER, "secret")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no claims",
        b"a.b",
        b"a.!!!.c",
        b"\xff.\xff.\xff",
        question(user_nkey="admin"),
        question(server_id={"id": USER}),
        question(connect_opts={"auth_token": ["secret"]}),
        b"a." * REQUEST_BYTES_MAX,
    ],
)
def test_anything_else_is_refused_without_showing_it(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="authorization request") as refused:
        parse_request(data)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("seed", ["", "SUxyz", "SAnothing", "SA" + "A" * 40])
def test_only_an_accounts_seed_signs(seed: str) -> None:
    with pytest.raises(InvalidInput, match="the key that signs for the bus"):
        Signer(seed)
