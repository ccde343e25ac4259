"""A pod's network set up and torn down through the node's configuration list, as libcni does.

ADD goes through the plugins in order, each given the result before it; DEL in reverse, each
given the kept final result. The kept result lies beside the exact configuration it was made
with, so that a DEL says what the ADD said even when the list has changed since.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from shared.errors import InvalidInput

from .conflist import NetworkList
from .plugins import Attachment, Caller, Config

_KIND: Final = "berthKeptResult/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetworkResult:
    """What ADD made, out of the final plugin's result."""

    address: IPv4Address
    gateway: IPv4Address | None
    host_ifname: str | None
    mac: str | None


class PodNetworks:
    """Every attachment of one node's network."""

    def __init__(self, network: NetworkList, caller: Caller, kept: Path) -> None:
        self._network = network
        self._caller = caller
        self._kept = kept

    @property
    def name(self) -> str:
        return self._network.name

    async def add(self, attachment: Attachment) -> PodNetworkResult:
        """Raises PluginFailed; the caller follows it with `delete`, as runtimes do."""
        result: JsonValue = None
        for plugin in self._network.plugins:
            config = _config(self._network.name, self._network.version, plugin, result)
            result = await self._caller.call("ADD", config, attachment)
        parsed = parse_result(result, attachment.ifname)
        self._keep(attachment, result)
        return parsed

    async def check(self, attachment: Attachment) -> None:
        """Raises PluginFailed when the kernel is not as ADD left it."""
        network, result = self._recall(attachment)
        for plugin in network.plugins:
            config = _config(network.name, network.version, plugin, result)
            await self._caller.call("CHECK", config, attachment)

    async def delete(self, attachment: Attachment) -> None:
        """Safe to repeat; stops at the first plugin that fails, and may be tried again."""
        network, result = self._recall(attachment)
        for plugin in reversed(network.plugins):
            config = _config(network.name, network.version, plugin, result)
            await self._caller.call("DEL", config, attachment)
        self._file(attachment).unlink(missing_ok=True)

    def _keep(self, attachment: Attachment, result: JsonValue) -> None:
        self._kept.mkdir(parents=True, exist_ok=True)
        body = {
            "kind": _KIND,
            "version": self._network.version,
            "plugins": list(self._network.plugins),
            "result": result,
        }
        self._file(attachment).write_text(json.dumps(body), encoding="utf-8")

    def _recall(self, attachment: Attachment) -> tuple[NetworkList, JsonValue]:
        """What ADD was called with and made; today's list and no result if nothing was kept."""
        try:
            body = json.loads(self._file(attachment).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return self._network, None
        network = NetworkList(
            name=self._network.name, version=body["version"], plugins=tuple(body["plugins"])
        )
        return network, body["result"]

    def _file(self, attachment: Attachment) -> Path:
        name = f"{self._network.name}-{attachment.container_id}-{attachment.ifname}"
        return self._kept / name


def _config(name: str, version: str, plugin: Config, previous: JsonValue) -> Config:
    config = {key: value for key, value in plugin.items() if key != "capabilities"}
    config |= {"name": name, "cniVersion": version}
    if previous is not None:
        config["prevResult"] = previous
    return config


def parse_result(result: JsonValue, ifname: str) -> PodNetworkResult:
    """The pod's address and links out of a result. Raises InvalidInput for one without."""
    if not isinstance(result, dict):
        raise InvalidInput("CNI result: none was printed; allowed: one with an address")
    interfaces = _mappings(result.get("interfaces"))
    pod = next((each for each in interfaces if each.get("name") == ifname), {})
    host = next((each for each in interfaces if not each.get("sandbox")), {})
    for entry in _mappings(result.get("ips")):
        try:
            address = IPv4Interface(str(entry.get("address"))).ip
            gateway = entry.get("gateway")
            return PodNetworkResult(
                address=address,
                gateway=IPv4Address(str(gateway)) if gateway else None,
                host_ifname=_text(host.get("name")),
                mac=_text(pod.get("mac")),
            )
        except ValueError as error:
            raise InvalidInput(f"CNI result: ips: {error}") from error
    raise InvalidInput("CNI result: ips is empty; allowed: an IPv4 address")


def _mappings(value: JsonValue) -> Sequence[dict[str, JsonValue]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None
