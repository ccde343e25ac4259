"""Claims of another component, read from its cluster's API server, beside a cloud that is used.

Allocator, eni_manager, bus, store and cloud are real; an agent stands in for a node.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from berth.commands.adopting import Imported, put
from berth.commands.recover import restore_leases
from berth.import_cluster import read_cluster
from berth.import_sources import read_uses
from berth.imports import Seen, adopt
from berth.programs import base_environment, python_module
from shared.addresses import AddressState
from shared.annotations import DELETE_POLICY
from shared.clock import SystemClock
from shared.errors import NotAuthorised
from shared.kubernetes.definitions import manifests
from tests.support.allocator_beside import allocator
from tests.support.cluster_topology import apart
from tests.support.eni_world import CLUSTER, EniWorld, eni_world, eventually
from tests.support.kubernetes.access import kubeconfig
from tests.support.kubernetes.kinds import DEFINITIONS, PODS
from tests.support.kubernetes.server import ApiServer, api_server
from tests.support.operators import Operator
from tests.support.servers import NatsServer, RedisServer

PAGE = 3  # so that every list has several


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """The cluster that claims come from, beside ours."""

    world: EniWorld
    server: ApiServer
    kubeconfig: Path

    def claim(self, name: str, address: str, **spec: Any) -> None:
        kind = self.server.store.kinds["networking.tke.cloud.tencent.com", "v1", "vpcipclaims"]
        body = {
            "metadata": {"name": name},
            "spec": {"type": "tke-route-eni", "deletePolicy": "Never"} | spec,
            "status": {"vpcIP": address},
        }
        self.server.store.create(kind, "shop", body)
        self.server.store.change(
            kind, "shop", name, lambda it: it.update(status=body["status"])
        )

    def pod(self, name: str, address: str, policy: str = "Immediate", **spec: Any) -> None:
        body = {
            "metadata": {"name": name, "annotations": {DELETE_POLICY: policy}},
            "spec": {"nodeName": "node-9"} | spec,
            "status": {"phase": "Running", "podIP": address},
        }
        self.server.store.create(PODS, "shop", body)
        self.server.store.change(
            PODS, "shop", name, lambda it: it.update(status=body["status"])
        )

    async def run(self, *, is_trial: bool) -> Imported:
        return await put(
            self.world.bus, await read_cluster(self.kubeconfig, page=PAGE), is_trial=is_trial
        )


@pytest.fixture
async def elsewhere(
    nats_server: NatsServer, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[Elsewhere]:
    async with (
        eni_world(
            nats_server,
            redis_server,
            tmp_path,
            subnets=[],
            change=apart,
            cluster_interval_s=0.05,
            warm_addresses_min=2,
            warm_addresses_max=2,
        ) as world,
        world.manager(),
        allocator(world, cluster_interval_s=0.05),
        api_server() as server,
    ):
        await eventually(Operator(world.bus).is_answered)
        await Operator(world.bus).enable("subnet-pods")
        for each in manifests():
            server.store.create(DEFINITIONS, "", each)
        yield Elsewhere(world=world, server=server, kubeconfig=kubeconfig(server, tmp_path))


def reasons(found: Imported) -> dict[str, str]:
    return {each.claim.removeprefix("shop/"): each.reason for each in found.refused}


def places(found: Imported) -> dict[str, str | None]:
    return {each.claim.removeprefix("shop/"): each.place for each in found.adopted}


async def test_what_the_cloud_and_the_pods_say_decides_what_is_adopted(
    elsewhere: Elsewhere,
) -> None:
    cloud = elsewhere.world.cloud
    agent = await elsewhere.world.agent("node-1", "ins-one")
    await agent.want_until(idle=2)
    [given, *_] = sorted(map(str, agent.owned))
    wanted = [{"PrivateIpAddress": f"10.0.4.{last}", "Primary": False} for last in (101, 102)]
    eni = await cloud.created("subnet-pods", PrivateIpAddresses=wanted)
    balancer = {"subnet": "subnet-pods", "address": "10.0.4.103", "type": "CLB"}
    await cloud.admin("POST", "foreign-addresses", balancer)
    elsewhere.claim("free", "10.0.4.100", expiredDuration="24h")
    elsewhere.claim("theirs", "10.0.4.101")
    elsewhere.pod("theirs", "10.0.4.101")
    elsewhere.pod("unclaimed", "10.0.4.102", "Never")
    elsewhere.claim("balancer", "10.0.4.103")
    elsewhere.claim("given", given)
    elsewhere.claim("moved", "10.0.4.104")
    elsewhere.pod("moved", "10.0.4.105")
    elsewhere.claim("taken", "10.0.4.105")
    elsewhere.claim("nowhere", "10.0.4.106")
    elsewhere.pod("nowhere", "10.0.4.106")
    elsewhere.pod("unknown", "10.0.4.107", "Never")
    elsewhere.pod("host", "10.0.4.108", "Never", hostNetwork=True)
    elsewhere.claim("outside", "10.9.9.9")
    elsewhere.claim("twice", "10.0.4.100")

    tried = await elsewhere.run(is_trial=True)
    untouched = await elsewhere.world.leases()
    done = await elsewhere.run(is_trial=False)
    again = await elsewhere.run(is_trial=False)

    theirs = f"{eni}, not ours"
    assert places(tried) == {"free": "free", "theirs": theirs, "unclaimed": theirs}
    assert untouched == {}
    assert places(done) == places(tried)
    assert reasons(again) == reasons(done) == reasons(tried)
    assert (again.adopted, again.known) == ([], 3)
    assert reasons(tried) == {
        "balancer": "10.0.4.103 is used by CLB",
        "given": next(each for each in reasons(tried).values() if each.startswith(given)),
        "moved": "its pod runs on 10.0.4.105 on node node-9, not on 10.0.4.104",
        "taken": "pod shop/moved on node node-9 has 10.0.4.105",
        "nowhere": "its pod runs on 10.0.4.106, which the cloud has nowhere",
        "unknown": "the cloud has 10.0.4.107 on no ENI",
        "outside": (
            "address: '10.9.9.9' is not allowed; allowed: one of a container subnet"
            " (subnet-pods 10.0.4.0/24)"
        ),
        "twice": "10.0.4.100 is shop/free's, too",
    }
    assert "of node node-1 for any pod of that node" in reasons(tried)["given"]
    leases = await elsewhere.world.leases()
    assert {name: (str(it.address), it.state) for name, it in leases.items()} == {
        "free": ("10.0.4.100", AddressState.PARKED),
        "theirs": ("10.0.4.101", AddressState.PARKED),
        "unclaimed": ("10.0.4.102", AddressState.PARKED),
    }


async def test_an_import_that_was_interrupted_goes_on_where_it_stopped(
    elsewhere: Elsewhere,
) -> None:
    for number in range(20, 40):
        elsewhere.claim(f"web-{number}", f"10.0.4.{number}")
    source = await read_cluster(elsewhere.kubeconfig, page=PAGE)
    world = elsewhere.world
    subnets = {name: it.cidr for name, it in (await Operator(world.bus).subnets()).items()}
    seen = Seen(uses=await read_uses(world.bus, list(subnets)))
    first = adopt(source.objects, subnets, SystemClock().now(), seen).leases[:7]
    await restore_leases(world.bus, first, is_trial=False, replace=False)

    rest = await elsewhere.run(is_trial=False)

    assert (len(rest.adopted), rest.known, rest.refused) == (13, 7, [])
    assert len(await world.leases()) == 20


async def test_pages_that_grow_too_old_are_read_anew(elsewhere: Elsewhere) -> None:
    for number in range(20, 28):
        elsewhere.claim(f"web-{number}", f"10.0.4.{number}")
    elsewhere.server.faults.pages_gone = 2

    found = await elsewhere.run(is_trial=True)

    assert len(found.adopted) == 8
    assert elsewhere.server.faults.pages_gone == 0


async def test_a_list_that_is_forbidden_is_named(elsewhere: Elsewhere) -> None:
    elsewhere.server.faults.forbidden.add(("list", "vpcipclaims"))

    with pytest.raises(NotAuthorised, match='cannot list resource "vpcipclaims"'):
        await elsewhere.run(is_trial=True)


async def test_a_person_imports_by_a_kubeconfig(elsewhere: Elsewhere) -> None:
    elsewhere.claim("web-0", "10.0.4.100")
    environment = base_environment() | {
        "BERTH_NATS_URL": str(elsewhere.world.settings["nats_url"]),
        "BERTH_CLUSTER": CLUSTER,
    }
    process = await asyncio.create_subprocess_exec(
        *python_module("berth.main"),
        *("import", "--kubeconfig", str(elsewhere.kubeconfig), "--apply", "--json"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=sys.stderr,
    )
    said, _ = await process.communicate()

    document = json.loads(said)
    assert process.returncode == 0
    assert (document["adopted"], document["applied"], document["refused"]) == (1, True, [])
    assert document["leases"][0]["at_the_cloud"] == "free"
    assert (await elsewhere.world.leases()).keys() == {"web-0"}
