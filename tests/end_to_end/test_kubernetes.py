"""A user's manifest, unchanged, on a cluster: API server, webhooks, scheduler, cloud and nodes'
networks. Everything is ours and runs as its own process but the cluster's own parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.eni_manager.kubernetes.node_objects import CONDITION, TAINT
from services.eni_manager.kubernetes.shown import conditions_by_type
from shared.kubernetes.definitions import GROUP
from tests.support.kubernetes.kinds import NODES, Kind
from tests.support.played_cluster import PlayedCluster, Ran, played_cluster

pytestmark = [pytest.mark.kernel, pytest.mark.long, pytest.mark.timeout(240)]


async def test_the_example_keeps_its_addresses_over_deletions_and_nodes(
    run_dir: Path, tmp_path: Path
) -> None:
    async with played_cluster(run_dir, tmp_path) as cluster:
        await cluster.until(lambda: _can_serve(cluster))
        await cluster.apply_example()
        first = [await _start(cluster, ordinal) for ordinal in range(3)]
        addresses = {each.body["metadata"]["name"]: each.address for each in first}
        assert len(set(addresses.values())) == 3
        await cluster.until(lambda: _phases(cluster) == dict.fromkeys(addresses, "Bound"))

        # Deleted, and made again where the scheduler likes it best: at home.
        again: list[Ran] = []
        for ordinal, ran in enumerate(first):
            await cluster.delete(ran)
            again.append(await _start(cluster, ordinal))
            assert (again[-1].address, again[-1].node) == (ran.address, ran.node)

        # On another node, where there is one in the address' zone.
        moved = 0
        for ordinal, ran in enumerate(again):
            await cluster.delete(ran)
            zone = cluster.nodes()[ran.node]
            elsewhere = [it for it, its in cluster.nodes().items() if it != ran.node]
            if zone not in [cluster.nodes()[it] for it in elsewhere]:
                continue
            there = await _start(cluster, ordinal, not_on=ran)
            assert there.address == ran.address
            assert there.node != ran.node
            assert cluster.nodes()[there.node] == zone
            moved += 1
        assert moved, "no pod was in the zone of two nodes"

        name = first[0].body["metadata"]["name"]
        assert {"AddressBound", "AddressRetained"} <= cluster.told(name)
        assert cluster.server.admission.failures == []


async def _start(cluster: PlayedCluster, ordinal: int, not_on: Ran | None = None) -> Ran:
    pod = await cluster.make_pod(ordinal)
    allowed = [name for name in cluster.nodes() if not_on is None or name != not_on.node]
    return await cluster.run(pod, await cluster.schedule(pod, allowed))


def _can_serve(cluster: PlayedCluster) -> bool:
    nodes = cluster.all(NODES).values()
    return all(
        conditions_by_type(each).get(CONDITION, {}).get("status") == "True"
        and TAINT not in [taint["key"] for taint in each["spec"].get("taints", [])]
        for each in nodes
    )


def _phases(cluster: PlayedCluster) -> dict[str, str]:
    claims: Kind = cluster.server.store.kinds[GROUP, "v1", "vpcipclaims"]
    found = cluster.all(claims).items()
    return {name: each.get("status", {}).get("phase", "") for name, each in found}
