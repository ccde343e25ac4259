"""Signed claims of the bus: what a server asks of an unknown client, and the answer (pure).

nats-server's auth callout sends a JWT that it signed itself, and takes one that the account key
of its configuration has signed. Only what this service needs of the format is here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

import nkeys
from pydantic import BaseModel, ConfigDict, Field

from shared.bus.permissions import ANSWER_SPAN_S, ANSWERS_MAX, BusPermissions
from shared.errors import InvalidInput

ACCOUNT: Final = "$G"  # the account of a server whose configuration names none
REQUEST_BYTES_MAX: Final = 64 << 10
_HEADER: Final = {"typ": "JWT", "alg": "ed25519-nkey"}
_VERSION: Final = 2
_UNLIMITED: Final = -1
_ACCOUNT_SEED: Final = re.compile(r"^SA[A-Z2-7]{56}$")


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Server(_Part):
    id: Annotated[str, Field(pattern="^N[A-Z2-7]{55}$")]


class _Connect(_Part):
    auth_token: Annotated[str, Field(max_length=16_384)] = ""
    name: Annotated[str, Field(max_length=1024)] = ""


class _Asked(_Part):
    server_id: _Server
    user_nkey: Annotated[str, Field(pattern="^U[A-Z2-7]{55}$")]
    connect_opts: _Connect


class _Request(_Part):
    nats: _Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class CalloutRequest:
    """A client without a key of its own wants in."""

    server: str  # the public key of the server that asks
    user: str  # the public key that the server made for this one connection
    token: str  # what the client showed; empty: nothing
    client: str  # the name it gave itself; for people


def parse_request(data: bytes) -> CalloutRequest:
    """Raises InvalidInput, which never shows a token.

    The signature is not looked at: it would be by a key that the request itself names. That
    only servers say such things is what the permissions of all clients see to.
    """
    if len(data) > REQUEST_BYTES_MAX:
        raise InvalidInput(f"authorization request: larger than {REQUEST_BYTES_MAX} bytes")
    try:
        _, claims, _ = data.decode("ascii").split(".")
        asked = _Request.model_validate_json(_unpacked(claims)).nats
    except ValueError:  # of decoding, splitting, base64 and pydantic alike
        raise InvalidInput("authorization request: not what a server asks") from None
    return CalloutRequest(
        server=asked.server_id.id,
        user=asked.user_nkey,
        token=asked.connect_opts.auth_token,
        client=asked.connect_opts.name,
    )


class Signer:
    """Answers such requests with the account's key."""

    def __init__(self, seed: str) -> None:
        """Raises InvalidInput when it is no account's seed (SA…)."""
        if not _ACCOUNT_SEED.match(seed):
            raise InvalidInput("the key that signs for the bus must be an account's seed (SA…)")
        try:
            self._key = nkeys.from_seed(bytearray(seed.encode()))
        except (ValueError, nkeys.NkeysError) as error:
            kind = type(error).__name__
            raise InvalidInput(f"the key that signs for the bus: {kind}") from None
        self.public_key: str = self._key.public_key.decode()

    def admit(
        self, request: CalloutRequest, name: str, may: BusPermissions, now_s: int
    ) -> bytes:
        """This one connection may do that."""
        nats = {
            "type": "user",
            "version": _VERSION,
            "pub": {"allow": list(may.publish)},
            "sub": {"allow": list(may.subscribe)},
            "resp": {"max": ANSWERS_MAX, "ttl": ANSWER_SPAN_S * 1_000_000_000},
            "subs": _UNLIMITED,
            "data": _UNLIMITED,
            "payload": _UNLIMITED,
        }
        claims = {"sub": request.user, "aud": ACCOUNT, "name": name, "nats": nats}
        return self._respond(request, {"jwt": self._sign(claims, now_s)}, now_s)

    def refuse(self, request: CalloutRequest, reason: str, now_s: int) -> bytes:
        """The reason is for the server's log; the client hears only that it was refused."""
        return self._respond(request, {"error": reason}, now_s)

    def _respond(self, request: CalloutRequest, answer: dict[str, str], now_s: int) -> bytes:
        nats = {**answer, "type": "authorization_response", "version": _VERSION}
        claims = {"sub": request.user, "aud": request.server, "nats": nats}
        return self._sign(claims, now_s).encode()

    def _sign(self, claims: dict[str, Any], now_s: int) -> str:
        body = {**claims, "iss": self.public_key, "iat": now_s}
        # The claims' id is a hash over them; a server logs it and checks nothing by it.
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
        body["jti"] = base64.b32encode(digest).decode().rstrip("=")
        signed = f"{_packed(json.dumps(_HEADER).encode())}.{_packed(json.dumps(body).encode())}"
        return f"{signed}.{_packed(self._key.sign(signed.encode()))}"


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpacked(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
