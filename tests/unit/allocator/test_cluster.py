"""Enabling and disabling: a refusal names both values, a repetition changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest

from services.allocator.domain.cluster import (
    PodInUse,
    Wanted,
    begin_disable,
    begin_enable,
    check_fixed,
    failed,
    opened,
    succeeded,
    waits,
)
from services.allocator.domain.cluster_checks import (
    ForeignAddress,
    KubernetesFacts,
    Look,
    SubnetLook,
    check_kubernetes,
    check_subnets,
)
from shared.annotations import NetworkMode
from shared.clusters import Cluster, Progress, Verb
from shared.errors import (
    CannotChange,
    ClusterChanging,
    ClusterNotEnabled,
    FixedIpNotSupported,
    InvalidInput,
    KubernetesUnsuited,
    LeasesRetained,
    NotFound,
    PodsExist,
    SubnetInUse,
    WrongVpc,
)
from shared.ids import Identity, NodeName, SubnetId, VpcId, Zone
from tests.support.clusters import enabled_cluster

NOW = datetime(2026, 1, 2, tzinfo=UTC)
A, B = SubnetId("subnet-a"), SubnetId("subnet-b")
POD = Identity("default", "web-0", "berth")


def wanted(**changes: object) -> Wanted:
    words = Wanted(modes=(NetworkMode.SHARED,), subnets=(A,), has_fixed_ips=True, pods_max=30)
    return replace(words, **changes)  # type: ignore[arg-type] # the test's own words


def enable(current: Cluster | None, **changes: object) -> Cluster:
    return begin_enable(current, wanted(**changes), by="ann", now=NOW)


def disable(
    current: Cluster | None, *, pods: int = 0, retained: int = 0, ends_retained: bool = False
) -> Cluster:
    found = [PodInUse(pod=f"default/web-{n}", node=NodeName("node-1")) for n in range(pods)]
    return begin_disable(
        current, found, retained, ends_retained=ends_retained, by="bob", now=NOW
    )


def seen(
    name: SubnetId, *, vpc: str = "vpc-one", foreign: tuple[ForeignAddress, ...] = ()
) -> SubnetLook:
    return SubnetLook(
        subnet=name,
        vpc=VpcId(vpc),
        zone=Zone("zone-1"),
        cidr=IPv4Network("10.0.1.0/24"),
        enis=0,
        addresses=0,
        foreign=foreign,
        foreign_count=len(foreign),
    )


def look(*subnets: SubnetLook) -> Look:
    return Look(
        revision=1, subnets={each.subnet: each for each in subnets}, enis=0, waits_for=None
    )


STRANGER = ForeignAddress(address=IPv4Address("10.0.1.9"), kind="CLB", resource="lb-1")


def test_enabling_begins_with_what_was_named_and_serves_nobody_yet() -> None:
    begun = enable(None)

    assert begun.operation.verb is Verb.ENABLE
    assert begun.operation.progress is Progress.RUNNING
    assert (begun.revision, begun.is_enabled, begun.was_enabled) == (1, False, False)
    assert [each.subnet for each in begun.subnets] == [A]


def test_the_same_words_again_change_nothing_at_any_point() -> None:
    begun = enable(None)
    open_now = opened(begun, (), now=NOW)
    done = succeeded(open_now, now=NOW)

    for at in (begun, open_now, done):
        assert enable(at) is at


def test_an_enabling_under_way_is_not_given_other_words() -> None:
    with pytest.raises(ClusterChanging, match="being enabled with other words by ann"):
        enable(enable(None), pods_max=31)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"has_fixed_ips": False}, ["fixed-IP support is on", "cannot become off"]),
        ({"pods_max": 61}, ["pod maximum per node is 30", "cannot become 61"]),
        ({"modes": (NetworkMode.EXCLUSIVE,)}, ["tke-direct-eni lacks tke-route-eni"]),
    ],
)
def test_what_is_settled_cannot_change(changes: dict[str, object], said: list[str]) -> None:
    settled = enabled_cluster("subnet-a", pods_max=30)

    with pytest.raises(CannotChange) as refused:
        enable(settled, **changes)

    assert all(each in str(refused.value) for each in said), str(refused.value)


def test_a_mode_can_be_added_later() -> None:
    both = (NetworkMode.SHARED, NetworkMode.EXCLUSIVE)

    again = enable(enabled_cluster("subnet-a", pods_max=30), modes=both)

    assert set(again.modes) == set(both)
    assert again.is_running
    assert again.is_enabled, "nodes are served meanwhile"


def test_subnets_of_an_enabled_cluster_are_changed_by_their_own_commands() -> None:
    with pytest.raises(InvalidInput, match="berth subnet add"):
        enable(enabled_cluster("subnet-a", pods_max=30), subnets=(A, B))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"subnets": (A, A)}, "each subnet once"), ({"subnets": ()}, "at least one of each")],
)
def test_words_that_make_no_sense_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        enable(None, **changes)


def test_an_enabling_that_failed_settles_nothing() -> None:
    refused = failed(enable(None), NotFound("no such subnet"), now=NOW)

    again = enable(refused, has_fixed_ips=False, pods_max=61)

    assert (again.has_fixed_ips, again.pods_max, again.is_running) == (False, 61, True)
    assert (refused.is_enabled, refused.operation.code) == (False, "not_found")


def test_after_a_disabling_everything_may_be_named_anew() -> None:
    off = succeeded(disable(enabled_cluster("subnet-a", pods_max=30)), now=NOW)

    again = enable(off, has_fixed_ips=False, pods_max=61, subnets=(B,))

    assert [each.subnet for each in again.subnets] == [B]
    assert again.revision == off.revision + 1


def test_a_cluster_that_is_being_disabled_is_not_enabled() -> None:
    with pytest.raises(ClusterChanging, match="is being disabled since"):
        enable(disable(enabled_cluster("subnet-a", pods_max=30)))


@pytest.mark.parametrize("version", ["1.10.0", "v1.28.3-tke.1", "2.0"])
def test_kubernetes_from_1_10_on_is_taken(version: str) -> None:
    assert check_kubernetes(KubernetesFacts(version=version, uses_cni=True)) is None


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (KubernetesFacts(version="1.9.11", uses_cni=True), "1.9.11: 1.10 or newer"),
        (KubernetesFacts(version="latest", uses_cni=True), "not a version"),
        (KubernetesFacts(version="1.20", uses_cni=False), "without CNI"),
    ],
)
def test_a_kubernetes_that_cannot_serve_is_refused(facts: KubernetesFacts, said: str) -> None:
    with pytest.raises(KubernetesUnsuited, match=said):
        check_kubernetes(facts)


def test_what_was_not_checked_is_said() -> None:
    nothing = KubernetesFacts(version=None, uses_cni=None)
    half = KubernetesFacts(version="1.20", uses_cni=None)

    assert check_kubernetes(None) == check_kubernetes(nothing)
    assert "Kubernetes was not checked" in str(check_kubernetes(nothing))
    assert "CNI was not checked" in str(check_kubernetes(half))


def test_a_subnet_that_does_not_exist_is_named() -> None:
    with pytest.raises(NotFound, match="no such subnet at the cloud: subnet-b"):
        check_subnets([A, B], look(seen(A)), has_fixed_ips=False, settled=())


def test_subnets_of_two_vpcs_are_refused_with_both() -> None:
    with pytest.raises(WrongVpc, match="subnet-a is in vpc-one, subnet-b is in vpc-two"):
        check_subnets(
            [A, B], look(seen(A), seen(B, vpc="vpc-two")), has_fixed_ips=False, settled=()
        )


def test_with_fixed_ips_only_empty_subnets_are_accepted() -> None:
    shared = look(seen(A, foreign=(STRANGER,)))

    with pytest.raises(SubnetInUse, match=r"1 addresses are not ours: 10.0.1.9 \(CLB lb-1\)"):
        check_subnets([A], shared, has_fixed_ips=True, settled=())

    [note] = check_subnets([A], shared, has_fixed_ips=False, settled=())
    assert "subnet-a is shared with others" in note
    assert check_subnets([A], shared, has_fixed_ips=True, settled=[A]) == [note], (
        "what came later forbids nothing"
    )


def test_a_cluster_with_pods_is_not_disabled_and_the_pods_are_listed() -> None:
    with pytest.raises(PodsExist) as refused:
        disable(enabled_cluster("subnet-a"), pods=23)

    assert "23 pods use addresses" in str(refused.value)
    assert str(refused.value).count(" on node-1") == 20
    assert "and 3 more" in str(refused.value)


def test_retained_leases_end_only_when_that_was_meant() -> None:
    cluster = enabled_cluster("subnet-a")

    with pytest.raises(LeasesRetained, match="7 leases of pods that are away"):
        disable(cluster, retained=7)

    begun = disable(cluster, retained=7, ends_retained=True)
    assert begun.is_disabling
    assert not begun.is_enabled, "nobody gets a new address from this moment on"
    assert begun.operation.total == 7


def test_disabling_again_changes_nothing() -> None:
    begun = disable(enabled_cluster("subnet-a"))
    done = succeeded(begun, now=NOW)

    assert disable(begun) is begun
    assert disable(done) is done
    assert (done.subnets, done.was_enabled) == ((), False)


def test_a_disabling_that_waits_for_retained_leases_may_be_told_to_end_them() -> None:
    begun = disable(enabled_cluster("subnet-a"))

    told = disable(begun, retained=2, ends_retained=True)

    assert told.operation.ends_retained


def test_a_cluster_that_was_never_enabled_is_not_disabled() -> None:
    with pytest.raises(ClusterNotEnabled):
        disable(None)


def test_a_disabling_that_fails_leaves_the_cluster_enabled() -> None:
    begun = disable(enabled_cluster("subnet-a"))

    undone = failed(begun, PodsExist("web-0 on node-1"), now=NOW)

    assert undone.is_enabled
    assert undone.operation.progress is Progress.FAILED
    assert [each.subnet for each in undone.subnets] == [A]


def test_never_is_refused_where_fixed_ips_are_not_supported() -> None:
    with pytest.raises(FixedIpNotSupported, match=r"default/web-0@berth: .* Never"):
        check_fixed(enabled_cluster("subnet-a", has_fixed_ips=False), POD)
    with pytest.raises(ClusterNotEnabled, match="is being disabled"):
        check_fixed(disable(enabled_cluster("subnet-a")), POD)

    check_fixed(enabled_cluster("subnet-a"), POD)
    check_fixed(None, POD)


def test_a_wait_is_written_down_once() -> None:
    begun = enable(None)

    told = waits(begun, "the cloud is away", now=NOW + timedelta(seconds=1))

    assert told.revision == begun.revision + 1
    assert waits(told, "the cloud is away", now=NOW + timedelta(seconds=2)) is told
