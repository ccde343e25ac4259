"""The result of an ADD in the shape of each cniVersion.

Below 1.0.0 every address says its IP version; from 1.1.0 interfaces say their MTU. When other
plugins came before us in the chain their result is kept and ours is added behind it.
"""

from __future__ import annotations

import json
from typing import Final

from pydantic import JsonValue

from services.node_agent.cni.request import PrevResult
from services.node_agent.domain.requests import Wired

_SAYS_IP_VERSION: Final = frozenset({"0.3.1", "0.4.0"})
_SAYS_MTU: Final = frozenset({"1.1.0"})
_DEFAULT_ROUTE: Final = "0.0.0.0/0"


def add_result(
    wired: Wired, *, cni_version: str, netns_path: str, prev_result: PrevResult | None
) -> str:
    """What the plugin prints."""
    kept = prev_result or {}
    interfaces = _list(kept.get("interfaces"))
    position = len(interfaces) + 1  # of the address's link: ours come host first, pod second
    result: dict[str, JsonValue] = dict(kept)
    result["cniVersion"] = cni_version
    result["interfaces"] = interfaces + _interfaces(wired, cni_version, netns_path)
    result["ips"] = [*_list(kept.get("ips")), _address(wired, cni_version, position)]
    result["routes"] = [
        *_list(kept.get("routes")),
        {"dst": _DEFAULT_ROUTE, "gw": str(wired.gateway)},
    ]
    result["dns"] = kept.get("dns") or {}
    return json.dumps(result)


def _interfaces(wired: Wired, cni_version: str, netns_path: str) -> list[JsonValue]:
    host: dict[str, JsonValue] = {"name": wired.host_ifname, "mac": wired.host_mac}
    pod: dict[str, JsonValue] = {"name": wired.ifname, "mac": wired.mac}
    if cni_version in _SAYS_MTU:
        host["mtu"] = pod["mtu"] = wired.mtu
    pod["sandbox"] = netns_path
    return [host, pod, *_second(wired, cni_version, netns_path)]


def _second(wired: Wired, cni_version: str, netns_path: str) -> list[JsonValue]:
    if wired.second is None:
        return []
    link: dict[str, JsonValue] = {"name": wired.second.ifname, "mac": wired.second.mac}
    if cni_version in _SAYS_MTU:
        link["mtu"] = wired.second.mtu
    return [link | {"sandbox": netns_path}]


def _address(wired: Wired, cni_version: str, position: int) -> dict[str, JsonValue]:
    address: dict[str, JsonValue] = {
        "address": f"{wired.address}/{wired.prefix_length}",
        "gateway": str(wired.gateway),
        "interface": position,
    }
    if cni_version in _SAYS_IP_VERSION:
        address["version"] = "4"
    return address


def _list(value: JsonValue) -> list[JsonValue]:
    return list(value) if isinstance(value, list) else []
