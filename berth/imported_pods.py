"""Pods of a cluster that have addresses now, as an import needs them (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from shared.annotations import DELETE_POLICY, DeletePolicy, PodNetwork, parse_pod_network
from shared.errors import InvalidInput
from shared.workloads import (
    COUNTED_KINDS,
    UNCOUNTED_KINDS,
    OwnerReference,
    controller_of,
)

_ENDED: Final = ("Succeeded", "Failed")  # such a pod holds no address
_OWNERS: Final = TypeAdapter(tuple[OwnerReference, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePod:
    name: str  # NAMESPACE/NAME
    node: str
    address: IPv4Address
    annotations: Mapping[str, str]
    owners: tuple[OwnerReference, ...] = ()

    @property
    def is_fixed(self) -> bool:
        """Whether it asks to keep its address."""
        return self.annotations.get(DELETE_POLICY) == DeletePolicy.NEVER

    def check_fixed(self) -> PodNetwork:
        """What it asks for. Raises InvalidInput where its name does not come back."""
        controller = controller_of(self.owners)
        if controller is not None and controller.kind in UNCOUNTED_KINDS | COUNTED_KINDS:
            raise InvalidInput(
                f"its {controller.kind} {controller.name} names its pods at random: none with"
                " this name comes back"
            )
        return parse_pod_network(self.annotations)


def live_pod(found: Mapping[str, Any]) -> LivePod | None:
    """None: it has ended, has no address yet, or has its node's."""
    metadata = found["metadata"]
    spec, status = found.get("spec") or {}, found.get("status") or {}
    if spec.get("hostNetwork") or status.get("phase") in _ENDED:
        return None
    try:
        address = IPv4Address(str(status.get("podIP") or ""))
        owners = _OWNERS.validate_python(metadata.get("ownerReferences") or ())
    except (AddressValueError, ValidationError):  # IPv6: none of ours
        return None
    return LivePod(
        name=f"{metadata.get('namespace', '')}/{metadata.get('name', '')}",
        node=str(spec.get("nodeName") or ""),
        address=address,
        annotations=metadata.get("annotations") or {},
        owners=owners,
    )
