"""Leases as the objects that kubectl shows, and what has to change to show them (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from services.allocator.domain.leases import Lease
from shared.addresses import AddressState
from shared.annotations import PREFIX, DeletePolicy, NetworkMode
from shared.ids import Identity
from shared.kubernetes.watching import Key, Object, key_of

from .definitions import ADDRESS, API, CLAIM, GROUP, Definition

FINALIZER: Final = f"{GROUP}/lease"
IDENTITY: Final = f"{GROUP}/identity"
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


class Verb(StrEnum):
    CREATE = "create"
    PATCH = "patch"  # labels and spec
    PATCH_STATUS = "patch_status"
    LET_GO = "let_go"  # of the finalizer
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One call to the API server."""

    verb: Verb
    definition: Definition
    key: Key
    body: Object


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
    _put(spec, nodeName=lease.node, podUID=lease.pod_uid)
    status: dict[str, Any] = {
        "phase": _CLAIM_PHASE[lease.state],
        "vpcIP": str(lease.address),
        "subnetId": lease.subnet,
        "conditions": [_condition(lease)],
    }
    waits = lease.state in (AddressState.RETAINED, AddressState.PARKED)
    _put(
        status,
        eniId=lease.eni,
        releasedAt=_time(lease.since) if waits else None,
        expireAt=None if lease.expires_at is None else _time(lease.expires_at),
    )
    metadata = {
        "namespace": lease.identity.namespace,
        "name": claim_name(lease.identity),
        "labels": {} if lease.node is None else {NODE_LABEL: lease.node},
        "annotations": {IDENTITY: str(lease.identity)},
        "finalizers": [FINALIZER],
    }
    return _object(CLAIM, metadata, spec, status)


def address_of(lease: Lease) -> Object:
    node = lease.moving_to or lease.node
    status: dict[str, Any] = {
        "phase": _ADDRESS_PHASE[lease.state],
        "subnetId": lease.subnet,
    }
    _put(status, nodeName=node, eniId=lease.eni)
    metadata = {
        "name": str(lease.address),
        "labels": {} if node is None else {NODE_LABEL: node},
    }
    claim = f"{lease.identity.namespace}/{claim_name(lease.identity)}"
    return _object(ADDRESS, metadata, {"type": "Pod", "claim": claim}, status)


def plan(
    definition: Definition, wanted: Iterable[Object], found: Mapping[Key, Object]
) -> list[Change]:
    """What makes the objects as wanted. One that a person deletes is not held for its sake."""
    wanted_by_key = {key_of(each): each for each in wanted}
    changes: list[Change] = []
    for key, body in wanted_by_key.items():
        changes += _towards(definition, key, body, found.get(key))
    for key, body in found.items():
        if key in wanted_by_key:
            continue
        if FINALIZER in (body["metadata"].get("finalizers") or []):
            changes.append(_change(Verb.LET_GO, definition, key, body))
        if not body["metadata"].get("deletionTimestamp"):
            changes.append(_change(Verb.DELETE, definition, key, body))
    return changes


def being_deleted(found: Mapping[Key, Object]) -> Sequence[Key]:
    """Claims that a person wants to be gone."""
    return [key for key, body in found.items() if body["metadata"].get("deletionTimestamp")]


def _towards(
    definition: Definition, key: Key, body: Object, found: Object | None
) -> list[Change]:
    if found is None:
        return [_change(Verb.CREATE, definition, key, body)]
    changes = []
    labels = found["metadata"].get("labels") or {}
    is_labelled = body["metadata"]["labels"].items() <= labels.items()
    if found.get("spec") != body["spec"] or not is_labelled:
        changes.append(_change(Verb.PATCH, definition, key, body))
    if _without_times(found.get("status")) != _without_times(body["status"]):
        changes.append(_change(Verb.PATCH_STATUS, definition, key, body))
    return changes


def _without_times(status: Object | None) -> Object:
    """A condition's last transition is when it was first seen so, and no reason to write."""
    told = dict(status or {})
    told["conditions"] = [
        {k: v for k, v in each.items() if k != "lastTransitionTime"}
        for each in told.get("conditions") or []
    ]
    return told


def _change(verb: Verb, definition: Definition, key: Key, body: Object) -> Change:
    return Change(verb=verb, definition=definition, key=key, body=body)


def _object(
    definition: Definition, metadata: dict[str, Any], spec: Object, status: Object
) -> Object:
    return {
        "apiVersion": API,
        "kind": definition.kind,
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


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
        "lastTransitionTime": _time(lease.since),
    }


def _put(into: dict[str, Any], **values: object) -> None:
    """Those that are known: an absent field and null are not the same to a schema."""
    into.update({name: value for name, value in values.items() if value is not None})


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _go_duration(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}h{minutes}m{seconds}s"
