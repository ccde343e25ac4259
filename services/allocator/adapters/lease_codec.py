"""A lease as the store and the journal hold it: one JSON object, LeaseRecord's shape."""

from __future__ import annotations

from datetime import timedelta

from services.allocator.domain.leases import Lease
from shared.ids import EniId, Generation, Identity, NodeName, PodUid, SubnetId
from shared.policies import LeasePolicy
from shared.store.lease_records import LeaseRecord


def decode_lease(token: str | bytes, body: str | bytes) -> Lease:
    """The lease that a hash field or a journal message holds."""
    record = LeaseRecord.model_validate_json(body)
    text = token.decode() if isinstance(token, bytes) else token
    expires_s = record.expires_after_s
    return Lease(
        identity=Identity.from_token(text),
        address=record.address,
        state=record.state,
        generation=Generation(record.generation),
        subnet=SubnetId(record.subnet),
        node=NodeName(record.node) if record.node is not None else None,
        eni=EniId(record.eni) if record.eni is not None else None,
        moving_to=NodeName(record.moving_to) if record.moving_to is not None else None,
        pod_uid=PodUid(record.pod_uid) if record.pod_uid is not None else None,
        attachment=record.attachment,
        since=record.since,
        expires_after=timedelta(seconds=expires_s) if expires_s is not None else None,
        is_expiry_set=bool(record.is_expiry_set),
        is_exclusive=bool(record.is_exclusive),
        bound_generation=Generation(record.bound_generation)
        if record.bound_generation is not None
        else None,
        reserved_for=PodUid(record.reserved_for) if record.reserved_for is not None else None,
        workload=record.workload,
        policy=record.policy or LeasePolicy.NEVER,
    )


def encode_lease(lease: Lease) -> str:
    """The JSON object of a lease, short names, nothing that is not set."""
    record = LeaseRecord.model_validate(
        {
            "address": lease.address,
            "state": lease.state,
            "generation": lease.generation,
            "subnet": lease.subnet,
            "node": lease.node,
            "eni": lease.eni,
            "moving_to": lease.moving_to,
            "pod_uid": lease.pod_uid,
            "attachment": lease.attachment,
            "since_ms": round(lease.since.timestamp() * 1000),
            "is_expiry_set": lease.is_expiry_set or None,
            "is_exclusive": lease.is_exclusive or None,
            "bound_generation": lease.bound_generation,
            "reserved_for": lease.reserved_for,
            "workload": lease.workload,
            "policy": lease.policy if lease.policy is not LeasePolicy.NEVER else None,
            "expires_after_s": (
                round(lease.expires_after.total_seconds())
                if lease.expires_after is not None
                else None
            ),
        }
    )
    return record.model_dump_json(by_alias=True, exclude_none=True)
