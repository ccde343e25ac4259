"""The scheduler extender: a real allocator on a real bus and store, asked over TLS."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml

from services.allocator.kubernetes.extender import FILTER_PATH, PRIORITIZE_PATH
from services.allocator.kubernetes.trust import SECRET
from shared.annotations import DELETE_POLICY, NETWORKS, NOMINATED_IP, NOMINATED_SUBNETS
from shared.errors import Unavailable
from shared.messages.base import ServiceName
from shared.messages.vacancies import (
    VACANCIES,
    EnisInSubnet,
    NodeVacancy,
    SubnetVacancy,
    VacanciesRequest,
    VacanciesTold,
)
from tests.support.allocators import Agent, bus_client, registered, running, settings
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.kinds import SECRETS
from tests.support.kubernetes.server import ApiServer, api_server
from tests.support.paths import ROOT
from tests.support.servers import NatsServer, RedisServer, free_port

NAMES: Final = ["node-1", "node-2", "node-3", "node-4"]
FRESH_S: Final = 1.0
_WAIT_S: Final = 20.0


def node(name: str, zone: str, *, subnet: str, idle: int, addresses: int = 10) -> NodeVacancy:
    return NodeVacancy(
        node=name,
        zone=zone,
        enis=1,
        enis_max=1,
        addresses=addresses,
        addresses_max=10,
        idle=idle,
        within=(EnisInSubnet(subnet=subnet, enis=1, addresses=addresses, addresses_max=10),),
    )


class EniManager:
    """A peer that tells of four nodes in two zones: one has room, one has none."""

    def __init__(self) -> None:
        self.is_away = False
        self.nodes = (
            node("node-1", "zone-1", subnet="subnet-a", idle=2),
            node("node-2", "zone-1", subnet="subnet-a", idle=0),
            node("node-3", "zone-2", subnet="subnet-b", idle=5),
            node("node-4", "zone-1", subnet="subnet-a", idle=0, addresses=4),
        )

    async def tell(self, request: VacanciesRequest) -> VacanciesTold:
        if self.is_away:
            raise Unavailable("store: away")
        subnets = (("subnet-a", "zone-1", "10.0.0.0/24"), ("subnet-b", "zone-2", "10.0.1.0/24"))
        return VacanciesTold(
            revision=4,
            newest=4,
            is_last=True,
            is_anew=not request.after,
            nodes=() if request.after else self.nodes,
            subnets=tuple(
                SubnetVacancy(
                    subnet=name, zone=zone, cidr=IPv4Network(cidr), free=100, total=250
                )
                for name, zone, cidr in subnets
            ),
        )


class World:
    def __init__(self, server: ApiServer, agent: Agent, manager: EniManager, url: str) -> None:
        self.server = server
        self.agent = agent
        self.manager = manager
        self.url = url
        self.http = aiohttp.ClientSession()
        self._tls: ssl.SSLContext | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, Any]:
        async with self.http.post(
            f"{self.url}{path}",
            data=body,
            ssl=await self.tls(),
            server_hostname="berth-webhook.kube-system.svc",
        ) as answer:
            return answer.status, await answer.json()

    async def ask(self, path: str, **annotations: str) -> Any:
        pod = {
            "metadata": {
                "name": "web-0",
                "namespace": "default",
                "annotations": {NETWORKS: "tke-route-eni", **annotations},
            },
            "spec": {"containers": [{"name": "c"}]},
        }
        body = json.dumps({"Pod": pod, "Nodes": None, "NodeNames": NAMES}).encode()
        status, told = await self.post(path, body)
        assert status == 200, told
        return told

    async def filtered_until(self, kept: list[str], **annotations: str) -> Any:
        """What an allocator has heard of, it tells by its answers."""
        async with asyncio.timeout(_WAIT_S):
            while True:
                told = await self.ask(FILTER_PATH, **annotations)
                if told["NodeNames"] == kept:
                    return told
                await asyncio.sleep(0.05)

    async def tls(self) -> ssl.SSLContext:
        """As the scheduler is given it: the authority of the Secret."""
        async with asyncio.timeout(_WAIT_S):
            while self._tls is None:
                changed = self.server.store.changed
                found = self.server.store.list(SECRETS, "", lambda _: True)
                for each in found:
                    if each["metadata"]["name"] == SECRET:
                        authority = base64.b64decode(each["data"]["ca.crt"]).decode()
                        self._tls = ssl.create_default_context(cadata=authority)
                        await self._served()
                        return self._tls
                await changed.wait()
        return self._tls

    async def _served(self) -> None:
        """The Secret is written a moment before it is served."""
        for _ in range(200):
            try:
                await self.post(FILTER_PATH, b"")
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[World]:
    listen = f"127.0.0.1:{free_port()}"
    async with api_server() as server, bus_client(nats_server) as (client, bus):
        manager = EniManager()
        await bus.serve_all(
            ServiceName.ENI_MANAGER, "a peer in a test", {VACANCIES: manager.tell}
        )
        config = settings(
            nats_server,
            redis_server,
            pod_source="kubernetes",
            kubernetes_config=kubeconfig(server, tmp_path),
            webhook_listen=listen,
            webhook_configurations=[],
            webhook_renew_interval_s=0.5,
            extender_interval_s=0.1,
            extender_fresh_s=FRESH_S,
        )
        async with running(config):
            agent = Agent(client, "node-2")
            await registered(agent)
            found = World(server, agent, manager, f"https://{listen}")
            try:
                yield found
            finally:
                await found.http.close()


async def test_a_pod_goes_to_nodes_that_can_give_it_an_address(world: World) -> None:
    told = await world.filtered_until(["node-1", "node-3", "node-4"])

    [(name, reason)] = told["FailedNodes"].items()
    assert name == "node-2"
    assert "subnet-a (zone-1, 100 of 250 free)" in reason
    assert "ENIs 1/1 used (1 in subnet-a with 10/10)" in reason
    assert "addresses 10/10 used" in reason
    assert told["FailedAndUnresolvableNodes"] == {}
    scores = {each["Host"]: each["Score"] for each in await world.ask(PRIORITIZE_PATH)}
    assert scores["node-2"] == 0 < scores["node-4"] < scores["node-1"] <= 10


async def test_a_pod_with_a_fixed_address_goes_where_that_can_be(world: World) -> None:
    await world.filtered_until(["node-1", "node-3", "node-4"])
    bound = await world.agent.acquire("web-0", candidate="10.0.0.9")
    await world.agent.release("web-0", bound.generation)

    told = await world.ask(FILTER_PATH, **{DELETE_POLICY: "Never"})

    assert told["NodeNames"] == ["node-1", "node-2", "node-4"]  # node-2, full, holds the lease
    reason = told["FailedAndUnresolvableNodes"]["node-3"]
    assert "10.0.0.9 is of subnet-a (zone-1" in reason
    scores = await world.ask(PRIORITIZE_PATH, **{DELETE_POLICY: "Never"})
    assert max(scores, key=lambda it: it["Score"]) == {"Host": "node-2", "Score": 10}


async def test_a_pod_that_names_an_address_or_a_subnet_goes_to_its_zone(world: World) -> None:
    await world.filtered_until(["node-1", "node-3", "node-4"])

    for named in ({NOMINATED_SUBNETS: "subnet-b"}, {NOMINATED_IP: "10.0.1.20"}):
        told = await world.ask(FILTER_PATH, **named)
        assert told["NodeNames"] == ["node-3"], named


async def test_a_pod_that_is_none_of_ours_goes_anywhere(world: World) -> None:
    await world.filtered_until(["node-1", "node-3", "node-4"])

    told = await world.ask(FILTER_PATH, **{NETWORKS: "tke-bridge"})

    assert told["NodeNames"] == NAMES
    assert told["FailedNodes"] == {}


@pytest.mark.long
async def test_every_node_passes_once_what_is_known_is_too_old(world: World) -> None:
    await world.filtered_until(["node-1", "node-3", "node-4"])

    world.manager.is_away = True
    told = await world.filtered_until(NAMES)
    assert told["FailedNodes"] == {}

    world.manager.is_away = False
    await world.filtered_until(["node-1", "node-3", "node-4"])


async def test_names_in_small_letters_are_understood(world: World) -> None:
    pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {}}
    body = json.dumps({"pod": pod, "nodenames": ["node-1"]}).encode()

    status, told = await world.post(FILTER_PATH, body)

    assert (status, told["NodeNames"]) == (200, ["node-1"])


RUBBISH: Final = [
    (b"", "body"),
    (b"[1]", "body"),
    (b"{", "body"),
    (b"{}", "Pod"),
    (b'{"Pod": 7, "NodeNames": []}', "Pod: 7 is not allowed"),
    (b'{"Pod": {"metadata": {"annotations": {"a": 1}}}, "NodeNames": []}', "annotations.a"),
    (b'{"Pod": {}, "Nodes": {"items": []}}', "nodeCacheCapable"),
    (b'{"Pod": {}, "NodeNames": null}', "nodeCacheCapable"),
    (b'{"Pod": {}, "NodeNames": ["a", 7]}', "NodeNames.1: 7 is not allowed"),
    (b'{"Pod": {}, "NodeNames": [""]}', "NodeNames.0"),
]


async def test_rubbish_is_refused_with_the_field(world: World) -> None:
    for path in (FILTER_PATH, PRIORITIZE_PATH):
        for body, words in RUBBISH:
            status, told = await world.post(path, body)
            assert status == 400, body
            assert words in told["Error"]


def test_the_published_configuration_names_what_is_served() -> None:
    file = ROOT / "deploy" / "kubernetes" / "base" / "scheduler-configuration.yaml"
    found = yaml.safe_load(file.read_text(encoding="utf-8"))

    [extender] = found["extenders"]
    root = extender["urlPrefix"].rpartition("/")[2]
    assert f"/{root}/{extender['filterVerb']}" == FILTER_PATH
    assert f"/{root}/{extender['prioritizeVerb']}" == PRIORITIZE_PATH
    assert (extender["nodeCacheCapable"], extender["ignorable"]) == (True, True)
    assert extender["httpTimeout"] == "1s"
