"""A fixed lease as the record that store, journal and backups hold, and back."""

from __future__ import annotations

from datetime import timedelta

from shared.ids import EniId, Generation, Identity, NodeName, PodUid, SubnetId
from shared.policies import LeasePolicy
from shared.store.lease_records import LeaseRecord

from .domain.leases import Lease


def lease_of_record(identity: Identity, record: LeaseRecord) -> Lease:
    """The lease that a record tells of."""
    expires_s = record.expires_after_s
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


def record_of(lease: Lease) -> LeaseRecord:
    """Everything of a lease but its identity, which is the record's name."""
    return LeaseRecord.model_validate(
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
