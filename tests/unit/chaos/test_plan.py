"""Every nemesis meets two workloads, every workload meets as many as the others."""

from __future__ import annotations

from collections import Counter

from tests.chaos.nemeses import NEMESES
from tests.chaos.plan import plan
from tests.chaos.workloads import WORKLOADS


def test_every_nemesis_meets_two_workloads_and_every_workload_its_share() -> None:
    for seed in range(20):
        found = plan(list(WORKLOADS), list(NEMESES), seed=seed)

        met = Counter(nemesis for nemeses in found.values() for nemesis in nemeses)
        sizes = [len(nemeses) for nemeses in found.values()]
        assert set(met) == set(NEMESES)
        assert set(met.values()) == {2}
        assert all(len(set(nemeses)) == len(nemeses) for nemeses in found.values())
        assert max(sizes) - min(sizes) <= 2


def test_a_seed_repeats_its_plan() -> None:
    one, other = (plan(list(WORKLOADS), list(NEMESES), seed=7) for _ in range(2))

    assert one == other
    assert one != plan(list(WORKLOADS), list(NEMESES), seed=8)
