"""What is changed on a Kubernetes Node: our taint, our condition (pure).

A new node is tainted until it can serve. Once it could, its condition alone tells: a node that
is full must go on running pods that need no address.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from shared.annotations import PREFIX
from shared.kubernetes.watching import Object

from .shown import Serving, condition, conditions_by_type

TAINT: Final = PREFIX + "eni-ip-unavailable"
CONDITION: Final = "EniIpAvailable"


def node_path(name: str) -> str:
    return f"/api/v1/nodes/{name}"


def is_tainted(node: Object) -> bool:
    taints = (node.get("spec") or {}).get("taints") or []
    return any(each.get("key") == TAINT for each in taints)


def is_settled(node: Object) -> bool:
    """It could serve when it was last looked at, and nothing keeps pods away."""
    is_able = conditions_by_type(node).get(CONDITION, {}).get("status") == "True"
    return is_able and not is_tainted(node)


def taint_patch(node: Object, serving: Serving) -> Object | None:
    """A merge patch that holds for this version of the node only; None: nothing to change."""
    taints = (node.get("spec") or {}).get("taints") or []
    others = [each for each in taints if each.get("key") != TAINT]
    is_tainted = len(others) < len(taints)
    is_new = CONDITION not in conditions_by_type(node)
    if serving.is_able and is_tainted:
        wanted = others
    elif not serving.is_able and not is_tainted and is_new:
        wanted = [*others, {"key": TAINT, "effect": "NoSchedule"}]
    else:
        return None
    return {"metadata": _version(node), "spec": {"taints": wanted}}


def condition_patch(node: Object, serving: Serving, now: datetime) -> Object | None:
    """As above, of the node's status."""
    told = conditions_by_type(node)
    before = told.get(CONDITION, {})
    wanted = condition(CONDITION, serving, serving.message, now=now, before=before)
    if _without_heartbeat(before) == wanted:
        return None
    wanted["lastHeartbeatTime"] = wanted["lastTransitionTime"]
    others = [each for name, each in told.items() if name != CONDITION]
    return {"metadata": _version(node), "status": {"conditions": [*others, wanted]}}


def _without_heartbeat(told: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in told.items() if name != "lastHeartbeatTime"}


def _version(node: Object) -> Object:
    return {"resourceVersion": node["metadata"]["resourceVersion"]}
