"""What is foreign in a subnet, and which node is below the cluster's maximum."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from services.eni_manager.domain.cluster_fit import quota_warning
from services.eni_manager.domain.foreign import foreign_among
from services.eni_manager.domain.records import Demand, NodeRecord
from shared.annotations import NetworkMode
from shared.cloud.words import UsedAddress
from shared.ids import InstanceId, NodeName
from tests.support.clusters import NOW, enabled_cluster

KEPT, FREE = IPv4Address("10.0.1.8"), IPv4Address("10.0.1.9")
NODE = NodeRecord(
    node=NodeName("node-1"),
    instance=InstanceId("ins-one"),
    incarnation=1,
    demand=Demand(),
    heard_at=NOW,
    enis_max=2,
    addresses_max=5,
)


@pytest.mark.parametrize(
    ("used", "is_foreign"),
    [
        (UsedAddress(address=FREE, kind="ENI", resource="eni-ours"), False),
        (UsedAddress(address=FREE, kind="ENI", resource="eni-theirs"), True),
        (UsedAddress(address=FREE, kind="CLB"), True),
        (UsedAddress(address=KEPT, kind="RESERVE", resource="rsv-1"), False),
        (UsedAddress(address=FREE, kind="RESERVE", resource="rsv-1"), True),
        (UsedAddress(address=KEPT, kind="ENI", resource="eni-theirs"), True),
    ],
    ids=["our ENI", "their ENI", "no ENI", "kept for a lease", "kept by them", "stolen lease"],
)
def test_what_is_not_ours_is_foreign(used: UsedAddress, is_foreign: bool) -> None:
    assert bool(foreign_among([used], {"eni-ours"}, {KEPT})) is is_foreign


def test_a_quota_below_the_pod_maximum_is_told_with_both_numbers() -> None:
    warning = quota_warning(NODE, enabled_cluster("subnet-a", pods_max=11))

    assert warning is not None
    assert "takes 10 pods, below the cluster's maximum of 11" in warning
    assert "2 ENIs with 5 addresses each" in warning


def test_a_quota_that_suffices_or_is_not_known_is_no_reason_to_warn() -> None:
    cluster = enabled_cluster("subnet-a", pods_max=10)

    assert quota_warning(NODE, cluster) is None
    assert quota_warning(replace(NODE, enis_max=None), cluster) is None
    assert quota_warning(NODE, None) is None


def test_pods_with_an_eni_of_their_own_are_counted_by_enis() -> None:
    cluster = replace(enabled_cluster("subnet-a", pods_max=3), modes=(NetworkMode.EXCLUSIVE,))

    warning = quota_warning(NODE, cluster)

    assert warning is not None
    assert "takes 2 pods" in warning
