"""kubelet as a device plugin meets it: its registration socket, its list of who has what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from services.node_agent.adapters.protobuf import Fields, encode

PATIENCE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Registered:
    version: str
    endpoint: str
    resource: str


@dataclass
class StandInKubelet:
    """Starts as kubelet does, by emptying its folder of plugins; a restart is another start."""

    folder: Path
    registered: dict[str, Registered] = field(default_factory=dict)
    given: dict[str, set[str]] = field(default_factory=dict)  # slots of pods, by resource
    said: asyncio.Condition = field(default_factory=asyncio.Condition)
    _server: grpc.aio.Server | None = None

    @property
    def plugins(self) -> Path:
        return self.folder / "device-plugins"

    async def start(self, *, tells_resources: bool = True) -> None:
        for folder in (self.plugins, self.folder / "pod-resources"):
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.iterdir():
                left.unlink()
        self.registered.clear()
        self._server = server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "v1beta1.Registration",
                    {"Register": grpc.unary_unary_rpc_method_handler(self._register)},
                ),
                grpc.method_handlers_generic_handler(
                    "v1.PodResourcesLister",
                    {"List": grpc.unary_unary_rpc_method_handler(self._list)},
                ),
            ]
        )
        server.add_insecure_port(f"unix:{self.plugins}/kubelet.sock")
        if tells_resources:
            server.add_insecure_port(f"unix:{self.folder}/pod-resources/kubelet.sock")
        await server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0.2)
            self._server = None

    async def until_registered(self, resource: str) -> Registered:
        async with asyncio.timeout(PATIENCE_S), self.said:
            await self.said.wait_for(lambda: resource in self.registered)
        return self.registered[resource]

    @asynccontextmanager
    async def watch(self, resource: str) -> AsyncIterator[Watch]:
        endpoint = self.registered[resource].endpoint
        async with grpc.aio.insecure_channel(f"unix:{self.plugins}/{endpoint}") as channel:
            call = channel.unary_stream("/v1beta1.DevicePlugin/ListAndWatch")(b"")
            yield Watch(call)
            call.cancel()

    async def allocate(self, resource: str, *slots: str) -> int:
        """How many containers were answered for. Raises AioRpcError when it is refused."""
        endpoint = self.registered[resource].endpoint
        async with grpc.aio.insecure_channel(f"unix:{self.plugins}/{endpoint}") as channel:
            request = encode((1, encode(*((1, slot) for slot in slots))))
            answer = await channel.unary_unary("/v1beta1.DevicePlugin/Allocate")(
                request, timeout=PATIENCE_S
            )
        return len(Fields(answer).messages(1))

    async def _register(self, request: bytes, context: Any) -> bytes:
        fields = Fields(request)
        told = Registered(
            version=fields.text(1), endpoint=fields.text(2), resource=fields.text(3)
        )
        if not (self.plugins / told.endpoint).exists():
            return b""  # kubelet dials a plugin at once, and forgets one it does not reach
        async with self.said:
            self.registered[told.resource] = told
            self.said.notify_all()
        return b""

    async def _list(self, request: bytes, context: Any) -> bytes:
        return encode(*((1, _pod(resource, slots)) for resource, slots in self.given.items()))


@dataclass
class Watch:
    """One stream of device lists."""

    call: Any

    async def next(self) -> tuple[int, int]:
        """Healthy slots, and all of them."""
        shown = await self.devices()
        return sum(shown.values()), len(shown)

    async def devices(self) -> dict[str, bool]:
        async with asyncio.timeout(PATIENCE_S):
            message = await self.call.read()
        devices = Fields(message).messages(1)
        return {device.text(1): device.text(2) == "Healthy" for device in devices}


def _pod(resource: str, slots: Iterable[str]) -> bytes:
    devices = encode((1, resource), *((2, slot) for slot in sorted(slots)))
    return encode((1, "web-0"), (2, "shop"), (3, encode((1, "app"), (2, devices))))
