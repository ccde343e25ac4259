"""A bus on which node agents have no keys: an allocator asks the API server who they are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client

from berth.playground.keys import KeyRing
from berth.seeds import new_account_seed
from services.allocator.kubernetes.node_callout import NodeCallout
from services.allocator.kubernetes.node_tokens import NodeTokens
from shared.bus.connection import connect_bus
from shared.bus.permissions import authorization
from shared.bus.roles import Role, client_name
from shared.bus.tokens import Signer
from shared.clock import SystemClock
from shared.kubernetes.client import KubernetesClient
from shared.settings import ServiceSettings
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.server import ApiServer, api_server
from tests.support.kubernetes.tokens import Bound
from tests.support.servers import NatsServer, nats_server
from tests.support.speakers import CLUSTER

NAMESPACE = "berth-system"
ACCOUNT = "berth-node-agent"
AUDIENCE = "berth-bus"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalloutWorld:
    bus: NatsServer
    api: ApiServer
    allocator: Client
    folder: Path

    def token(self, text: str, **bound: str) -> Path:
        """A token file; the API server knows its token as bound so."""
        self.api.tokens.known[text] = Bound(
            **{"audience": AUDIENCE, "account": f"{NAMESPACE}:{ACCOUNT}"} | bound
        )
        return self.unknown_token(text)

    def unknown_token(self, text: str) -> Path:
        file = self.folder / f"{text}.token"
        file.write_text(text)
        return file

    def settings(self, token_file: Path | None) -> ServiceSettings:
        return ServiceSettings(
            cluster=CLUSTER, nats_url=self.bus.url, nats_token_file=token_file
        )

    @asynccontextmanager
    async def agent(self, token_file: Path | None, node: str) -> AsyncIterator[Client]:
        """As the agent of that node connects; the bus decides whether it is."""
        name = f"{client_name(Role.NODE_AGENT)}-{node}"
        client = await connect_bus(self.settings(token_file), client_name=name)
        try:
            yield client
        finally:
            await client.close()


@asynccontextmanager
async def callout_world(folder: Path) -> AsyncIterator[CalloutWorld]:
    signer = Signer(new_account_seed())
    ring = KeyRing(folder / "keys")
    key = ring.bus_key("allocator", Role.ALLOCATOR)
    rules = authorization([key.user], CLUSTER, callout_issuer=signer.public_key)
    async with AsyncExitStack() as stack:
        bus = stack.enter_context(nats_server(f"authorization: {json.dumps(rules)}"))
        api = await stack.enter_async_context(api_server())
        kubernetes = await KubernetesClient.connect(kubeconfig(api, folder), timeout_s=5.0)
        stack.push_async_callback(kubernetes.aclose)
        allocator = await connect_bus(
            ServiceSettings(cluster=CLUSTER, nats_url=bus.url, nats_key_file=key.seed_file),
            client_name=client_name(Role.ALLOCATOR),
        )
        stack.push_async_callback(allocator.close)
        tokens = NodeTokens(
            kubernetes,
            SystemClock(),
            namespace=NAMESPACE,
            service_account=ACCOUNT,
            audience=AUDIENCE,
            in_flight_max=4,
        )
        callout = NodeCallout(allocator, CLUSTER, signer, tokens, SystemClock())
        stack.push_async_callback(callout.aclose)
        await callout.start()
        await allocator.flush()
        yield CalloutWorld(bus=bus, api=api, allocator=allocator, folder=folder)
