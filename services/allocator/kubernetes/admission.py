"""What the webhooks say of a pod: what is added to it, or why it is refused (pure).

A review is answered in the version it came in, so old and new API servers are served alike.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.annotations import (
    DELETE_POLICY,
    NETWORKS,
    RESOURCE_EXCLUSIVE,
    RESOURCE_OF_MODE,
    RESOURCE_SHARED,
    DeletePolicy,
    NetworkMode,
    PodNetwork,
    check_nomination,
    parse_pod_network,
)
from shared.errors import InvalidInput
from shared.ids import PodName
from shared.workloads import OwnerReference, check_nominating

from .pod_patches import Operation, asks_for, resource_patch, zone_patch

_RESOURCES: Final = (RESOURCE_SHARED, RESOURCE_EXCLUSIVE)


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Metadata(_Shape):
    name: str = ""
    namespace: str = ""
    annotations: dict[str, str] | None = None
    owner_references: Annotated[
        tuple[OwnerReference, ...], Field(alias="ownerReferences", max_length=64)
    ] = ()


class Pod(_Shape):
    """As much of a Pod object as it is judged by."""

    metadata: Metadata = Metadata()
    spec: dict[str, Any] = {}


class _Request(_Shape):
    uid: Annotated[str, Field(min_length=1, max_length=256)]
    operation: str = "CREATE"
    namespace: str = ""
    pod: Annotated[Pod | None, Field(alias="object")] = None


class Review(_Shape):
    """An AdmissionReview as the API server sends it."""

    api_version: Annotated[
        Literal["admission.k8s.io/v1", "admission.k8s.io/v1beta1"], Field(alias="apiVersion")
    ]
    kind: Literal["AdmissionReview"]
    request: _Request


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What a pod is judged by."""

    has_fixed_ips: bool | None  # None: not known now, so nothing is refused for it
    default_mode: NetworkMode | None  # of pods that name no network; None: they opt in
    zone_label: str


def parse_review(body: bytes) -> Review:
    """Raises InvalidInput naming the field."""
    try:
        return Review.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"]) or "body"
        raise InvalidInput.of(field, problem["input"], problem["msg"]) from error


def pod_name(review: Review) -> PodName | None:
    """None: it gets a random name after this."""
    pod = review.request.pod
    if pod is None or not pod.metadata.name:
        return None
    return PodName(review.request.namespace or pod.metadata.namespace, pod.metadata.name)


def network_of(review: Review, facts: ClusterFacts) -> PodNetwork | None:
    """What the pod asks for; None for one that is none of ours. Raises InvalidInput."""
    pod = review.request.pod
    return None if pod is None else pod_network(pod, facts)


def pod_network(pod: Pod, facts: ClusterFacts) -> PodNetwork | None:
    """As `network_of`, of a pod object by itself."""
    if pod.spec.get("hostNetwork"):
        return None
    network = parse_pod_network(pod.metadata.annotations or {})
    if network.mode is None and network.others:
        return None  # it names its networks, and none of ours is among them
    is_ours = (
        network.mode
        or facts.default_mode
        or any(asks_for(pod.spec, each) for each in _RESOURCES)
    )
    return network if is_ours else None


def additions(
    review: Review, network: PodNetwork | None, facts: ClusterFacts, zone: str | None
) -> list[Operation]:
    """The patch of a pod that is created; `zone` is where its fixed address is at home."""
    pod = review.request.pod
    if pod is None or network is None or review.request.operation != "CREATE":
        return []
    mode = network.mode or facts.default_mode
    patch = [] if mode is None else resource_patch(pod.spec, RESOURCE_OF_MODE[mode])
    if zone is not None:
        patch += zone_patch(pod.spec, facts.zone_label, zone)
    return patch


def check(review: Review, facts: ClusterFacts) -> None:
    """Raises InvalidInput: annotation, value, and what is allowed."""
    network = network_of(review, facts)
    pod = review.request.pod
    if network is None or pod is None:
        return
    if network.policy is DeletePolicy.NEVER and facts.has_fixed_ips is False:
        raise InvalidInput.of(
            DELETE_POLICY,
            DeletePolicy.NEVER.value,
            "Immediate: this cluster was enabled without fixed addresses",
        )
    mode = network.mode or facts.default_mode
    check_nomination(network, mode)
    if network.nominated is not None:
        meta = pod.metadata
        name = PodName(review.request.namespace or meta.namespace, meta.name or "(unnamed)")
        check_nominating(name, network.nominated, meta.owner_references)
    asked = [each for each in _RESOURCES if asks_for(pod.spec, each)]
    if mode is None and asked:
        raise InvalidInput(
            f"{NETWORKS}: is missing, but a container asks for {asked[0]}; allowed:"
            f" {' or '.join(NetworkMode)}"
        )
    for resource in asked:
        if mode is not None and resource != RESOURCE_OF_MODE[mode]:
            raise InvalidInput.of(
                f"{NETWORKS} beside the resource {resource}",
                mode.value,
                f"the resource {RESOURCE_OF_MODE[mode]}",
            )


def allowed(review: Review, patch: list[Operation]) -> dict[str, Any]:
    response: dict[str, Any] = {"uid": review.request.uid, "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
    return _answer(review, response)


def refused(review: Review, reason: str) -> dict[str, Any]:
    status = {"code": 422, "reason": "Invalid", "message": reason}
    return _answer(review, {"uid": review.request.uid, "allowed": False, "status": status})


def _answer(review: Review, response: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": review.api_version,
        "kind": "AdmissionReview",
        "response": response,
    }
