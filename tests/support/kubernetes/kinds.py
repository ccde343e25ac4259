"""The kinds that the API server knows; definitions of custom resources add theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    group: str  # "" is the core group
    version: str
    plural: str
    kind: str
    is_namespaced: bool
    has_status: bool = True  # as a subresource: a write of the object leaves it alone

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def name(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _kind(
    group: str, plural: str, kind: str, *, is_namespaced: bool = True, has_status: bool = True
) -> Kind:
    return Kind(
        group=group,
        version="v1",
        plural=plural,
        kind=kind,
        is_namespaced=is_namespaced,
        has_status=has_status,
    )


PODS: Final = _kind("", "pods", "Pod")
NODES: Final = _kind("", "nodes", "Node", is_namespaced=False)
NAMESPACES: Final = _kind("", "namespaces", "Namespace", is_namespaced=False)
EVENTS: Final = _kind("", "events", "Event", has_status=False)
SECRETS: Final = _kind("", "secrets", "Secret", has_status=False)
CONFIG_MAPS: Final = _kind("", "configmaps", "ConfigMap", has_status=False)
STATEFUL_SETS: Final = _kind("apps", "statefulsets", "StatefulSet")
DEPLOYMENTS: Final = _kind("apps", "deployments", "Deployment")
REPLICA_SETS: Final = _kind("apps", "replicasets", "ReplicaSet")
LEASES: Final = _kind("coordination.k8s.io", "leases", "Lease", has_status=False)
MUTATING_WEBHOOKS: Final = _kind(
    "admissionregistration.k8s.io",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    is_namespaced=False,
    has_status=False,
)
VALIDATING_WEBHOOKS: Final = _kind(
    "admissionregistration.k8s.io",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    is_namespaced=False,
    has_status=False,
)
DEFINITIONS: Final = _kind(
    "apiextensions.k8s.io",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    is_namespaced=False,
)

BUILT_IN: Final = (
    PODS,
    NODES,
    NAMESPACES,
    EVENTS,
    SECRETS,
    CONFIG_MAPS,
    STATEFUL_SETS,
    DEPLOYMENTS,
    REPLICA_SETS,
    LEASES,
    MUTATING_WEBHOOKS,
    VALIDATING_WEBHOOKS,
    DEFINITIONS,
)


def kinds_of_definition(definition: Object) -> list[Kind]:
    """The kinds, one per served version, that a CustomResourceDefinition brings."""
    spec = definition["spec"]
    return [
        Kind(
            group=spec["group"],
            version=version["name"],
            plural=spec["names"]["plural"],
            kind=spec["names"]["kind"],
            is_namespaced=spec["scope"] == "Namespaced",
            has_status="status" in version.get("subresources", {}),
        )
        for version in spec["versions"]
        if version.get("served", True)
    ]
