"""The custom resources, as Kubernetes is told of them; `make generate` writes them to deploy/.

They show what the store holds and are never the truth. Names are those of the closed component,
so that a person's habits and scripts go on working.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

GROUP: Final = "networking.tke.cloud.tencent.com"
VERSION: Final = "v1"
API: Final = f"{GROUP}/{VERSION}"
IDENTITY: Final = f"{GROUP}/identity"  # annotation of a claim: whose it is, in our words
_ROOT: Final = f"/apis/{GROUP}/{VERSION}"

Schema: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One kind: its names, what a person may write of it, and what `kubectl get` shows."""

    plural: str
    kind: str
    short: str
    is_namespaced: bool
    what: str
    spec: Schema
    status: Schema
    columns: tuple[tuple[str, str], ...]  # heading, JSON path

    def path(self, namespace: str = "", name: str = "") -> str:
        place = f"/namespaces/{namespace}" if namespace else ""
        return f"{_ROOT}{place}/{self.plural}" + (f"/{name}" if name else "")


def _text(what: str) -> Schema:
    return {"type": "string", "description": what}


def _count(what: str) -> Schema:
    return {"type": "integer", "minimum": 0, "description": what}


_TIME: Final = {"type": "string", "format": "date-time"}
_CONDITIONS: Final[Schema] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["type", "status"],
        "properties": {
            "type": _text("What is said of, such as Ready."),
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "reason": _text("One word for programs."),
            "message": _text("A sentence for people: numbers, and what to do."),
            "lastTransitionTime": _TIME,
        },
    },
}

CLAIM: Final = Definition(
    plural="vpcipclaims",
    kind="VpcIPClaim",
    short="vipc",
    is_namespaced=True,
    what="A pod name's right to an address. Deleting it gives a retained address back.",
    spec={
        "type": {"type": "string", "enum": ["tke-route-eni", "tke-direct-eni"]},
        "deletePolicy": {"type": "string", "enum": ["Immediate", "Never"]},
        "expiredDuration": _text("How long it is kept once its pod went; absent: for ever."),
        "nodeName": _text("The node that its pod runs on, or ran on last."),
        "podUID": _text("The pod that has it, or had it last."),
    },
    status={
        "phase": _text("Bound, Retained, Moving, Parked or Expired."),
        "vpcIP": _text("The address."),
        "eniId": _text("The ENI that carries it."),
        "subnetId": _text("The subnet it belongs to, and cannot leave."),
        "releasedAt": _TIME,
        "expireAt": _TIME,
        "conditions": _CONDITIONS,
    },
    columns=(
        ("Address", ".status.vpcIP"),
        ("Phase", ".status.phase"),
        ("Node", ".spec.nodeName"),
        ("Policy", ".spec.deletePolicy"),
        ("Expires", ".status.expireAt"),
    ),
)

ADDRESS: Final = Definition(
    plural="vpcips",
    kind="VpcIP",
    short="vip",
    is_namespaced=False,
    what="One fixed address of a container subnet.",
    spec={
        "type": {"type": "string", "enum": ["Pod"]},
        "claim": _text("NAMESPACE/NAME of its VpcIPClaim."),
    },
    status={
        "phase": _text("Assigned, Attaching, Retained, Parked or Releasing."),
        "nodeName": _text("The node it is at, or on its way to."),
        "eniId": _text("The ENI that carries it."),
        "subnetId": _text("The subnet it belongs to."),
    },
    columns=(
        ("Phase", ".status.phase"),
        ("Claim", ".spec.claim"),
        ("Node", ".status.nodeName"),
        ("Eni", ".status.eniId"),
    ),
)

ENI: Final = Definition(
    plural="vpcenis",
    kind="VpcENI",
    short="veni",
    is_namespaced=False,
    what="One ENI that carries pods' addresses.",
    spec={"nodeName": _text("The node it is attached to.")},
    status={
        "phase": _text("Attached, or Removing."),
        "type": _text("tke-route-eni: pods share it; tke-direct-eni: one pod has it."),
        "subnetId": _text("The subnet it is in."),
        "macAddress": _text("What its link is found by."),
        "primaryIP": _text("Its own address."),
        "addresses": _count("Secondary addresses it carries."),
        "addressesMax": _count("Secondary addresses that fit."),
    },
    columns=(
        ("Node", ".spec.nodeName"),
        ("Phase", ".status.phase"),
        ("Subnet", ".status.subnetId"),
        ("Used", ".status.addresses"),
        ("Max", ".status.addressesMax"),
    ),
)

NODE: Final = Definition(
    plural="nodeeniconfigs",
    kind="NodeENIConfig",
    short="nec",
    is_namespaced=False,
    what="What a node has, and why it can get no more, if so.",
    spec={
        "instanceId": _text("The cloud's name of the machine."),
        "zone": _text("The zone it is in."),
    },
    status={
        "eniInfos": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "eniId": _text("The ENI."),
                    "subnetCIDR": _text("Its subnet's network."),
                    "addresses": _count("Secondary addresses it carries."),
                },
            },
        },
        "enisMax": _count("ENIs that fit beside the machine's own."),
        "addressesPerENI": _count("Secondary addresses that fit on an ENI."),
        "lastError": {
            "type": "object",
            "properties": {
                "code": _text("The cloud's error code, or Berth's own."),
                "requestId": _text("By which the cloud finds the call."),
                "retryWithinSeconds": _count("It is tried again within this time."),
            },
        },
        "conditions": _CONDITIONS,
    },
    columns=(
        ("Instance", ".spec.instanceId"),
        ("Zone", ".spec.zone"),
        ("Max", ".status.enisMax"),
        ("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        ("Reason", '.status.conditions[?(@.type=="Ready")].message'),
    ),
)

DEFINITIONS: Final = (CLAIM, ADDRESS, ENI, NODE)


def manifests() -> list[Schema]:
    """A CustomResourceDefinition for each."""
    return [_manifest(each) for each in DEFINITIONS]


def _manifest(definition: Definition) -> Schema:
    schema = {
        "type": "object",
        "description": definition.what,
        "properties": {
            "spec": {"type": "object", "properties": definition.spec},
            "status": {"type": "object", "properties": definition.status},
        },
    }
    columns = [
        {"name": name, "type": "string", "jsonPath": path} for name, path in definition.columns
    ]
    age = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{definition.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if definition.is_namespaced else "Cluster",
            "names": {
                "plural": definition.plural,
                "singular": definition.kind.lower(),
                "kind": definition.kind,
                "shortNames": [definition.short],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [*columns, age],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }
