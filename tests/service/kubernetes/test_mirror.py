"""Leases as kubectl shows them: made, changed, brought back, and given back by a delete.

A real allocator on a real bus and store, beside an API server that has our definitions.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.allocator.config import AllocatorSettings
from shared.errors import HolderAlive, TryLater
from shared.kubernetes.definitions import ADDRESS, CLAIM, Definition, manifests
from shared.kubernetes.mirroring import FINALIZER, MARK
from tests.support.allocators import (
    Agent,
    EniManager,
    bus_client,
    registered,
    running,
    settings,
)
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.kinds import DEFINITIONS, EVENTS, PODS, Kind, Object
from tests.support.kubernetes.server import ApiServer, api_server
from tests.support.servers import NatsServer, RedisServer

_WAIT_S = 15.0
ADDRESS_OF_WEB = "10.0.0.9"


class World:
    def __init__(self, server: ApiServer, agent: Agent, config: AllocatorSettings) -> None:
        self.server = server
        self.agent = agent
        self.config = config

    def kind(self, definition: Definition) -> Kind:
        return self.server.store.kinds[
            "networking.tke.cloud.tencent.com", "v1", definition.plural
        ]

    def all(self, definition: Definition) -> dict[str, Object]:
        found = self.server.store.list(self.kind(definition), "", lambda _: True)
        return {each["metadata"]["name"]: each for each in found}

    def phase(self, definition: Definition, name: str) -> str | None:
        found: dict[str, str] = self.all(definition).get(name, {}).get("status", {})
        return found.get("phase")

    def told(self) -> dict[str, Object]:
        """Kubernetes events by reason."""
        found = self.server.store.list(EVENTS, "", lambda _: True)
        return {each["reason"]: each for each in found}

    def messages(self) -> list[str]:
        found = self.server.store.list(EVENTS, "", lambda _: True)
        return [each["message"] for each in found]

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Looked at after every write of the API server."""
        async with asyncio.timeout(_WAIT_S):
            while True:
                changed = self.server.store.changed
                if is_so():
                    return
                await changed.wait()

    async def retained(self, pod: str = "web-0") -> None:
        bound = await self.agent.acquire(pod, candidate=ADDRESS_OF_WEB)
        await self.agent.release(pod, bound.generation)
        await self.until(lambda: self.phase(CLAIM, pod) == "Retained")


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[World]:
    async with api_server() as server, bus_client(nats_server) as (client, bus):
        for each in manifests():
            server.store.create(DEFINITIONS, "", each)
        await EniManager().serve(bus)
        config = settings(
            nats_server,
            redis_server,
            pod_source="kubernetes",
            kubernetes_config=kubeconfig(server, tmp_path),
            mirror_interval_s=0.2,
            mirror_writes_per_s=1000,
            leader_term_s=0.6,
            reap_interval_s=0.1,
        )
        async with running(config):
            agent = Agent(client, "node-1")
            await registered(agent)
            yield World(server, agent, config)


async def test_a_lease_is_shown_with_its_address_and_where_it_is(world: World) -> None:
    await world.agent.acquire("web-0", candidate=ADDRESS_OF_WEB)
    await world.until(lambda: world.phase(ADDRESS, ADDRESS_OF_WEB) == "Assigned")

    claim = world.all(CLAIM)["web-0"]
    assert claim["status"]["vpcIP"] == ADDRESS_OF_WEB
    assert (claim["status"]["phase"], claim["spec"]["nodeName"]) == ("Bound", "node-1")
    assert claim["spec"]["deletePolicy"] == "Never"
    assert claim["metadata"]["finalizers"] == [FINALIZER]
    assert world.all(ADDRESS)[ADDRESS_OF_WEB]["spec"]["claim"] == "default/web-0"


async def test_a_pod_that_went_leaves_a_claim_that_says_since_when(world: World) -> None:
    await world.retained()

    claim = world.all(CLAIM)["web-0"]
    assert claim["status"]["releasedAt"]
    [condition] = claim["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Retained")
    assert "waits for the pod's return" in condition["message"]


async def test_deleting_the_claim_gives_a_retained_address_back(world: World) -> None:
    await world.retained()

    world.server.store.delete(world.kind(CLAIM), "default", "web-0", grace_s=None)
    await world.until(lambda: not world.all(CLAIM) and not world.all(ADDRESS))
    again = await world.agent.acquire("web-0", candidate="10.0.0.10")

    assert str(again.address) == "10.0.0.10"


async def test_a_claim_is_held_while_a_pod_lives_on_it(world: World) -> None:
    bound = await world.agent.acquire("web-0", candidate=ADDRESS_OF_WEB)
    await world.until(lambda: world.phase(CLAIM, "web-0") == "Bound")

    world.server.store.delete(world.kind(CLAIM), "default", "web-0", grace_s=None)
    repeated = await world.agent.acquire("web-0", candidate="10.0.0.10")
    held = "web-0" in world.all(CLAIM)
    await world.agent.release("web-0", bound.generation)
    await world.until(lambda: not world.all(CLAIM))

    assert held
    assert str(repeated.address) == ADDRESS_OF_WEB


