"""A reader of the release before: it knows version 1 of a record, and no pages.

What it cannot read it raises at, as that release's allocators would.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any, Literal

from nats.aio.client import Client
from nats.js.errors import NotFoundError
from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis

from shared.ids import Identity
from shared.messages.subjects import journal_root, journal_stream
from shared.store.keys import lease_key
from tests.support.allocators import CLUSTER


class Version1(BaseModel):
    """Strict: that release would leave other names aside, and with them what they say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1]
    a: IPv4Address
    s: Literal["bound_fixed", "retained", "moving", "parked", "expired"]
    g: int = Field(ge=1)
    sn: str
    n: str | None = None
    e: str | None = None
    to: str | None = None
    u: str | None = None
    c: str | None = Field(default=None, pattern="^[^/]+/[^/]+/[^/]+$")
    t: int = Field(ge=0)
    x: int | None = Field(default=None, ge=0)
    p: bool | None = None
    b: int | None = Field(default=None, ge=1)
    f: str | None = None
    k: bool | None = None
    w: str | None = Field(default=None, pattern="^[^:]+:[^:]+$")
    po: str | None = None


Leases = dict[str, Version1]  # by the name of their pod


async def store_of_version_1(store: Redis) -> Leases:
    found = await store.hgetall(lease_key(CLUSTER, "fixed"))
    return {_name(token): Version1.model_validate_json(body) for token, body in found.items()}


async def journal_of_version_1(bus: Client) -> Leases:
    """By JetStream's plain reads, not by the product's."""
    js, root = bus.jetstream(), journal_root(CLUSTER)
    stream = journal_stream(CLUSTER)
    info = await js.stream_info(stream, subjects_filter=f"{root}.>")
    leases: Leases = {}
    for subject in info.state.subjects or {}:
        kind, _, rest = subject.removeprefix(f"{root}.").partition(".")
        try:
            body = (await js.get_last_msg(stream, subject)).data or b""
        except NotFoundError:  # its time was over meanwhile
            continue
        if kind == "lease" and body and not _is_tombstone(body):
            leases[_name(rest)] = Version1.model_validate_json(body)
        assert kind != "page" or not body, f"a page of steps is left: {subject}"
        assert kind in {"lease", "commit", "epoch", "cluster", "probe", "page"}, subject
    return leases


def _name(token: bytes | str) -> str:
    text = token.decode() if isinstance(token, bytes) else token
    return Identity.from_token(text).name


def _is_tombstone(body: bytes) -> bool:
    stored: Any = json.loads(body)
    return isinstance(stored, dict) and stored.get("s") == "gone"
