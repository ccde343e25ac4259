"""A lease as the store and the journal hold it: LeaseRecord's shape."""

from __future__ import annotations

from datetime import timedelta

from services.allocator.domain.leases import Lease
from shared.ids import EniId, Generation, Identity, NodeName, PodUid, SubnetId
from shared.store.lease_records import (
    RECORD_VERSION,
    LeaseRecord,
    StoredFormat,
    pack_attachment,
    pack_workload,
    unpack_attachment,
    unpack_workload,
)


def decode_lease(token: str | bytes, body: str | bytes) -> Lease:
    """The lease that a hash field or a journal message holds."""
    text = token.decode() if isinstance(token, bytes) else token
    return decode_lease_of(Identity.from_token(text), body)


def decode_lease_of(identity: Identity, body: str | bytes) -> Lease:
    record = LeaseRecord.read(body)
    packed, expires_s = record.attachment, record.expires_after_s
    return Lease(
        identity=identity,
        address=record.address,
        state=record.state,
        generation=Generation(record.generation),
        subnet=SubnetId(record.subnet),
        node=NodeName(record.node) if record.node is not None else None,
        eni=EniId(record.eni) if record.eni is not None else None,
        moving_to=NodeName(record.moving_to) if record.moving_to is not None else None,
        pod_uid=PodUid(record.pod_uid) if record.pod_uid is not None else None,
        attachment=unpack_attachment(packed, identity) if packed is not None else None,
        since=record.since,
        expires_after=timedelta(seconds=expires_s) if expires_s is not None else None,
        is_expiry_set=record.is_expiry_set,
        is_exclusive=record.is_exclusive,
        bound_generation=Generation(record.bound_generation)
        if record.bound_generation is not None
        else None,
        reserved_for=PodUid(record.reserved_for) if record.reserved_for is not None else None,
        workload=unpack_workload(record.workload) if record.workload is not None else None,
        policy=record.policy,
    )


def encode_lease(lease: Lease, stored_format: StoredFormat = RECORD_VERSION) -> str:
    expires = lease.expires_after
    attachment = lease.attachment
    if attachment is not None:
        attachment = pack_attachment(attachment, lease.identity)
    record = LeaseRecord(
        address=lease.address,
        state=lease.state,
        generation=lease.generation,
        subnet=lease.subnet,
        node=lease.node,
        eni=lease.eni,
        moving_to=lease.moving_to,
        pod_uid=lease.pod_uid,
        attachment=attachment,
        since_ms=round(lease.since.timestamp() * 1000),
        expires_after_s=round(expires.total_seconds()) if expires is not None else None,
        is_expiry_set=lease.is_expiry_set,
        bound_generation=lease.bound_generation,
        reserved_for=lease.reserved_for,
        is_exclusive=lease.is_exclusive,
        workload=pack_workload(lease.workload) if lease.workload is not None else None,
        policy=lease.policy,
    )
    return (
        record.write()
        if stored_format == RECORD_VERSION
        else record.write_version_1(lease.identity)
    )
