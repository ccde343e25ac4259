"""What has to change at the API server so that it shows what our books hold, and the writes.

The books are the truth: an object of ours that somebody changed is brought back to what they
say. An object without our mark is another component's, or a person's, and is never deleted:
that component may take the end of a claim for the end of its address.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from prometheus_client import Counter

from shared.errors import BerthError, NotFound

from .answers import ObjectConflict
from .client import KubernetesClient
from .definitions import API, GROUP, Definition
from .watching import Key, Object, key_of

log = logging.getLogger(__name__)

FINALIZER: Final = f"{GROUP}/lease"
MARK: Final = {"app.kubernetes.io/managed-by": "berth"}


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


def plan(
    definition: Definition, wanted: Iterable[Object], found: Mapping[Key, Object]
) -> list[Change]:
    """What makes the objects as wanted. One that a person deletes is not held for its sake."""
    wanted_by_key = {key_of(each): each for each in wanted}
    changes: list[Change] = []
    for key, body in wanted_by_key.items():
        changes += _towards(definition, key, body, found.get(key))
    for key, body in found.items():
        if key in wanted_by_key or not is_ours(body):
            continue
        if FINALIZER in (body["metadata"].get("finalizers") or []):
            changes.append(_change(Verb.LET_GO, definition, key, body))
        if not body["metadata"].get("deletionTimestamp"):
            changes.append(_change(Verb.DELETE, definition, key, body))
    return changes


def is_ours(found: Object) -> bool:
    """Whether we made it, or took it over."""
    metadata = found["metadata"]
    has_mark = MARK.items() <= (metadata.get("labels") or {}).items()
    return has_mark or FINALIZER in (metadata.get("finalizers") or [])


def _towards(
    definition: Definition, key: Key, body: Object, found: Object | None
) -> list[Change]:
    if found is None:
        return [_change(Verb.CREATE, definition, key, body)]
    changes = []
    metadata = _metadata_towards(body["metadata"], found["metadata"])
    if found.get("spec") != body["spec"] or metadata:
        patch = {"metadata": metadata, "spec": _merged_to(body["spec"], found.get("spec"))}
        changes.append(_change(Verb.PATCH, definition, key, patch))
    if _without_times(found.get("status")) != _without_times(body["status"]):
        patch = {"status": _merged_to(body["status"], found.get("status"))}
        changes.append(_change(Verb.PATCH_STATUS, definition, key, patch))
    return changes


def _metadata_towards(wanted: Object, found: Object) -> Object:
    """The labels and finalizers that are missing; empty when none is."""
    patch: Object = {}
    if not wanted["labels"].items() <= (found.get("labels") or {}).items():
        patch["labels"] = wanted["labels"]
    finalizers = found.get("finalizers") or []
    missing = [each for each in wanted.get("finalizers") or [] if each not in finalizers]
    if missing and not found.get("deletionTimestamp"):  # when it is set, none may be added
        patch["finalizers"] = finalizers + missing
        patch["resourceVersion"] = found["resourceVersion"]  # or somebody else's is lost
    return patch


def _merged_to(wanted: Object, found: object) -> Object:
    """The merge patch that leaves what is wanted, and nothing else."""
    patch = dict(wanted)
    for name, value in (found if isinstance(found, dict) else {}).items():
        if name not in wanted:
            patch[name] = None  # a merge patch keeps what it does not name
        elif isinstance(value, dict) and isinstance(wanted[name], dict):
            patch[name] = _merged_to(wanted[name], value)
    return patch


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


def object_of(
    definition: Definition, metadata: dict[str, Any], spec: Object, status: Object
) -> Object:
    return {
        "apiVersion": API,
        "kind": definition.kind,
        "metadata": metadata | {"labels": metadata["labels"] | MARK},
        "spec": spec,
        "status": status,
    }


def put_known(into: dict[str, Any], **values: object) -> None:
    """Those that are known: an absent field and null are not the same to a schema."""
    into.update({name: value for name, value in values.items() if value is not None})


def time_text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


class ObjectWriter:
    """Makes changes one after the other, no faster than it may."""

    def __init__(
        self, kubernetes: KubernetesClient, *, writes_per_s: float, counter: Counter
    ) -> None:
        self._kubernetes = kubernetes
        self._writes_per_s = writes_per_s
        self._counter = counter

    async def write(self, changes: Sequence[Change]) -> None:
        """What fails is compared again in the next round."""
        for change in changes:
            await self._apply(change)
            await asyncio.sleep(1 / self._writes_per_s)

    async def _apply(self, change: Change) -> None:
        try:
            await self._doer(change.verb)(change)
        except (ObjectConflict, NotFound):
            outcome = "changed"  # by somebody else, since: the next round compares again
        except BerthError as error:
            outcome = error.code.value
            log.warning(
                "an object was not written",
                extra={"verb": change.verb, "key": "/".join(change.key), "error": str(error)},
            )
        else:
            outcome = "ok"
        self._counter.labels(change.verb, outcome).inc()

    def _doer(self, verb: Verb) -> Callable[[Change], Awaitable[None]]:
        return {
            Verb.CREATE: self._create,
            Verb.PATCH: self._patch,
            Verb.PATCH_STATUS: self._patch_status,
            Verb.LET_GO: self._let_go,
            Verb.DELETE: self._delete,
        }[verb]

    async def _create(self, change: Change) -> None:
        await self._kubernetes.create(change.definition.path(change.key[0]), change.body)
        status = {"status": change.body["status"]}
        await self._kubernetes.patch(f"{self._path(change)}/status", status)

    async def _patch(self, change: Change) -> None:
        await self._kubernetes.patch(self._path(change), change.body)

    async def _patch_status(self, change: Change) -> None:
        await self._kubernetes.patch(f"{self._path(change)}/status", change.body)

    async def _let_go(self, change: Change) -> None:
        left = [each for each in change.body["metadata"]["finalizers"] if each != FINALIZER]
        version = change.body["metadata"]["resourceVersion"]
        body = {"metadata": {"finalizers": left, "resourceVersion": version}}
        await self._kubernetes.patch(self._path(change), body)

    async def _delete(self, change: Change) -> None:
        await self._kubernetes.delete(self._path(change), uid=change.body["metadata"]["uid"])

    def _path(self, change: Change) -> str:
        return change.definition.path(*change.key)
