"""The container runtime, asked over the CRI which sandboxes it has."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from services.node_agent.adapters.protobuf import Fields
from services.node_agent.adapters.unix_grpc import ask_unix
from shared.errors import InvalidInput, Unavailable

_TIMEOUT_S: Final = 10.0
_LIST: Final = "/runtime.v1.RuntimeService/ListPodSandbox"


class CriRuntime:
    """Implements Runtime."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def sandboxes(self) -> frozenset[str]:
        """Ids of every sandbox, ready or not. Raises Unavailable."""
        answer = await ask_unix(self._socket, _LIST, b"", timeout_s=_TIMEOUT_S)
        try:
            return frozenset(sandbox.text(1) for sandbox in Fields(answer).messages(1))
        except InvalidInput as error:
            raise Unavailable(f"{self._socket}: {error}") from error
