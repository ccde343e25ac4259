"""TC3-HMAC-SHA256, checked as the cloud's gateway checks it.

The signature covers the method, the content type, the host, the body and the time; so a body
that was changed, a request older than five minutes and a wrong key are all refused.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.vpc_simulator.model.failures import ApiFailure, Code

VALID_S: Final = 300  # the cloud's own: how far the request's time may be from its clock

_AUTHORIZATION: Final = re.compile(
    r"TC3-HMAC-SHA256 Credential=(?P<secret_id>[^/,\s]+)/(?P<date>\d{4}-\d{2}-\d{2})"
    r"/(?P<service>[a-z0-9]+)/tc3_request,\s*SignedHeaders=(?P<signed>[a-z0-9;-]+),"
    r"\s*Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """The parts of an HTTP request that a signature covers."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who signed, and for which of the cloud's services."""

    secret_id: str
    service: str


def authenticate(request: SignedRequest, keys: Mapping[str, str], *, now: datetime) -> Caller:
    """The caller of a request whose signature holds. `keys` are secret keys by secret id."""
    match = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
    if match is None:
        raise ApiFailure(
            Code.INVALID_AUTHORIZATION, "The Authorization header is missing or malformed."
        )
    if "X-TC-Token" in request.headers:
        raise ApiFailure(Code.TOKEN_FAILURE, "Temporary credentials are not issued here.")
    timestamp = _fresh_timestamp(request.headers, now)
    secret_key = keys.get(match["secret_id"])
    if secret_key is None:
        raise ApiFailure(Code.SECRET_ID_NOT_FOUND, "The SecretId is not found.")
    signed = match["signed"].split(";")
    if not {"content-type", "host"} <= set(signed):
        raise ApiFailure(
            Code.INVALID_AUTHORIZATION, "SignedHeaders must hold content-type and host."
        )

    scope = f"{match['date']}/{match['service']}/tc3_request"
    text = _string_to_sign(request, signed, timestamp, scope)
    expected = sign(secret_key, match["date"], match["service"], text)
    dated = datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d") == match["date"]
    if not dated or not hmac.compare_digest(expected, match["signature"]):
        raise ApiFailure(
            Code.SIGNATURE_FAILURE,
            "The signature does not match the request, the SecretKey or the date.",
        )
    return Caller(secret_id=match["secret_id"], service=match["service"])


def sign(secret_key: str, date: str, service: str, text: str) -> str:
    key = f"TC3{secret_key}".encode()
    for part in (date, service, "tc3_request"):
        key = _hmac(key, part)
    return _hmac(key, text).hex()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _fresh_timestamp(headers: Mapping[str, str], now: datetime) -> int:
    text = headers.get("X-TC-Timestamp", "")
    if not text:
        raise ApiFailure(Code.MISSING_PARAMETER, "The header X-TC-Timestamp is missing.")
    if not re.fullmatch(r"\d{1,11}", text):
        raise ApiFailure(Code.INVALID_PARAMETER, "The header X-TC-Timestamp is not a number.")
    if abs(now.timestamp() - int(text)) > VALID_S:
        raise ApiFailure(
            Code.SIGNATURE_EXPIRE, f"The signature is more than {VALID_S} s from this clock."
        )
    return int(text)


def _string_to_sign(
    request: SignedRequest, signed: list[str], timestamp: int, scope: str
) -> str:
    headers = "".join(
        f"{name}:{request.headers.get(name, '').strip().lower()}\n" for name in signed
    )
    canonical = "\n".join(
        (
            request.method,
            request.path,
            request.query,
            headers,
            ";".join(signed),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}"
