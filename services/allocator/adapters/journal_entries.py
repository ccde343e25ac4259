"""What a message of the journal says of an identity: its lease, or that it has none now."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from services.allocator.domain.leases import Lease
from shared.addresses import AddressState
from shared.ids import Generation
from shared.store.lease_records import RECORD_VERSION, StoredFormat, generation_in

from .lease_codec import decode_lease, encode_lease

# Longer than any writer may be late with an older step: what comes after it would be believed.
TOMBSTONE_TTL_S: Final = 24 * 3600

Rank = tuple[Generation, bool]  # a tombstone comes after the step whose generation it bears


@dataclass(frozen=True, slots=True)
class Entry:
    """A step as it is written: what its identity's own subject will hold."""

    token: str  # of the identity
    rank: Rank
    body: bytes

    @classmethod
    def of(cls, lease: Lease, stored_format: StoredFormat = RECORD_VERSION) -> Entry:
        body = encode_lease(lease, stored_format).encode()
        return cls(lease.identity.token, (lease.generation, False), body)

    @classmethod
    def tombstone_of(cls, lease: Lease) -> Entry:
        body = {"v": 1, "s": AddressState.GONE, "g": str(lease.generation)}
        return cls(lease.identity.token, (lease.generation, True), json.dumps(body).encode())

    @classmethod
    def read(cls, token: str, body: bytes) -> Entry:
        return cls(token, rank_of(body), body)

    def headers(self) -> dict[str, str]:
        return {"Nats-TTL": f"{TOMBSTONE_TTL_S}s"} if self.rank[1] else {}


@dataclass(frozen=True, slots=True)
class Known:
    """What the journal holds of an identity, and where: one is nothing without the other."""

    sequence: int
    rank: Rank


NOTHING: Final = Known(0, (Generation(0), False))


def rank_of(body: bytes) -> Rank:
    return generation_of(body), _is_tombstone(body)


def lease_of(token: str, body: bytes) -> Lease | None:
    """None: a tombstone, or a message that was emptied."""
    return None if not body or _is_tombstone(body) else decode_lease(token, body)


def generation_of(body: bytes) -> Generation:
    return Generation(generation_in(body))


def commit_body(highest: Generation) -> bytes:
    """The end of a batch: the highest generation that its writer has written so far."""
    return json.dumps({"v": 1, "h": str(highest)}).encode()


def highest_of_commit(body: bytes) -> Generation | None:
    """None: an older release wrote it, and did not tell."""
    return Generation(int(json.loads(body)["h"])) if body else None


def _is_tombstone(body: bytes) -> bool:
    # Looked for before it is parsed: there are a million leases for each of these.
    if b'"gone"' not in body:
        return False
    stored = json.loads(body)
    return isinstance(stored, dict) and stored.get("s") == AddressState.GONE
