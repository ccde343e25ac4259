"""The device plugin: one gRPC server per resource, beside kubelet's own socket.

kubelet empties that folder when it starts and forgets who was registered. So the plugin looks
every second whether kubelet's socket is another one, or its own is gone, and begins anew.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from services.node_agent.adapters.kubelet import API_VERSION, KubeletSockets
from services.node_agent.adapters.protobuf import Fields, encode
from services.node_agent.devices import Devices
from shared.errors import InvalidInput, Unavailable

log = logging.getLogger(__name__)

LOOK_INTERVAL_S: Final = 1.0
_STOP_GRACE_S: Final = 1.0
_KEEP_S: Final = 60.0  # a stream wakes at least so often, to see that kubelet went
_HEALTHY: Final = {True: "Healthy", False: "Unhealthy"}


class DevicePlugin:
    """Serves one resource and keeps it registered."""

    def __init__(self, devices: Devices, kubelet: KubeletSockets) -> None:
        self._devices = devices
        self._kubelet = kubelet
        self._lives = 0
        self._server: grpc.aio.Server | None = None
        self._registered_with: tuple[int, int, int] | None = None

    async def look(self) -> None:
        """Bring the slots up to date; register where kubelet does not know of them."""
        await self._devices.round()
        kubelet = _identity(self._kubelet.socket)
        if kubelet is None or not self._devices.is_known:
            return
        if self._server is None or _identity(self._path) is None:
            await self._serve()
            self._registered_with = None
        if self._registered_with != kubelet:
            await self._kubelet.register(self._endpoint, self._devices.mode)
            self._registered_with = kubelet
            log.info("registered with kubelet", extra={"endpoint": self._endpoint})

    async def aclose(self) -> None:
        if self._server is not None:
            await self._server.stop(_STOP_GRACE_S)
            self._server = None
        for left in self._kubelet.plugins.glob(f"berth-{self._devices.mode}-*.sock"):
            left.unlink(missing_ok=True)

    @property
    def _endpoint(self) -> str:
        """Another name each time: gRPC unlinks a stopped server's socket whenever it likes."""
        return f"berth-{self._devices.mode}-{self._lives}.sock"

    @property
    def _path(self) -> Path:
        return self._kubelet.plugins / self._endpoint

    async def _serve(self) -> None:
        await self.aclose()
        self._lives += 1
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([self._handlers()])
        try:
            server.add_insecure_port(f"unix:{self._path}")
        except RuntimeError as error:
            raise Unavailable(f"{self._path}: the device plugin cannot listen") from error
        await server.start()
        self._server = server

    def _handlers(self) -> Any:
        return grpc.method_handlers_generic_handler(
            f"{API_VERSION}.DevicePlugin",
            {
                "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(self._options),
                "ListAndWatch": grpc.unary_stream_rpc_method_handler(self._list_and_watch),
                "Allocate": grpc.unary_unary_rpc_method_handler(self._allocate),
            },
        )

    async def _options(self, request: bytes, context: Any) -> bytes:
        return b""  # neither a call before start nor preferences

    async def _list_and_watch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """The whole list, now and after every change, as long as kubelet listens."""
        told: list[tuple[str, bool]] | None = None
        while True:
            shown = self._devices.shown()
            if shown != told:
                told = shown
                yield encode(
                    *(
                        (1, encode((1, slot), (2, _HEALTHY[is_healthy])))
                        for slot, is_healthy in shown
                    )
                )
            await self._devices.changed.wait(_KEEP_S)

    async def _allocate(self, request: bytes, context: Any) -> bytes:
        """Nothing to prepare: an answer for each container, empty."""
        try:
            containers = Fields(request).messages(1)
            for container in containers:
                self._devices.allocate(container.texts(1))
        except InvalidInput as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return encode(*((1, b"") for _ in containers))


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Which socket this is: one made anew may have its predecessor's inode."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns
