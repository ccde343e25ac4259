"""kubelet as the agent calls it: registering a device plugin, and asking who has which slot."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import grpc
import grpc.aio

from services.node_agent.adapters.protobuf import Fields, encode
from shared.annotations import RESOURCE_OF_MODE, NetworkMode
from shared.errors import InvalidInput, Unavailable

API_VERSION: Final = "v1beta1"
PLUGINS_FOLDER: Final = "device-plugins"
_TIMEOUT_S: Final = 5.0
_REGISTER: Final = "/v1beta1.Registration/Register"
_LIST: Final = "/v1.PodResourcesLister/List"


class KubeletSockets:
    """The two sockets below kubelet's folder. Each question is a connection of its own: kubelet
    is asked seldom, and a connection kept would have to notice its restarts."""

    def __init__(self, folder: Path) -> None:
        self.plugins = folder / PLUGINS_FOLDER
        self.socket = self.plugins / "kubelet.sock"
        self._resources = folder / "pod-resources" / "kubelet.sock"

    async def register(self, endpoint: str, mode: NetworkMode) -> None:
        """Name the plugin's socket, beside kubelet's own. Raises Unavailable."""
        request = encode((1, API_VERSION), (2, endpoint), (3, RESOURCE_OF_MODE[mode]))
        await _ask(self.socket, _REGISTER, request)

    async def taken(self, mode: NetworkMode) -> frozenset[str]:
        """The slots that kubelet has given to pods. Raises Unavailable."""
        answer = await _ask(self._resources, _LIST, b"")
        try:
            return frozenset(
                slot
                for pod in Fields(answer).messages(1)
                for container in pod.messages(3)
                for devices in container.messages(2)
                if devices.text(1) == RESOURCE_OF_MODE[mode]
                for slot in devices.texts(2)
            )
        except InvalidInput as error:
            raise Unavailable(f"{self._resources}: {error}") from error


async def _ask(socket: Path, method: str, request: bytes) -> bytes:
    return await ask_unix(socket, method, request, timeout_s=_TIMEOUT_S)


async def ask_unix(socket: Path, method: str, request: bytes, *, timeout_s: float) -> bytes:
    """One gRPC call over a Unix socket. Raises Unavailable."""
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        call = channel.unary_unary(method)
        try:
            answer: bytes = await call(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(f"{socket}: {method}: {error.details()}") from error
    return answer
