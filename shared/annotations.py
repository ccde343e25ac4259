"""The annotations and resources users put on pods, and how each value is checked.

Names and values are those of TKE's VPC-CNI mode; `parse_pod_network` is the only reader. Their
prefix is the whole process's: from its environment, before anything else is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from shared.errors import InvalidInput
from shared.ids import SubnetId
from shared.network_names import parse_network_names

PREFIX_VARIABLE: Final = "BERTH_ANNOTATION_PREFIX"
PREFIX_DEFAULT: Final = "tke.cloud.tencent.com"
PREFIX: Final = os.environ.get(PREFIX_VARIABLE, PREFIX_DEFAULT) + "/"
NETWORKS: Final = PREFIX + "networks"
DELETE_POLICY: Final = PREFIX + "vpc-ip-claim-delete-policy"
EXPIRED_DURATION: Final = PREFIX + "claim-expired-duration"
NOMINATED_IP: Final = PREFIX + "nominated-vpc-ip"
NOMINATED_SUBNETS: Final = PREFIX + "nominated-eni-subnets"
RESOURCE_SHARED: Final = PREFIX + "eni-ip"
RESOURCE_EXCLUSIVE: Final = PREFIX + "direct-eni"

OTHER_NETWORKS: Final = ("tke-bridge", "tke-route")  # of the cluster's own plugins

EXPIRED_DURATION_MIN: Final = timedelta(minutes=5)
EXPIRED_DURATION_MAX: Final = timedelta(days=3650)  # longer is "never", and says so
EXPIRED_DURATION_ALLOWED: Final = (
    "a Go duration of at least 5m and at most 87600h, such as 1h30m"
)

NOMINATED_SUBNETS_MAX: Final = 16
NOMINATED_SUBNETS_ALLOWED: Final = (
    f"1 to {NOMINATED_SUBNETS_MAX} different subnet ids, such as subnet-a1b2,subnet-c3d4"
)


class NetworkMode(StrEnum):
    """How a pod gets its address: one of an ENI's many, or a whole ENI."""

    SHARED = "tke-route-eni"
    EXCLUSIVE = "tke-direct-eni"


class DeletePolicy(StrEnum):
    """What becomes of the address when the pod goes."""

    IMMEDIATE = "Immediate"
    NEVER = "Never"


RESOURCE_OF_MODE: Final = {
    NetworkMode.SHARED: RESOURCE_SHARED,
    NetworkMode.EXCLUSIVE: RESOURCE_EXCLUSIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetwork:
    """What a pod's annotations ask for."""

    mode: NetworkMode | None  # None: the cluster's default network, or none of ours
    policy: DeletePolicy
    expires_after: timedelta | None  # after the pod went; None: the cluster's default
    nominated_subnets: tuple[SubnetId, ...] = ()  # its address is to be of one; (): of any
    others: tuple[str, ...] = ()  # networks of other plugins, by name
    nominated: IPv4Address | None = None  # the very address that it is to get


_SUBNET_ID: Final = re.compile(r"subnet-[0-9a-z-]{1,32}")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_S: Final = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip


def parse_go_duration(text: str) -> timedelta | None:
    """A Go duration (``1h30m``), or None when the text is not one, or too long for any span."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    try:
        return timedelta(seconds=sum(float(number) * _UNIT_S[unit] for number, unit in parts))
    except OverflowError:
        return None


def parse_pod_network(annotations: Mapping[str, str]) -> PodNetwork:
    """Read a pod's annotations. Raises InvalidInput naming annotation, value and allowed."""
    mode, others = _parse_networks(annotations.get(NETWORKS))
    if NOMINATED_IP in annotations and NOMINATED_SUBNETS in annotations:
        raise InvalidInput.of(
            NOMINATED_SUBNETS,
            annotations[NOMINATED_SUBNETS],
            f"none beside {NOMINATED_IP}, which names the subnet as well",
        )
    return PodNetwork(
        mode=mode,
        others=others,
        nominated_subnets=_parse_subnets(annotations.get(NOMINATED_SUBNETS)),
        policy=_parse_policy(annotations.get(DELETE_POLICY)),
        expires_after=_parse_expiry(annotations.get(EXPIRED_DURATION)),
        nominated=_parse_nominated(annotations.get(NOMINATED_IP)),
    )


def check_nomination(network: PodNetwork, mode: NetworkMode | None) -> None:
    """Raises InvalidInput where an ENI of its own is to have what the pod names."""
    if mode is not NetworkMode.EXCLUSIVE:
        return
    allowed = f"only with {NETWORKS}: {NetworkMode.SHARED}"
    if network.nominated_subnets:
        raise InvalidInput.of(NOMINATED_SUBNETS, ",".join(network.nominated_subnets), allowed)
    if network.nominated is not None:
        raise InvalidInput.of(NOMINATED_IP, str(network.nominated), allowed)


def _parse_networks(value: str | None) -> tuple[NetworkMode | None, tuple[str, ...]]:
    """Ours, and those of other plugins that the pod has beside it or instead of it."""
    if value is None:
        return None, ()
    names = parse_network_names(value)
    if names is None or not set(names) <= {*NetworkMode, *OTHER_NETWORKS}:
        raise InvalidInput.of(NETWORKS, value, " or ".join(NetworkMode))
    ours = {NetworkMode(each) for each in names if each not in OTHER_NETWORKS}
    if len(ours) > 1:
        raise InvalidInput.of(NETWORKS, value, " or ".join(NetworkMode))
    others = tuple(each for each in names if each in OTHER_NETWORKS)
    return (ours.pop() if ours else None), others


def _parse_policy(value: str | None) -> DeletePolicy:
    if value is None:
        return DeletePolicy.IMMEDIATE
    try:
        return DeletePolicy(value)
    except ValueError:
        raise InvalidInput.of(DELETE_POLICY, value, " or ".join(DeletePolicy)) from None


def _parse_subnets(value: str | None) -> tuple[SubnetId, ...]:
    """Sorted: pods that name the same subnets wait for the same addresses."""
    if value is None:
        return ()
    names = [each.strip() for each in value.split(",")]
    is_allowed = (
        len(names) <= NOMINATED_SUBNETS_MAX
        and len(set(names)) == len(names)
        and all(_SUBNET_ID.fullmatch(each) for each in names)
    )
    if not is_allowed:
        raise InvalidInput.of(NOMINATED_SUBNETS, value, NOMINATED_SUBNETS_ALLOWED)
    return tuple(SubnetId(each) for each in sorted(names))


def _parse_expiry(value: str | None) -> timedelta | None:
    if value is None:
        return None
    expiry = parse_go_duration(value)
    if expiry is None or not EXPIRED_DURATION_MIN <= expiry <= EXPIRED_DURATION_MAX:
        raise InvalidInput.of(EXPIRED_DURATION, value, EXPIRED_DURATION_ALLOWED)
    return expiry


def _parse_nominated(value: str | None) -> IPv4Address | None:
    if value is None:
        return None
    try:
        return IPv4Address(value)
    except AddressValueError:
        raise InvalidInput.of(
            NOMINATED_IP, value, "one IPv4 address (no IPv6), such as 10.0.1.20"
        ) from None
