"""Nodes and ENIs as kubectl shows them, and the taint that keeps pods off a node that cannot
serve: a real eni_manager on a real bus and store, the simulated cloud, and an API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.eni_manager.kubernetes.node_annotations import (
    DISABLE,
    IPS_PER_ENI,
    NO_GROUPS,
    ROUTE_ENIS,
    ROUTE_WARM,
)
from services.eni_manager.kubernetes.node_objects import CONDITION, TAINT
from services.eni_manager.kubernetes.shown import conditions_by_type
from shared.addresses import AddressState
from shared.kubernetes.definitions import ENI, NODE, Definition, manifests
from shared.store.keys import eni_key
from tests.service.test_eni_manager_groups import groups
from tests.service.test_exclusive_enis import roomy
from tests.support.allocator_beside import allocator
from tests.support.eni_world import CLUSTER, EniWorld, eni_world, eventually
from tests.support.fixed_pods import FixedPods
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.kinds import DEFINITIONS, EVENTS, NODES, Kind, Object
from tests.support.kubernetes.server import ApiServer, api_server
from tests.support.servers import NatsServer, RedisServer

_WAIT_S = 30.0
OTHER_TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
OTHER_CONDITION = {"type": "Ready", "status": "True"}


class World:
    def __init__(self, server: ApiServer, enis: EniWorld) -> None:
        self.server = server
        self.enis = enis

    def kind(self, definition: Definition) -> Kind:
        return self.server.store.kinds[
            "networking.tke.cloud.tencent.com", "v1", definition.plural
        ]

    def all(self, kind: Kind) -> dict[str, Object]:
        found = self.server.store.list(kind, "", lambda _: True)
        return {each["metadata"]["name"]: each for each in found}

    def config(self, node: str) -> Object | None:
        return self.all(self.kind(NODE)).get(node)

    def join(self, node: str) -> None:
        """As a kubelet registers its node."""
        body = {"metadata": {"name": node}, "spec": {"taints": [OTHER_TAINT]}}
        self.server.store.create(NODES, "", body)

        def with_status(found: Object) -> None:
            found["status"] = {"conditions": [OTHER_CONDITION]}

        self.server.store.change(NODES, "", node, with_status)

    def taints(self, node: str) -> list[str]:
        return [each["key"] for each in self.all(NODES)[node]["spec"]["taints"]]

    def condition(self, node: str) -> dict[str, Any]:
        told = self.all(NODES)[node].get("status", {}).get("conditions", [])
        found: dict[str, Any] = {each["type"]: each for each in told}.get(CONDITION, {})
        return found

    def annotate(self, kind: Kind, name: str, annotations: dict[str, str]) -> None:
        """`kubectl annotate`: these, and no others."""

        def change(found: Object) -> None:
            found["metadata"]["annotations"] = annotations

        self.server.store.change(kind, "", name, change)

    def told(self) -> dict[str, Object]:
        """Kubernetes events by reason."""
        return {each["reason"]: each for each in self.all(EVENTS).values()}

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Looked at after every write of the API server."""
        async with asyncio.timeout(_WAIT_S):
            while True:
                changed = self.server.store.changed
                if is_so():
                    return
                await changed.wait()


@pytest.fixture
async def world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[World]:
    """No eni_manager runs yet."""
    async with beside_kubernetes(nats_server, redis_server, tmp_path) as found:
        yield found


@pytest.fixture
async def roomy_world(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[World]:
    """Instances take three ENIs beside their own, with nine addresses each."""
    async with beside_kubernetes(nats_server, redis_server, tmp_path, roomy) as found:
        yield found


@asynccontextmanager
async def beside_kubernetes(
    nats_server: NatsServer,
    redis_server: RedisServer,
    tmp_path: Path,
    change: Callable[[dict[str, object]], None] = lambda _: None,
) -> AsyncIterator[World]:
    async with (
        api_server() as server,
        eni_world(
            nats_server,
            redis_server,
            tmp_path,
            change=change,
            kubernetes=True,
            kubernetes_config=kubeconfig(server, tmp_path),
            kubernetes_gone_after_s=0.3,
            mirror_interval_s=0.2,
            mirror_writes_per_s=1000,
            leader_term_s=0.6,
            vacancies_interval_s=0.05,
        ) as enis,
    ):
        for each in manifests():
            server.store.create(DEFINITIONS, "", each)
        yield World(server, enis)


async def test_a_new_node_is_tainted_until_it_has_addresses(world: World) -> None:
    world.join("node-1")
    async with world.enis.manager():
        await world.until(lambda: TAINT in world.taints("node-1"))
        await world.until(lambda: world.condition("node-1").get("status") == "False")
        assert world.condition("node-1")["reason"] == "NotJoined"
        assert "agent has not registered" in world.told()["EniIpUnavailable"]["message"]

        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)

        await world.until(lambda: TAINT not in world.taints("node-1"))
        await world.until(lambda: world.condition("node-1").get("status") == "True")
        await world.until(lambda: "EniIpAvailable" in world.told())
        assert world.taints("node-1") == [OTHER_TAINT["key"]]
        assert OTHER_CONDITION in world.all(NODES)["node-1"]["status"]["conditions"]


async def test_the_condition_and_the_config_say_why_a_node_cannot_serve(world: World) -> None:
    world.join("node-3")
    async with world.enis.manager():
        agent = await world.enis.agent("node-3", "ins-far")  # of another zone
        why = "no_subnet_in_zone"
        await agent.want()

        await world.until(lambda: world.condition("node-3").get("reason") == why)
        assert "has no container subnet" in world.condition("node-3")["message"]
        assert TAINT in world.taints("node-3")

        def said() -> Object:
            found: Object = (world.config("node-3") or {}).get("status") or {}
            return found

        await world.until(lambda: "lastError" in said())  # its first status may know of none
        status = said()
        assert status["lastError"]["code"] == why
        assert status["lastError"]["retryWithinSeconds"] > 0
        assert "tried again within" in status["conditions"][0]["message"]


async def test_what_the_cloud_refuses_is_shown_with_its_code_and_request(world: World) -> None:
    world.join("node-1")
    code = "UnauthorizedOperation"
    refusal = {"action": "CreateNetworkInterface", "kind": "refuse", "code": code, "count": 99}
    status, _ = await world.enis.cloud.admin("POST", "faults", refusal)
    assert status == 200
    async with world.enis.manager():
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want()

        def is_told() -> bool:
            error = ((world.config("node-1") or {}).get("status") or {}).get("lastError") or {}
            return error.get("code") == code and bool(error.get("requestId"))

        await world.until(is_told)


async def test_a_node_and_its_enis_are_shown(world: World) -> None:
    async with world.enis.manager():
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        [eni] = agent.secondary
        kind = world.kind(ENI)

        def is_shown() -> bool:
            status = world.all(kind).get(eni, {}).get("status", {})
            return status.get("addresses") == 3 and world.config("node-1") is not None

        await world.until(is_shown)
        shown = world.all(kind)
        assert list(shown) == [eni]  # the instance's own is none of ours
        assert shown[eni]["spec"] == {"nodeName": "node-1"}
        status = shown[eni]["status"]
        assert (status["phase"], status["subnetId"], status["addressesMax"]) == (
            "Attached",
            "subnet-a",
            5,
        )

        def is_ready() -> bool:
            told = conditions_by_type(world.config("node-1")).get("Ready", {})
            return told.get("status") == "True"

        await world.until(is_ready)
        config = world.config("node-1") or {}
        assert config["spec"] == {"instanceId": "ins-one", "zone": "zone-1"}
        assert [each["eniId"] for each in config["status"]["eniInfos"]] == [eni]


async def test_what_somebody_changed_is_brought_back(world: World) -> None:
    async with world.enis.manager():
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        [eni] = agent.secondary
        kind = world.kind(ENI)
        await world.until(lambda: eni in world.all(kind))

        def with_other_node(found: Object) -> None:
            found["spec"] = {"nodeName": "node-9"}

        world.server.store.change(kind, "", eni, with_other_node)
        await world.until(lambda: world.all(kind)[eni]["spec"]["nodeName"] == "node-1")

        world.server.store.delete(world.kind(NODE), "", "node-1", grace_s=None)
        await world.until(lambda: world.config("node-1") is not None)


async def test_without_the_definitions_the_taint_is_kept_all_the_same(world: World) -> None:
    for each in manifests():
        world.server.store.delete(DEFINITIONS, "", each["metadata"]["name"], grace_s=None)
    world.join("node-1")
    async with world.enis.manager():
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)

        await world.until(lambda: world.condition("node-1").get("status") == "True")
        assert TAINT not in world.taints("node-1")


@pytest.mark.long
async def test_a_deleted_node_ends_once_its_machine_does_not_run(world: World) -> None:
    world.join("node-1")
    async with world.enis.manager(), allocator(world.enis):
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        [eni] = agent.secondary
        await world.until(lambda: eni in world.all(world.kind(ENI)))
        pods = FixedPods(world.enis, agent)
        await pods.register()
        await pods.start("web-0")

        world.server.store.delete(NODES, "", "node-1", grace_s=None)

        async def is_asked_again_and_again() -> bool:  # and held: the machine runs
            return world.server.requests.count(("get", "nodes")) >= 3

        await eventually(is_asked_again_and_again)
        assert eni in world.all(world.kind(ENI))

        await agent.stop()
        status, _ = await world.enis.cloud.admin("POST", "instances/ins-one/stop")
        assert status == 200

        await world.until(lambda: world.config("node-1") is None)
        await world.until(lambda: eni not in world.all(world.kind(ENI)))
        [lease] = (await world.enis.leases()).values()
        assert lease.state is AddressState.PARKED


async def test_annotations_are_applied_live_and_a_wrong_pair_is_told(world: World) -> None:
    world.join("node-1")
    async with world.enis.manager():
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        await world.until(lambda: world.config("node-1") is not None)

        world.annotate(world.kind(NODE), "node-1", {ROUTE_WARM[0]: "1", ROUTE_WARM[1]: "1"})
        await agent.want_until(idle=1)

        world.annotate(world.kind(NODE), "node-1", {ROUTE_WARM[0]: "4", ROUTE_WARM[1]: "2"})
        await world.until(lambda: "AnnotationRefused" in world.told())
        told = world.told()["AnnotationRefused"]
        assert told["involvedObject"]["kind"] == NODE.kind
        assert f"{ROUTE_WARM[0]}: 4 is not allowed" in told["message"]
        await agent.want_until(idle=3)  # as without a word


async def test_a_node_keeps_to_the_limits_of_its_annotations(roomy_world: World) -> None:
    world = roomy_world
    world.join("node-1")
    async with world.enis.manager():
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        await world.until(lambda: world.config("node-1") is not None)
        warm = {ROUTE_WARM[0]: "12", ROUTE_WARM[1]: "12"}
        world.annotate(world.kind(NODE), "node-1", warm)
        await agent.want_until(idle=12)
        both = len(agent.secondary)

        world.annotate(world.kind(NODE), "node-1", {**warm, ROUTE_ENIS: "1", IPS_PER_ENI: "4"})
        await agent.want_until(idle=4)

        async def has_one() -> bool:
            await agent.want()
            return len(agent.secondary) == 1

        await eventually(has_one)
        agent.bind(3)
        await agent.want()
        world.annotate(world.kind(NODE), "node-1", {**warm, IPS_PER_ENI: "1"})
        await world.until(lambda: "AnnotationRefused" in world.told())
        await agent.want_until(idle=12)

    assert both == 2
    assert "pods use 3 addresses" in world.told()["AnnotationRefused"]["message"]


async def test_a_node_loses_its_security_groups_and_gets_them_back(world: World) -> None:
    world.join("node-1")
    changed = {"security_groups": ["sg-one00001"], "observe_interval_s": 0.2}
    async with world.enis.manager(**changed):
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        [eni] = agent.secondary
        before = await groups(world.enis, eni)

        world.annotate(NODES, "node-1", {NO_GROUPS: "yes"})
        await eventually(lambda: has_groups(world, eni, set()))
        world.annotate(NODES, "node-1", {NO_GROUPS: "no"})
        await eventually(lambda: has_groups(world, eni, {"sg-one00001"}))

    assert before == {"sg-one00001"}


