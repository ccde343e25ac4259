"""Kubernetes events of ours: what happened to an object, for `kubectl describe`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from .mirroring import time_text
from .watching import Object

_CLUSTER_WIDE: Final = "default"  # where events about objects without a namespace are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What an event says."""

    reason: str  # one word for programs
    message: str
    is_warning: bool
    at: datetime
    by: str  # which service
    key: str  # two with the same key, about the same object, are one event


def events_path(about: Object) -> str:
    return f"/api/v1/namespaces/{about['namespace'] or _CLUSTER_WIDE}/events"


def reference(api_version: str, kind: str, found: Object) -> Object:
    """How an event names what it is about."""
    metadata = found["metadata"]
    return {
        "apiVersion": api_version,
        "kind": kind,
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def event_object(told: Told, about: Object) -> Object:
    digest = hashlib.sha256(told.key.encode()).hexdigest()[:16]
    at = time_text(told.at)
    namespace = about["namespace"] or _CLUSTER_WIDE
    return {
        "metadata": {"name": f"{about['name']}.{digest}", "namespace": namespace},
        "involvedObject": about,
        "reason": told.reason,
        "message": told.message,
        "type": "Warning" if told.is_warning else "Normal",
        "source": {"component": told.by},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
