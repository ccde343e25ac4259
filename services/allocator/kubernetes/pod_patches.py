"""What the mutating webhook adds to a pod, as JSON patch operations (pure).

Only ever added to what is there: a resource beside the container's others, a requirement in
every term of an affinity. Nothing of the pod's own is replaced.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Operation: TypeAlias = dict[str, Any]

_FIRST: Final = "/spec/containers/0/resources"
_NODE_AFFINITY: Final = "/spec/affinity/nodeAffinity"
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def resource_patch(spec: dict[str, Any], resource: str) -> list[Operation]:
    """Ask for one of the resource in the first container, unless some container does."""
    containers = spec.get("containers") or []
    if not containers or asks_for(spec, resource):
        return []
    resources = containers[0].get("resources")
    wanted = {resource: "1"}
    if not resources:
        return [_add(_FIRST, {"requests": wanted, "limits": wanted})]
    operations = []
    for part in ("requests", "limits"):
        if resources.get(part) is None:
            operations.append(_add(f"{_FIRST}/{part}", wanted))
        else:
            operations.append(_add(f"{_FIRST}/{part}/{_escaped(resource)}", "1"))
    return operations


def zone_patch(spec: dict[str, Any], label: str, zone: str) -> list[Operation]:
    """Let the pod be scheduled to that zone only: in every term, because terms are any-of."""
    wanted = {"key": label, "operator": "In", "values": [zone]}
    only = {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
    affinity = spec.get("affinity")
    if not affinity:
        return [_add("/spec/affinity", {"nodeAffinity": {_REQUIRED: only}})]
    of_nodes = affinity.get("nodeAffinity")
    if not of_nodes:
        return [_add(_NODE_AFFINITY, {_REQUIRED: only})]
    terms = (of_nodes.get(_REQUIRED) or {}).get("nodeSelectorTerms")
    if not terms:
        return [_add(f"{_NODE_AFFINITY}/{_REQUIRED}", only)]
    operations = []
    for number, term in enumerate(terms):
        at = f"{_NODE_AFFINITY}/{_REQUIRED}/nodeSelectorTerms/{number}/matchExpressions"
        expressions = term.get("matchExpressions")
        if not expressions:
            operations.append(_add(at, [wanted]))
        elif wanted not in expressions:  # a second call of the webhook adds nothing
            operations.append(_add(f"{at}/-", wanted))
    return operations


def asks_for(spec: dict[str, Any], resource: str) -> bool:
    """Whether any container does."""
    return any(
        resource in ((each.get("resources") or {}).get(part) or {})
        for each in spec.get("containers") or []
        for part in ("requests", "limits")
    )


def _add(path: str, value: Any) -> Operation:
    return {"op": "add", "path": path, "value": value}


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