async def has_groups(world: World, eni: str, wanted: set[str]) -> bool:
    return await groups(world.enis, eni) == wanted


@pytest.mark.long
async def test_a_node_that_is_to_be_left_alone_keeps_what_it_has(world: World) -> None:
    world.join("node-1")
    async with world.enis.manager():
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        await world.until(lambda: world.config("node-1") is not None)

        world.annotate(NODES, "node-1", {DISABLE: "yes"})

        async def is_said() -> bool:
            return "switches ENIs off" in ((await agent.want()).problem or "")

        await eventually(is_said)
        agent.bind(3)
        for _ in range(3):  # each wakes the node's rounds
            await agent.want()
        assert agent.idle == set()

        world.annotate(NODES, "node-1", {})
        await agent.want_until(idle=2)


@pytest.mark.long
async def test_what_others_write_to_a_node_at_the_same_time_is_kept(world: World) -> None:
    """Each of ours names the version that it was made for: the API server refuses the rest."""
    world.join("node-1")

    async def others() -> None:
        for number in range(200):

            def beat(found: Object, number: int = number) -> None:
                found["metadata"].setdefault("labels", {})["beat"] = str(number)
                kept = [it for it in found["spec"]["taints"] if it["key"] != "lifecycle"]
                found["spec"]["taints"] = [*kept, {"key": "lifecycle", "value": str(number)}]

            world.server.store.change(NODES, "", "node-1", beat)
            await asyncio.sleep(0.002)

    async with world.enis.manager():
        beats = asyncio.create_task(others(), name="others")
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        await beats
        await world.until(lambda: TAINT not in world.taints("node-1"))
        await world.until(lambda: world.condition("node-1").get("status") == "True")

    found = world.all(NODES)["node-1"]
    assert found["metadata"]["labels"]["beat"] == "199"
    taints = {each["key"]: each.get("value") for each in found["spec"]["taints"]}
    assert taints == {OTHER_TAINT["key"]: OTHER_TAINT["value"], "lifecycle": "199"}


async def test_without_the_right_to_patch_nodes_the_rest_is_shown_and_the_right_named(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.faults.forbidden.add(("patch", NODES.plural))
    world.join("node-1")
    async with world.enis.manager():
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        [eni] = agent.secondary
        await world.until(lambda: eni in world.all(world.kind(ENI)))

    told = [getattr(each, "error", "") for each in caplog.records]
    assert any('cannot patch resource "nodes"' in each for each in told)


@pytest.mark.long
async def test_of_two_eni_managers_one_writes(world: World) -> None:
    async with world.enis.manager(), world.enis.manager():
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        [eni] = agent.secondary
        await world.until(lambda: eni in world.all(world.kind(ENI)))
        await world.until(lambda: world.config("node-1") is not None)

        assert world.server.requests.count(("create", ENI.plural)) == 1
        assert world.server.requests.count(("create", NODE.plural)) == 1


async def test_what_nodes_told_of_their_room_may_be_lost_and_no_object_goes(
    world: World,
) -> None:
    async with world.enis.manager():
        agent = await world.enis.agent("node-1", "ins-one")
        await agent.want_until(idle=3)
        await world.until(lambda: bool(conditions_by_type(world.config("node-1"))))
        before = (world.config("node-1") or {})["metadata"]["uid"]

        for noun in ("vacancies", "vacancies:changes", "vacancies:marks"):
            await world.enis.redis.delete(eni_key(CLUSTER, noun))
        agent.bind(2)
        await agent.want_until(idle=3)  # two more than before: told anew

        def is_shown() -> bool:
            infos = (world.config("node-1") or {}).get("status", {}).get("eniInfos", [])
            return [each["addresses"] for each in infos] == [5]

        await world.until(is_shown)
        assert (world.config("node-1") or {})["metadata"]["uid"] == before
        assert ("delete", NODE.plural) not in world.server.requests
