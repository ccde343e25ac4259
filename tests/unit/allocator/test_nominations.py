"""Which addresses a pod may name for itself, and how others are refused."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from services.allocator.domain.cluster_checks import SubnetLook
from services.allocator.domain.nominations import nomination_of
from shared.clusters import SubnetState
from shared.errors import InvalidInput
from shared.ids import SubnetId, VpcId, Zone
from tests.support.clusters import enabled_cluster, subnet
from tests.support.lease_requests import identity

WEB_0 = identity("web-0")
CIDRS = {"subnet-a": "10.0.1.0/24", "subnet-b": "10.0.2.0/25", "subnet-c": "10.0.3.0/24"}
CLUSTER = enabled_cluster(
    "subnet-a",
    subnet("subnet-b", SubnetState.CORDONED),
    subnet("subnet-c", SubnetState.DRAINING),
)
LOOKS = {
    name: SubnetLook(
        subnet=SubnetId(name),
        vpc=VpcId("vpc-one"),
        zone=Zone("zone-1"),
        cidr=IPv4Network(cidr),
        enis=0,
        addresses=0,
        foreign=(),
        foreign_count=0,
    )
    for name, cidr in CIDRS.items()
}


@pytest.mark.parametrize("address", ["10.0.1.2", "10.0.1.254"])
def test_an_address_of_an_open_subnet_is_nominated_with_that_subnet(address: str) -> None:
    found = nomination_of(WEB_0, IPv4Address(address), CLUSTER, LOOKS)

    assert (str(found.address), found.subnet) == (address, "subnet-a")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        pytest.param("192.168.0.9", r"container subnet: subnet-a \(10\.0\.1\.0/24\)", id="out"),
        pytest.param("10.0.1.0", "besides its first two and its last", id="network"),
        pytest.param("10.0.1.1", "besides its first two and its last", id="gateway"),
        pytest.param("10.0.1.255", "besides its first two and its last", id="broadcast"),
        pytest.param("10.0.2.127", "besides its first two and its last", id="last-of-half"),
        pytest.param("10.0.2.9", "open subnet: subnet-b is cordoned", id="cordoned"),
        pytest.param("10.0.3.9", "open subnet: subnet-c is draining", id="draining"),
    ],
)
def test_another_is_refused_with_the_annotation_the_value_and_what_is_allowed(
    address: str, allowed: str
) -> None:
    with pytest.raises(InvalidInput, match=allowed) as refused:
        nomination_of(WEB_0, IPv4Address(address), CLUSTER, LOOKS)

    assert str(refused.value).startswith(
        f"tke.cloud.tencent.com/nominated-vpc-ip of {WEB_0}: {address!r} is not allowed"
    )
