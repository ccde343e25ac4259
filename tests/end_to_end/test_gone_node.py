"""A node burns with fixed pods on it: a person says so, and they come back on another."""

from __future__ import annotations

import json
import random
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import yaml

from berth.demo.placement import another_node, home_places, place_pods
from berth.demo.stage import Stage
from berth.demo.workloads import choose
from berth.demo.world import World
from berth.manifests.pods import reborn
from berth.operator import open_operator
from berth.playground.playground import Playground, StartOptions, ignore
from berth.playground.state import PlaygroundState
from berth.playground.topology import default_topology
from shared.addresses import AddressState
from shared.ids import InstanceId
from tests.support.berth_command import Berth

pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(180)]


async def terminate(state: PlaygroundState, instance: InstanceId) -> None:
    """As whoever owns the machine does, at the cloud's console."""
    secrets = yaml.safe_load(state.cloud_secret_file.read_text(encoding="utf-8"))
    url = f"{state.cloud_url}/admin/instances/{instance}/terminate"
    headers = {"Authorization": f"Bearer {secrets['admin_token']}"}
    async with aiohttp.ClientSession() as http, http.post(url, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def test_the_pods_of_a_burnt_node_have_their_addresses_on_another(run_dir: Path) -> None:
    rng = random.Random(3)
    berth = Berth(run_dir=run_dir, started=[])
    playground = await Playground.start(
        run_dir=run_dir, topology=default_topology(), options=StartOptions(), report=ignore
    )
    try:
        async with AsyncExitStack() as stack:
            stage = await Stage.open(playground.state, stack, stays=False)
            bus = await stack.enter_async_context(open_operator(playground.state))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            world = World(state=playground.state, bus=bus, http=http)
            places = home_places(stage.places)
            placed = place_pods(choose(None, rng).pods, places)
            actors = [await stage.start(spec, place, lambda _: None) for spec, place in placed]
            burnt = actors[0].place
            lost = [each for each in actors if each.place == burnt]
            instance = playground.state.node(burnt.node).instance

            status, _, said = await berth.run("node", "gone", burnt.node)
            assert status == 1
            assert f"instance {instance} of node {burnt.node} is running" in said

            await terminate(playground.state, instance)
            await playground.process(f"agent-{burnt.node}").stop()
            status, told, said = await berth.run("node", "gone", burnt.node, "--json")
            assert status == 0, said
            assert json.loads(told)["leases"] == len(lost)

            place = another_node(burnt, stage.places)
            for old in lost:
                lease = await world.lease_of(old.name)
                assert lease is not None
                assert lease.state is AddressState.PARKED
                new = await stage.start(reborn(old.spec, rng), place, lambda _: None)
                assert new.address == old.address
                probed = await stage.runner(place.node).probe(None, "tcp", new.address)
                assert probed.is_answered
                cloud = await world.cloud()
                eni = cloud.eni_with(new.address)
                assert eni is not None
                assert eni.instance == playground.state.node(place.node).instance
                assert cloud.broken_rules == []

            status, told, _ = await berth.run("node", "list", "--json")
            names = [each["node"] for each in json.loads(told)]
            assert burnt.node not in names
            assert place.node in names
    finally:
        await playground.stop()
