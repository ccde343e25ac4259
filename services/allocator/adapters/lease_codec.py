"""A lease as the store and the journal hold it: one JSON object, LeaseRecord's shape."""

from __future__ import annotations

from services.allocator.domain.leases import Lease
from services.allocator.records import lease_of_record, record_of
from shared.ids import Identity
from shared.store.lease_records import LeaseRecord


def decode_lease(token: str | bytes, body: str | bytes) -> Lease:
    """The lease that a hash field or a journal message holds."""
    text = token.decode() if isinstance(token, bytes) else token
    return lease_of_record(Identity.from_token(text), LeaseRecord.model_validate_json(body))


def encode_lease(lease: Lease) -> str:
    """The JSON object of a lease, short names, nothing that is not set."""
    return record_of(lease).model_dump_json(by_alias=True, exclude_none=True)
