"""The life of one container subnet, and what must be true before it goes."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Network

import pytest

from services.allocator.domain.cluster import begin_disable
from services.allocator.domain.cluster_checks import (
    SubnetLook,
)
from services.allocator.domain.container_subnets import (
    DRAIN_SETTLES,
    add,
    change,
    check_serving,
    notes_on,
    remove,
)
from shared.clusters import Cluster, SubnetState
from shared.errors import (
    CannotChange,
    ClusterChanging,
    ClusterNotEnabled,
    InvalidInput,
    NotFound,
    SubnetInUse,
)
from shared.ids import SubnetId, VpcId, Zone
from tests.support.clusters import NOW, enabled_cluster, subnet

A, B = SubnetId("subnet-a"), SubnetId("subnet-b")
LATER = NOW + DRAIN_SETTLES + timedelta(seconds=1)


def drained() -> Cluster:
    return enabled_cluster("subnet-a", subnet("subnet-b", SubnetState.DRAINING))


def seen(*, enis: int = 0, addresses: int = 0) -> SubnetLook:
    return SubnetLook(
        subnet=B,
        vpc=VpcId("vpc-one"),
        zone=Zone("zone-1"),
        cidr=IPv4Network("10.0.1.0/24"),
        enis=enis,
        addresses=addresses,
        foreign=(),
        foreign_count=0,
    )


def test_an_added_subnet_is_open_and_adding_it_again_changes_nothing() -> None:
    before = enabled_cluster("subnet-a")

    after = add(before, B, reclaims_under_pressure=True, now=NOW)

    found = after.subnet(B)
    assert found is not None
    assert (found.state, found.reclaims_under_pressure) == (SubnetState.OPEN, True)
    assert after.revision == before.revision + 1
    assert add(after, B, reclaims_under_pressure=True, now=LATER) is after


def test_adding_a_known_subnet_does_not_change_its_options() -> None:
    with pytest.raises(InvalidInput, match="berth subnet set"):
        add(enabled_cluster("subnet-a"), A, reclaims_under_pressure=True, now=NOW)


@pytest.mark.parametrize("state", SubnetState)
def test_a_state_is_set_once(state: SubnetState) -> None:
    before = enabled_cluster("subnet-a", "subnet-b")

    after = change(before, B, state=state, reclaims_under_pressure=None, now=LATER)

    found = after.subnet(B)
    assert found is not None
    assert found.state is state
    assert found.since == (NOW if state is SubnetState.OPEN else LATER)
    assert change(after, B, state=state, reclaims_under_pressure=None, now=LATER) is after


def test_a_drained_subnet_may_be_opened_again() -> None:
    after = change(drained(), B, state=SubnetState.OPEN, reclaims_under_pressure=None, now=NOW)

    assert after.subnet(B) == subnet("subnet-b")


def test_reclaim_under_pressure_is_off_until_somebody_switches_it_on() -> None:
    before = enabled_cluster("subnet-a")
    on = change(before, A, state=None, reclaims_under_pressure=True, now=NOW)
    off = change(on, A, state=None, reclaims_under_pressure=False, now=NOW)

    options = [each.subnets[0].reclaims_under_pressure for each in (before, on, off)]
    assert options == [False, True, False]


def test_reclaim_under_pressure_needs_leases_that_are_kept() -> None:
    with pytest.raises(CannotChange, match="without fixed IPs"):
        change(
            enabled_cluster("subnet-a", has_fixed_ips=False),
            A,
            state=None,
            reclaims_under_pressure=True,
            now=NOW,
        )


def test_an_unknown_subnet_is_answered_with_those_there_are() -> None:
    with pytest.raises(NotFound, match="subnet-b is not one of the cluster's: subnet-a"):
        change(
            enabled_cluster("subnet-a"),
            B,
            state=SubnetState.OPEN,
            reclaims_under_pressure=None,
            now=NOW,
        )


def test_a_subnet_goes_when_nothing_of_ours_is_left_in_it() -> None:
    after = remove(drained(), B, seen(), 0, now=LATER)

    assert [each.subnet for each in after.subnets] == [A]
    assert remove(drained(), B, None, 0, now=LATER).subnets == after.subnets, (
        "gone at the cloud"
    )


@pytest.mark.parametrize(
    ("cluster", "look", "leases", "said"),
    [
        (enabled_cluster("subnet-a", "subnet-b"), seen(), 0, "is open: `berth subnet drain"),
        (drained(), seen(enis=2, addresses=9), 0, "2 of our ENIs with 9 addresses"),
        (drained(), seen(), 4, "4 fixed leases are on its addresses"),
        (
            enabled_cluster(subnet("subnet-b", SubnetState.DRAINING)),
            seen(),
            0,
            "is the cluster's last",
        ),
    ],
)
def test_what_stands_in_the_way_is_told_with_its_numbers(
    cluster: Cluster, look: SubnetLook, leases: int, said: str
) -> None:
    with pytest.raises(SubnetInUse, match=said):
        remove(cluster, B, look, leases, now=LATER)


def test_a_drain_that_not_every_replica_can_know_of_is_waited_for() -> None:
    with pytest.raises(ClusterChanging, match="try again in 3 s"):
        remove(drained(), B, seen(), 0, now=NOW)


def test_subnets_change_only_while_the_cluster_is_enabled() -> None:
    disabling = begin_disable(
        enabled_cluster("subnet-a"), [], 0, ends_retained=False, by="ann", now=NOW
    )

    with pytest.raises(ClusterNotEnabled):
        check_serving(None)
    with pytest.raises(ClusterChanging, match="disable: Running"):
        check_serving(disabling)


def test_a_cluster_without_an_open_subnet_is_told_so() -> None:
    closed = enabled_cluster(subnet("subnet-a", SubnetState.CORDONED))

    assert notes_on(closed) == ["no subnet is open: no node gets new addresses"]
    assert notes_on(enabled_cluster("subnet-a")) == []
