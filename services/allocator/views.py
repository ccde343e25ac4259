"""Fixed leases as messages show them, and what messages may say of them."""

from __future__ import annotations

from datetime import timedelta

from shared.annotations import (
    EXPIRED_DURATION_ALLOWED,
    EXPIRED_DURATION_MAX,
    EXPIRED_DURATION_MIN,
    DeletePolicy,
)
from shared.errors import InvalidInput
from shared.messages.base import AttachmentFields, IdentityFields
from shared.messages.leases import LeaseView
from shared.policies import LeasePolicy

from .domain.leases import Lease
from .domain.retention import workload_of


def check_span(span: timedelta) -> timedelta:
    """Raises InvalidInput for one that no lease may be kept for."""
    if not EXPIRED_DURATION_MIN <= span <= EXPIRED_DURATION_MAX:
        raise InvalidInput.of("expires_after", str(span), EXPIRED_DURATION_ALLOWED)
    return span


def view_of(lease: Lease) -> LeaseView:
    workload = workload_of(lease)
    return LeaseView(
        identity=IdentityFields.of(lease.identity),
        address=lease.address,
        state=lease.state,
        policy=DeletePolicy.IMMEDIATE
        if lease.policy is LeasePolicy.IMMEDIATE
        else DeletePolicy.NEVER,
        node=lease.node,
        eni=lease.eni,
        subnet=lease.subnet,
        pod_uid=lease.pod_uid,
        generation=lease.generation,
        since=lease.since,
        expires_at=lease.expires_at,
        ends_with=lease.policy,
        workload=None if workload is None else str(workload),
        attachment=_attachment_of(lease),
        bound_generation=lease.release_generation,
    )


def _attachment_of(lease: Lease) -> AttachmentFields | None:
    if lease.attachment is None:
        return None
    network, container_id, ifname = lease.attachment.split("/", 2)  # no part holds one
    return AttachmentFields(network=network, container_id=container_id, ifname=ifname)
