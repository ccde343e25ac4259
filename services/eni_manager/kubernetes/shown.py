"""A node's book as the objects that kubectl shows (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.eni_manager.domain.records import EniRecord, Hold, NodeImage
from shared.annotations import NetworkMode
from shared.kubernetes.definitions import ENI, NODE
from shared.kubernetes.mirroring import object_of, put_known, time_text
from shared.kubernetes.watching import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Whether a node can give pods addresses, and in what words that is told."""

    is_able: bool
    reason: str  # one word for programs
    message: str


NOT_JOINED = Serving(
    is_able=False,
    reason="NotJoined",
    message="its agent has not registered yet: see the pod of berth-node-agent on the node",
)


def serving_of(image: NodeImage, *, keeps_warm: bool) -> Serving:
    """`keeps_warm`: addresses are there before pods ask for them."""
    node = image.node
    if not node.has_joined:
        return Serving(
            is_able=False,
            reason=node.problem_code or "Joining",
            message=node.problem or "its instance is being looked at",
        )
    has_stock = bool(image.whole()) or any(
        each.hold is Hold.GIVEN for each in image.addresses.values()
    )
    if has_stock or (not keeps_warm and node.problem is None):
        return Serving(
            is_able=True,
            reason=node.problem_code or "Serving",
            message=node.problem or node.warning or "pods can have addresses here",
        )
    return Serving(
        is_able=False,
        reason=node.problem_code or "Growing",
        message=node.problem or "its first addresses are on their way",
    )


def enis_of(image: NodeImage) -> list[Object]:
    """All but the instance's own."""
    return [_eni(image, each) for each in image.enis.values() if not each.is_primary]


def _eni(image: NodeImage, eni: EniRecord) -> Object:
    mode = NetworkMode.EXCLUSIVE if eni.is_exclusive else NetworkMode.SHARED
    carried = [each for each in image.on(eni.eni) if each.address != eni.primary_address]
    status: dict[str, Any] = {
        "phase": "Removing" if eni.eni in image.leaving() else "Attached",
        "type": mode.value,
        "subnetId": eni.subnet,
        "macAddress": eni.mac,
        "primaryIP": str(eni.primary_address),
        "addresses": len(carried),
        "addressesMax": 0 if eni.is_exclusive else image.node.addresses_max or 0,
    }
    metadata = {"name": eni.eni, "labels": {}}
    return object_of(ENI, metadata, {"nodeName": image.node.node}, status)


def node_of(
    image: NodeImage, serving: Serving, *, retry: timedelta, now: datetime, found: Object | None
) -> Object:
    node = image.node
    spec: dict[str, Any] = {"instanceId": node.instance}
    put_known(spec, zone=node.zone)
    status: dict[str, Any] = {
        "eniInfos": [
            {
                "eniId": each.eni,
                "subnetCIDR": str(each.cidr),
                "addresses": len(image.on(each.eni)),
            }
            for each in sorted(image.enis.values(), key=lambda it: it.eni)
            if not each.is_primary
        ],
    }
    put_known(status, enisMax=node.enis_max, addressesPerENI=node.addresses_max)
    message = serving.message
    if node.problem is not None:
        seconds = math.ceil(retry.total_seconds())
        message += f"; tried again within {seconds} s"
        error: dict[str, Any] = {"retryWithinSeconds": seconds}
        put_known(error, code=node.problem_code, requestId=node.problem_request)
        status["lastError"] = error
    before = conditions_by_type(found).get("Ready", {})
    status["conditions"] = [condition("Ready", serving, message, now=now, before=before)]
    return object_of(NODE, {"name": node.node, "labels": {}}, spec, status)


def condition(
    kind: str, serving: Serving, message: str, *, now: datetime, before: Mapping[str, Any]
) -> Object:
    """`before`: the same one as it is told now; its time is when it last became so."""
    status = "True" if serving.is_able else "False"
    since = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": kind,
        "status": status,
        "reason": serving.reason,
        "message": message,
        "lastTransitionTime": since or time_text(now),
    }


def conditions_by_type(found: Object | None) -> dict[str, Object]:
    told = ((found or {}).get("status") or {}).get("conditions") or []
    return {each["type"]: each for each in told}