async def test_what_a_person_changes_is_brought_back_to_what_the_store_says(
    world: World,
) -> None:
    await world.retained()

    def lie(found: Object) -> None:
        found["status"]["vpcIP"] = "10.9.9.9"
        found["spec"]["nodeName"] = "elsewhere"

    world.server.store.change(world.kind(CLAIM), "default", "web-0", lie)
    made = {"metadata": {"name": "10.9.9.9", "labels": MARK}, "spec": {"claim": "default/no"}}
    world.server.store.create(world.kind(ADDRESS), "", made)

    def is_true() -> bool:
        claim = world.all(CLAIM)["web-0"]
        told = claim["status"]["vpcIP"], claim["spec"]["nodeName"]
        return told == (ADDRESS_OF_WEB, "node-1") and set(world.all(ADDRESS)) == {
            ADDRESS_OF_WEB
        }

    await world.until(is_true)

    assert world.all(CLAIM).keys() == {"web-0"}


async def test_what_another_component_shows_is_left_alone_until_it_is_ours(
    world: World,
) -> None:
    theirs = {"metadata": {"name": "web-0", "finalizers": ["theirs"]}, "spec": {"kept": "yes"}}
    world.server.store.create(world.kind(CLAIM), "default", copy.deepcopy(theirs))
    other = {"metadata": {"name": "web-7"}, "spec": {"deletePolicy": "Never"}}
    world.server.store.create(world.kind(CLAIM), "default", other)

    await world.retained()

    claims = world.all(CLAIM)
    assert claims["web-0"]["metadata"]["finalizers"] == ["theirs", FINALIZER]
    assert "kept" not in claims["web-0"]["spec"], "it shows what the store says, no more"
    assert claims["web-7"]["spec"] == {"deletePolicy": "Never"}
    assert ("delete", "vpcipclaims") not in world.server.requests


async def test_another_replica_goes_on_where_the_leader_stops(
    world: World, nats_server: NatsServer
) -> None:
    await world.agent.acquire("web-0", candidate=ADDRESS_OF_WEB)
    await world.until(lambda: world.phase(CLAIM, "web-0") == "Bound")

    async with running(world.config):
        leases = world.server.store.kinds["coordination.k8s.io", "v1", "leases"]
        [lease] = world.server.store.list(leases, "", lambda _: True)

        def stop(found: Object) -> None:
            found["spec"]["holderIdentity"] = "a-replica-that-is-gone"

        world.server.store.change(leases, "kube-system", lease["metadata"]["name"], stop)

        def holder() -> str:
            [now] = world.server.store.list(leases, "", lambda _: True)
            return str(now["spec"]["holderIdentity"])

        await world.until(lambda: holder() != "a-replica-that-is-gone")
        await world.agent.acquire("web-1", candidate="10.0.0.10")
        await world.until(lambda: world.phase(CLAIM, "web-1") == "Bound")

        assert holder() != "a-replica-that-is-gone"


async def test_a_pod_whose_lease_wins_over_the_address_it_names_is_told_so(
    world: World,
) -> None:
    first = await world.agent.acquire("web-0", candidate=ADDRESS_OF_WEB)
    await world.agent.release("web-0", first.generation)
    pod = {"metadata": {"name": "web-0"}, "spec": {"nodeName": "node-1"}}
    world.server.store.create(PODS, "default", pod)

    await world.agent.send(world.agent.acquire_request("web-0", nominated="10.0.0.77"))

    await world.until(lambda: "wins over the nominated 10.0.0.77" in " ".join(world.messages()))


async def test_a_pod_whose_lease_wins_over_the_subnets_it_names_is_told_so(
    world: World,
) -> None:
    first = await world.agent.acquire("web-0", candidate=ADDRESS_OF_WEB)
    await world.agent.release("web-0", first.generation)
    pod = {"metadata": {"name": "web-0"}, "spec": {"nodeName": "node-1"}}
    made = world.server.store.create(PODS, "default", pod)

    await world.agent.send(world.agent.acquire_request("web-0", subnets=("subnet-b",)))

    def told() -> list[Object]:
        events = world.server.store.list(EVENTS, "", lambda _: True)
        return [each for each in events if "wins over the nominated" in each["message"]]

    await world.until(lambda: bool(told()))
    [event] = told()
    assert event["involvedObject"]["uid"] == made["metadata"]["uid"]
    assert f"the lease of {ADDRESS_OF_WEB} in subnet-a" in event["message"]
    assert "nominated subnet-b" in event["message"]


