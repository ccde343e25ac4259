"""kubelet as the agent calls it: registering a device plugin, and asking who has which slot."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from services.node_agent.adapters.protobuf import Fields, encode
from services.node_agent.adapters.unix_grpc import ask_unix
from shared.annotations import RESOURCE_OF_MODE, NetworkMode
from shared.errors import InvalidInput, Unavailable

API_VERSION: Final = "v1beta1"
PLUGINS_FOLDER: Final = "device-plugins"
_TIMEOUT_S: Final = 5.0
_REGISTER: Final = "/v1beta1.Registration/Register"
_LIST: Final = "/v1.PodResourcesLister/List"


class KubeletSockets:
    """The two sockets below kubelet's folder."""

    def __init__(self, folder: Path) -> None:
        self.plugins = folder / PLUGINS_FOLDER
        self.socket = self.plugins / "kubelet.sock"
        self._resources = folder / "pod-resources" / "kubelet.sock"

    async def register(self, endpoint: str, mode: NetworkMode) -> None:
        """Name the plugin's socket, beside kubelet's own. Raises Unavailable."""
        request = encode((1, API_VERSION), (2, endpoint), (3, RESOURCE_OF_MODE[mode]))
        await ask_unix(self.socket, _REGISTER, request, timeout_s=_TIMEOUT_S)

    async def taken(self, mode: NetworkMode) -> frozenset[str]:
        """The slots that kubelet has given to pods. Raises Unavailable."""
        answer = await ask_unix(self._resources, _LIST, b"", timeout_s=_TIMEOUT_S)
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
