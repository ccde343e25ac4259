"""The CNI configuration list of a node, read and checked as a container runtime does.

The first ``*.conflist`` by name is the one, as for containerd; it appears once the node can
serve.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from shared.errors import InvalidInput, Unavailable

SUPPORTED_VERSIONS: Final = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")  # oldest first
_CONFIG_BYTES_MAX: Final = 256 << 10
_LOOK_AGAIN_S: Final = 0.1
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class _ListShape(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    cni_version: Annotated[str, Field(alias="cniVersion")]
    cni_versions: Annotated[list[str], Field(alias="cniVersions")] = []
    plugins: Annotated[list[dict[str, JsonValue]], Field(min_length=1, max_length=16)]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkList:
    """One network and its plugins, in the order they are called for ADD."""

    name: str
    version: str  # the highest that the list and this runtime both know
    plugins: tuple[dict[str, JsonValue], ...]


async def wait_for_network_list(folder: Path, *, timeout_s: float) -> NetworkList:
    """The node's network, once it is configured. Raises Unavailable after `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            while (path := first_conflist(folder)) is None:  # noqa: ASYNC110 - a file, no event
                await asyncio.sleep(_LOOK_AGAIN_S)
    except TimeoutError:
        raise Unavailable(
            f"no CNI configuration list appeared in {folder} in {timeout_s:g} s: "
            "the node's agent is not ready"
        ) from None
    return read_network_list(path)


def first_conflist(folder: Path) -> Path | None:
    return min(folder.glob("*.conflist"), default=None)


def read_network_list(path: Path) -> NetworkList:
    """Raises InvalidInput naming file, field and what is allowed."""
    try:
        raw = path.read_bytes()[: _CONFIG_BYTES_MAX + 1]
        shape = _ListShape.model_validate(json.loads(raw))
    except OSError as error:
        raise Unavailable(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InvalidInput(f"{path}: {where}: {problem['msg']}") from error
    except ValueError as error:
        raise InvalidInput(f"{path}: not JSON: {error}") from error

    if not _NAME.fullmatch(shape.name):
        raise InvalidInput.of(f"{path}: name", shape.name, _NAME.pattern)
    offered = {shape.cni_version, *shape.cni_versions}
    known = [version for version in SUPPORTED_VERSIONS if version in offered]
    if not known:
        raise InvalidInput.of(
            f"{path}: cniVersion", shape.cni_version, ", ".join(SUPPORTED_VERSIONS)
        )
    for index, plugin in enumerate(shape.plugins):
        kind = plugin.get("type")
        if not isinstance(kind, str) or not kind or "/" in kind:
            raise InvalidInput.of(f"{path}: plugins[{index}].type", kind, "a program's name")
    return NetworkList(name=shape.name, version=known[-1], plugins=tuple(shape.plugins))