async def test_a_pod_is_told_what_became_of_its_address_and_its_claim_after_it(
    world: World,
) -> None:
    pod = {"metadata": {"name": "web-0"}, "spec": {"nodeName": "node-1"}}
    made = world.server.store.create(PODS, "default", pod)
    bound = await world.agent.acquire("web-0", candidate=ADDRESS_OF_WEB)
    await world.until(lambda: "AddressBound" in world.told())
    await world.until(lambda: world.phase(CLAIM, "web-0") == "Bound")

    world.server.store.delete(PODS, "default", "web-0", grace_s=0)
    await world.agent.release("web-0", bound.generation)
    await world.until(lambda: "AddressRetained" in world.told())

    told = world.told()
    assert told["AddressBound"]["involvedObject"]["uid"] == made["metadata"]["uid"]
    assert ADDRESS_OF_WEB in told["AddressBound"]["message"]
    assert told["AddressRetained"]["involvedObject"]["kind"] == CLAIM.kind


async def test_nothing_is_shown_where_the_definitions_are_missing_and_leases_go_on(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with api_server() as server, bus_client(nats_server) as (client, bus):
        await EniManager().serve(bus)
        config = settings(
            nats_server,
            redis_server,
            pod_source="kubernetes",
            kubernetes_config=kubeconfig(server, tmp_path),
        )
        async with running(config):
            agent = Agent(client, "node-1")
            await registered(agent)
            bound = await agent.acquire("web-0", candidate=ADDRESS_OF_WEB)

    assert str(bound.address) == ADDRESS_OF_WEB


@pytest.mark.long
async def test_a_namespace_that_is_deleted_gives_its_addresses_back_once_its_pods_went(
    world: World,
) -> None:
    await world.retained()
    bound = await world.agent.acquire("web-1", candidate="10.0.0.10")
    await world.until(lambda: world.phase(CLAIM, "web-1") == "Bound")

    for name in ("web-0", "web-1"):  # the namespace's controller deletes what is in it
        world.server.store.delete(world.kind(CLAIM), "default", name, grace_s=None)
    await world.until(lambda: set(world.all(CLAIM)) == {"web-1"})
    await world.agent.release("web-1", bound.generation)

    await world.until(lambda: not world.all(CLAIM) and not world.all(ADDRESS))


async def test_leases_that_changed_while_the_api_server_was_away_are_shown_afterwards(
    world: World,
) -> None:
    await world.retained()
    world.server.faults.is_down = True
    await world.server.cut_watches()

    again = await world.agent.acquire("web-0", sandbox="s2", uid="uid-2")
    await world.agent.acquire("web-1", candidate="10.0.0.10")
    assert str(again.address) == ADDRESS_OF_WEB, "leases need no API server"
    world.server.store.compact()  # minutes have gone by
    world.server.faults.is_down = False

    await world.until(lambda: world.phase(CLAIM, "web-1") == "Bound")
    await world.until(lambda: world.phase(CLAIM, "web-0") == "Bound")


async def test_a_right_that_is_missing_is_named_with_its_verb_and_resource(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.faults.forbidden.add(("create", CLAIM.plural))
    await world.agent.acquire("web-0", candidate=ADDRESS_OF_WEB)
    await world.until(lambda: ADDRESS_OF_WEB in world.all(ADDRESS))  # what it may is done

    told = [getattr(each, "error", "") for each in caplog.records]
    assert any('cannot create resource "vpcipclaims"' in each for each in told)
    world.server.faults.forbidden.clear()
    await world.until(lambda: world.phase(CLAIM, "web-0") == "Bound")


async def test_a_pod_deleted_by_force_gives_way_on_another_node_though_its_node_is_away(
    world: World, nats_server: NatsServer
) -> None:
    old = {"metadata": {"name": "web-0"}, "spec": {"nodeName": "node-1"}}
    made = world.server.store.create(PODS, "default", old)
    await world.agent.acquire("web-0", candidate=ADDRESS_OF_WEB, uid=made["metadata"]["uid"])
    async with bus_client(nats_server) as (client, _):
        elsewhere = Agent(client, "node-2")
        await registered(elsewhere)
        with pytest.raises(HolderAlive):  # its agent says nothing, its Pod is there
            await elsewhere.acquire("web-0", uid="uid-2", sandbox="s2")

        world.server.store.delete(PODS, "default", "web-0", grace_s=0)
        new = world.server.store.create(
            PODS, "default", {**old, "spec": {"nodeName": "node-2"}}
        )
        uid = new["metadata"]["uid"]
        async with asyncio.timeout(_WAIT_S):
            while True:
                try:
                    got = await elsewhere.acquire("web-0", uid=uid, sandbox="s3")
                except TryLater:
                    continue
                break

    assert str(got.address) == ADDRESS_OF_WEB
