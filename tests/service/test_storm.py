"""Many pods at once on nodes without an address: each has its own, for few calls."""

from __future__ import annotations

from tests.bench.storm import Shape, storm


async def test_a_storm_of_pods_costs_two_calls_for_each_eni_that_is_needed() -> None:
    shape = Shape(nodes=6, pods_per_node=40, create_s=0.05, attach_s=0.1, assign_s=0.05)

    outcome = await storm(shape)

    assert outcome.calls == {
        "CreateNetworkInterface": shape.enis_needed,
        "AttachNetworkInterface": shape.enis_needed,
    }
    assert outcome.throttled == 0
