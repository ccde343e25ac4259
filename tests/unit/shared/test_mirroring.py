"""What is written so that objects show what our books hold."""

from __future__ import annotations

import copy
from typing import Any

from shared.kubernetes.definitions import CLAIM
from shared.kubernetes.mirroring import FINALIZER, MARK, Change, Verb, object_of, plan
from shared.kubernetes.watching import Object
from tests.support.kubernetes.patches import merge

KEY = ("shop", "web-0")


def shown(status: dict[str, Any], **spec: Any) -> Object:
    metadata = {"namespace": "shop", "name": "web-0", "labels": {}, "finalizers": [FINALIZER]}
    return object_of(CLAIM, metadata, spec, status)


def applied(found: Object, changes: list[Change]) -> Object:
    for change in changes:
        assert change.verb in (Verb.PATCH, Verb.PATCH_STATUS)
        found = merge(found, change.body)
    return found


def kept(body: Object, **metadata: Any) -> Object:
    """As the API server has it."""
    stored = copy.deepcopy(body)
    stored["metadata"] |= {"resourceVersion": "7", "uid": "u-1"} | metadata
    return stored


def test_a_field_that_is_no_longer_said_is_taken_out_once() -> None:
    before = {"phase": "Parked", "lastError": {"code": "A", "requestId": "r"}, "at": "now"}
    found = kept(shown(before, type="shared", nodeName="node-1"))
    wanted = shown({"phase": "Bound", "lastError": {"code": "B"}}, type="shared")

    after = applied(found, plan(CLAIM, [wanted], {KEY: found}))

    assert (after["spec"], after["status"]) == (wanted["spec"], wanted["status"])
    assert plan(CLAIM, [wanted], {KEY: after}) == []


def test_only_what_bears_our_mark_is_deleted() -> None:
    ours = kept(shown({}), finalizers=[])
    held = kept(shown({}), labels={})
    theirs = kept(shown({}), labels={"app.kubernetes.io/managed-by": "x"}, finalizers=["x"])
    found = {("shop", "a"): ours, ("shop", "b"): held, ("shop", "c"): theirs}

    changes = plan(CLAIM, [], found)

    assert [(each.verb, each.key[1]) for each in changes] == [
        (Verb.DELETE, "a"),
        (Verb.LET_GO, "b"),
        (Verb.DELETE, "b"),
    ]


def test_an_object_taken_over_gets_our_mark_and_keeps_the_others() -> None:
    wanted = shown({"phase": "Parked"}, type="shared")
    found = kept(wanted, labels={"theirs": "yes"}, finalizers=["theirs"])

    changes = plan(CLAIM, [wanted], {KEY: found})

    (change,) = changes
    assert change.body["metadata"]["resourceVersion"] == "7"
    after = applied(found, changes)
    assert after["metadata"]["labels"] == MARK | {"theirs": "yes"}
    assert after["metadata"]["finalizers"] == ["theirs", FINALIZER]
    assert plan(CLAIM, [wanted], {KEY: after}) == []


def test_an_object_that_is_being_deleted_gets_no_finalizer() -> None:
    wanted = shown({"phase": "Parked"}, type="shared")
    found = kept(wanted, finalizers=["theirs"], deletionTimestamp="2026-01-01T00:00:00Z")

    assert plan(CLAIM, [wanted], {KEY: found}) == []
