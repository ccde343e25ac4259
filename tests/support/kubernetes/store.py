"""Objects with resource versions, and the history that watches read.

Every write has a version of its own, one row for all kinds. A write of an older version is a
conflict; a watch of a version that the history no longer holds is told that it is gone.
"""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.support.kubernetes.failures import (
    already_exists,
    conflict,
    gone,
    invalid,
    not_found,
)
from tests.support.kubernetes.kinds import (
    BUILT_IN,
    DEFINITIONS,
    PODS,
    Kind,
    Object,
    kinds_of_definition,
)
from tests.support.kubernetes.selectors import Matches

_HISTORY_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step of one object: `old` None, it is new; `new` None, it is gone."""

    version: int
    kind: Kind
    old: Object | None
    new: Object | None
    last: Object  # as a watch is to see it, the version of this change included

    def seen_by(self, matches: Matches) -> tuple[str, Object] | None:
        """As a watch with a selector sees it: leaving the selection is being deleted."""
        was = self.old is not None and matches(self.old)
        is_now = self.new is not None and matches(self.new)
        if was and is_now:
            return "MODIFIED", self.last
        if is_now:
            return "ADDED", self.last
        return ("DELETED", self.last) if was else None


class ObjectStore:
    def __init__(self) -> None:
        self.kinds: dict[tuple[str, str, str], Kind] = {}
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = {}
        self._history: deque[Change] = deque(maxlen=_HISTORY_MAX)
        self.forgotten = 0  # the newest version that the history does not hold
        self.version = 1
        self.changed = asyncio.Event()
        for kind in BUILT_IN:
            self._learn(kind)

    def _learn(self, kind: Kind) -> None:
        self.kinds[kind.group, kind.version, kind.plural] = kind
        self._objects.setdefault(kind, {})

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        try:
            return copy.deepcopy(self._objects[kind][namespace, name])
        except KeyError:
            raise not_found(f'{kind.name} "{name}"') from None

    def keys(self, kind: Kind) -> Collection[tuple[str, str]]:
        return self._objects[kind].keys()

    def list(self, kind: Kind, namespace: str, matches: Matches) -> list[Object]:
        """In order of namespace and name; an empty namespace: all of them."""
        return [
            copy.deepcopy(found)
            for (at, _), found in sorted(self._objects[kind].items())
            if namespace in ("", at) and matches(found)
        ]

    def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        new = copy.deepcopy(body)
        metadata = new.setdefault("metadata", {})
        if "generateName" in metadata and not metadata.get("name"):
            metadata["name"] = f"{metadata['generateName']}{uuid.uuid4().hex[:5]}"
        name = metadata.get("name")
        if not isinstance(name, str) or not name:
            raise invalid(f"{kind.kind}: metadata.name: a name is required")
        if (namespace, name) in self._objects[kind]:
            raise already_exists(f'{kind.name} "{name}"')
        new["apiVersion"], new["kind"] = kind.api_version, kind.kind
        if kind.is_namespaced:
            metadata["namespace"] = namespace
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = _now()
        metadata["generation"] = 1
        if kind.has_status and kind is not PODS:
            new.pop("status", None)
        if kind is DEFINITIONS:
            for each in kinds_of_definition(new):
                self._learn(each)
        return self._put(kind, (namespace, name), None, new)

    def replace(
        self, kind: Kind, namespace: str, name: str, body: Object, *, subresource: str = ""
    ) -> Object:
        """A write of the object leaves its status alone, and the other way round."""
        old = self.get(kind, namespace, name)
        sent = body.get("metadata", {})
        version, uid = sent.get("resourceVersion"), sent.get("uid")
        if version and version != old["metadata"]["resourceVersion"]:
            raise conflict(f'{kind.name} "{name}"')
        if uid and uid != old["metadata"]["uid"]:
            raise conflict(f'{kind.name} "{name}"')
        new = _written(kind, old, copy.deepcopy(body), subresource)
        if _without_version(new) == _without_version(old):
            return old
        key = (namespace, name)
        was_held = bool(old["metadata"].get("finalizers"))
        is_ending = new["metadata"].get("deletionTimestamp") is not None
        if was_held and is_ending and not new["metadata"].get("finalizers"):
            return self._drop(kind, key, old, new)
        return self._put(kind, key, old, new)

    def change(
        self, kind: Kind, namespace: str, name: str, how: Callable[[Object], None]
    ) -> Object:
        """A write by the tests themselves: status and all, of the newest version."""
        old = self.get(kind, namespace, name)
        new = copy.deepcopy(old)
        how(new)
        return self._put(kind, (namespace, name), old, new)

    def delete(self, kind: Kind, namespace: str, name: str, *, grace_s: int | None) -> Object:
        """Gone at once, or only marked: with finalizers, and a pod that a kubelet must end."""
        old = self.get(kind, namespace, name)
        waits = kind is PODS and old["spec"].get("nodeName") and grace_s != 0
        if not old["metadata"].get("finalizers") and not waits:
            return self._drop(kind, (namespace, name), old, old)
        if old["metadata"].get("deletionTimestamp"):
            return old
        new = copy.deepcopy(old)
        new["metadata"]["deletionTimestamp"] = _now()
        if waits:
            new["metadata"]["deletionGracePeriodSeconds"] = 30 if grace_s is None else grace_s
        return self._put(kind, (namespace, name), old, new)

    def compact(self) -> None:
        """Forget the history: watches of older versions are gone."""
        self._history.clear()
        self.forgotten = self.version

    def since(self, kind: Kind, version: int) -> Iterable[Change]:
        """What came after a version, of one kind. Raises 410 when that is no longer known."""
        if version < self.forgotten:
            raise gone(version, self.forgotten)
        return [each for each in self._history if each.version > version and each.kind == kind]

    def _put(self, kind: Kind, key: tuple[str, str], old: Object | None, new: Object) -> Object:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        self._objects[kind][key] = new
        self._note(Change(version=self.version, kind=kind, old=old, new=new, last=new))
        return copy.deepcopy(new)

    def _drop(self, kind: Kind, key: tuple[str, str], old: Object, last: Object) -> Object:
        del self._objects[kind][key]
        self.version += 1
        last = copy.deepcopy(last)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._note(Change(version=self.version, kind=kind, old=old, new=None, last=last))
        return copy.deepcopy(last)

    def _note(self, change: Change) -> None:
        if len(self._history) == _HISTORY_MAX:
            self.forgotten = self._history[0].version
        self._history.append(change)
        self.changed.set()
        self.changed = asyncio.Event()


def _written(kind: Kind, old: Object, sent: Object, subresource: str) -> Object:
    """What a client may change of an object, over what it may not."""
    if subresource == "status":
        return {**old, "status": sent.get("status", {})}
    new = {**sent, "apiVersion": old["apiVersion"], "kind": old["kind"]}
    kept = ("uid", "creationTimestamp", "namespace", "name", "deletionTimestamp", "generation")
    metadata = {
        **sent.get("metadata", {}),
        "resourceVersion": old["metadata"]["resourceVersion"],
    }
    for each in kept:
        metadata.pop(each, None)
        if each in old["metadata"]:
            metadata[each] = old["metadata"][each]
    new["metadata"] = metadata
    if kind.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    if new.get("spec") != old.get("spec"):
        metadata["generation"] = old["metadata"]["generation"] + 1
    return new


def _without_version(found: Object) -> Object:
    metadata = {k: v for k, v in found["metadata"].items() if k != "resourceVersion"}
    return {**found, "metadata": metadata}


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
