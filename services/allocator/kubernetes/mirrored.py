"""Leases as the objects that kubectl shows (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from services.allocator.domain.leases import Lease
from shared.addresses import AddressState
from shared.annotations import PREFIX, DeletePolicy, NetworkMode
from shared.ids import Identity
from shared.kubernetes.definitions import ADDRESS, CLAIM, IDENTITY
from shared.kubernetes.mirroring import FINALIZER, object_of, put_known, time_text
from shared.kubernetes.watching import Key, Object

NODE_LABEL: Final = f"{PREFIX}node-name"
_DEFAULT_NETWORK: Final = "berth"  # a claim of it has its pod's name, and no more
_CLAIM_PHASE: Final = {
    AddressState.BOUND_FIXED: "Bound",
    AddressState.RETAINED: "Retained",
    AddressState.MOVING: "Moving",
    AddressState.PARKED: "Parked",
    AddressState.EXPIRED: "Expired",
}
_ADDRESS_PHASE: Final = {
    AddressState.BOUND_FIXED: "Assigned",
    AddressState.RETAINED: "Retained",
    AddressState.MOVING: "Attaching",
    AddressState.PARKED: "Parked",
    AddressState.EXPIRED: "Releasing",
}


def claim_name(identity: Identity) -> str:
    """A name that Kubernetes takes: the pod's, or the workload's with the slot's number."""
    workload = identity.slot_workload
    if workload is None:
        name = identity.name
    else:
        number = identity.name.rpartition("#")[2]
        name = f"{workload.name}.{workload.kind.lower()}.{number}"
    return name if identity.network == _DEFAULT_NETWORK else f"{name}.{identity.network}"


def claim_of(lease: Lease) -> Object:
    mode = NetworkMode.EXCLUSIVE if lease.is_exclusive else NetworkMode.SHARED
    spec: dict[str, Any] = {"type": mode.value, "deletePolicy": DeletePolicy.NEVER.value}
    if lease.expires_after is not None:
        spec["expiredDuration"] = _go_duration(lease.expires_after)
    put_known(spec, nodeName=lease.node, podUID=lease.pod_uid)
    status: dict[str, Any] = {
        "phase": _CLAIM_PHASE[lease.state],
        "vpcIP": str(lease.address),
        "subnetId": lease.subnet,
        "conditions": [_condition(lease)],
    }
    waits = lease.state in (AddressState.RETAINED, AddressState.PARKED)
    put_known(
        status,
        eniId=lease.eni,
        releasedAt=time_text(lease.since) if waits else None,
        expireAt=None if lease.expires_at is None else time_text(lease.expires_at),
    )
    metadata = {
        "namespace": lease.identity.namespace,
        "name": claim_name(lease.identity),
        "labels": {} if lease.node is None else {NODE_LABEL: lease.node},
        "annotations": {IDENTITY: str(lease.identity)},
        "finalizers": [FINALIZER],
    }
    return object_of(CLAIM, metadata, spec, status)


def address_of(lease: Lease) -> Object:
    node = lease.moving_to or lease.node
    status: dict[str, Any] = {
        "phase": _ADDRESS_PHASE[lease.state],
        "subnetId": lease.subnet,
    }
    put_known(status, nodeName=node, eniId=lease.eni)
    metadata = {
        "name": str(lease.address),
        "labels": {} if node is None else {NODE_LABEL: node},
    }
    claim = f"{lease.identity.namespace}/{claim_name(lease.identity)}"
    return object_of(ADDRESS, metadata, {"type": "Pod", "claim": claim}, status)


def being_deleted(found: Mapping[Key, Object]) -> Sequence[Key]:
    """Claims that a person wants to be gone."""
    return [key for key, body in found.items() if body["metadata"].get("deletionTimestamp")]


def _condition(lease: Lease) -> Object:
    is_ready = lease.state is AddressState.BOUND_FIXED
    message = {
        AddressState.BOUND_FIXED: f"{lease.address} is used by its pod on node {lease.node}",
        AddressState.RETAINED: f"{lease.address} waits for the pod's return",
        AddressState.MOVING: f"{lease.address} is on its way to node {lease.moving_to}",
        AddressState.PARKED: f"{lease.address} is held where no node uses it",
        AddressState.EXPIRED: f"{lease.address} is being given back",
    }[lease.state]
    return {
        "type": "Ready",
        "status": "True" if is_ready else "False",
        "reason": _CLAIM_PHASE[lease.state],
        "message": message,
        "lastTransitionTime": time_text(lease.since),
    }


def _go_duration(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}h{minutes}m{seconds}s"
