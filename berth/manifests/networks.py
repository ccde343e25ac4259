"""What a pod asks of its network, held together: annotation, resource, and where they must be.

A pod with the annotation and without the resource would never be counted against a node's
addresses, and one with the resource and without the annotation would wait for a network that
nobody gives it; users meet both as pods that hang, so both are refused here.
"""

from __future__ import annotations

from typing import Final

from shared.annotations import (
    NETWORKS,
    RESOURCE_EXCLUSIVE,
    RESOURCE_OF_MODE,
    RESOURCE_SHARED,
    NetworkMode,
    PodNetwork,
    check_nomination,
    parse_pod_network,
)
from shared.errors import InvalidInput

from .models import MetadataShape, PodBodyShape

_RESOURCES: Final = (RESOURCE_SHARED, RESOURCE_EXCLUSIVE)


def pod_network(metadata: MetadataShape, spec: PodBodyShape, *, at: str) -> PodNetwork:
    """The network of a pod whose metadata and spec lie below `at` in the document."""
    prefix = f"{at}." if at else ""
    try:
        network = parse_pod_network(metadata.annotations)
        check_nomination(network, network.mode)
    except InvalidInput as error:
        raise InvalidInput(f"{prefix}metadata.annotations: {error}") from error

    spec_path = f"{prefix}spec"
    asked = [name for name in _RESOURCES if _containers_with(spec, name)]
    if network.mode is None:
        if asked:
            raise InvalidInput(
                f"{prefix}metadata.annotations: {NETWORKS} is missing, but a container asks "
                f"for {asked[0]}; allowed: {' or '.join(NetworkMode)}"
            )
        return network

    wanted = RESOURCE_OF_MODE[network.mode]
    _check_host_network(spec, spec_path)
    _check_others(asked, wanted, network.mode, spec_path)
    _check_resource(spec, wanted, spec_path)
    return network


def _containers_with(spec: PodBodyShape, resource: str) -> list[int]:
    return [
        index
        for index, container in enumerate(spec.containers)
        if resource in container.resources.requests or resource in container.resources.limits
    ]


def _check_host_network(spec: PodBodyShape, path: str) -> None:
    if spec.host_network:
        raise InvalidInput.of(
            f"{path}.hostNetwork",
            True,
            f"false or absent beside {NETWORKS}, as such a pod has its node's address",
        )


def _check_others(asked: list[str], wanted: str, mode: NetworkMode, path: str) -> None:
    others = [name for name in asked if name != wanted]
    if others:
        raise InvalidInput(
            f"{path}.containers: {others[0]} does not belong to {NETWORKS}: {mode}; "
            f"allowed: {wanted}"
        )


def _check_resource(spec: PodBodyShape, resource: str, path: str) -> None:
    holders = _containers_with(spec, resource)
    if not holders:
        raise InvalidInput(
            f"{path}.containers[0].resources: {resource} is missing, but the pod is annotated "
            f'{NETWORKS}; allowed: "1"'
        )
    if len(holders) > 1:
        raise InvalidInput(
            f"{path}.containers: {resource} is asked for by {len(holders)} containers; "
            "allowed: one, as a pod has one such interface"
        )
    container = spec.containers[holders[0]]
    resources_path = f"{path}.containers[{holders[0]}].resources"
    _check_quantity(container.resources.limits, resource, f"{resources_path}.limits")
    if resource in container.resources.requests:  # else the API server takes it from the limits
        _check_quantity(container.resources.requests, resource, f"{resources_path}.requests")


def _check_quantity(quantities: dict[str, object], resource: str, path: str) -> None:
    if resource not in quantities:
        raise InvalidInput(f'{path}: {resource} is missing; allowed: "1"')
    value = quantities[resource]
    is_one = value == "1" or (isinstance(value, int) and value == 1 and value is not True)
    if not is_one:
        raise InvalidInput.of(f"{path}[{resource}]", value, '"1"')
