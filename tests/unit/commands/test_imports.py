"""Which claims of another component are adopted, and why the others are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
import yaml

from berth.imports import adopt, read_objects
from shared.addresses import AddressState
from shared.errors import InvalidInput

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBNETS = {"subnet-a": IPv4Network("10.0.1.0/24"), "subnet-b": IPv4Network("10.0.2.0/24")}


def claim(name: str, address: str | None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.tke.cloud.tencent.com/v1",
        "kind": "VpcIPClaim",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"type": "tke-route-eni", "deletePolicy": "Never"} | spec,
        "status": {} if address is None else {"vpcIP": address},
    }


def test_a_retained_claim_becomes_a_lease_without_a_place() -> None:
    found = adopt([claim("web-0", "10.0.2.7", expiredDuration="24h")], SUBNETS, NOW)

    (lease,) = found.leases
    assert (lease.identity.namespace, lease.identity.name) == ("shop", "web-0")
    assert (lease.address, lease.subnet) == (IPv4Address("10.0.2.7"), "subnet-b")
    assert (lease.state, lease.node, lease.eni) == (AddressState.PARKED, None, None)
    assert lease.expires_after == timedelta(hours=24)
    assert found.refused == []


def test_an_address_object_may_name_the_claim_instead() -> None:
    address = {
        "kind": "VpcIP",
        "metadata": {"name": "10.0.1.9"},
        "spec": {"claimRef": {"namespace": "shop", "name": "web-0"}},
    }

    found = adopt([claim("web-0", None), address], SUBNETS, NOW)

    assert [each.address for each in found.leases] == [IPv4Address("10.0.1.9")]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (claim("x", "10.0.1.7", deletePolicy="Immediate"), "deletePolicy Immediate"),
        (claim("x", "10.0.1.7", type="tke-direct-eni"), "spec.type"),
        (claim("x", None), "names its address"),
        (claim("x", "10.0.1.300"), "an IPv4 address"),
        (claim("x", "10.9.9.9"), "subnet-a 10.0.1.0/24, subnet-b 10.0.2.0/24"),
        (claim("x", "10.0.1.7", expiredDuration="soon"), "spec.expiredDuration"),
    ],
)
def test_each_claim_that_is_left_alone_has_its_reason(given: Any, reason: str) -> None:
    found = adopt([given], SUBNETS, NOW)

    assert found.leases == []
    (refused,) = found.refused
    assert refused.claim == "shop/x"
    assert reason in refused.reason


def test_an_address_of_two_claims_is_the_first_ones() -> None:
    found = adopt([claim("b", "10.0.1.7"), claim("a", "10.0.1.7")], SUBNETS, NOW)

    assert [each.identity.name for each in found.leases] == ["a"]
    assert [each.reason for each in found.refused] == ["10.0.1.7 is shop/a's, too"]


def test_lists_and_documents_are_read_alike() -> None:
    listed = yaml.safe_dump({"kind": "List", "items": [claim("a", "10.0.1.7")]})
    documents = yaml.safe_dump_all([claim("a", "10.0.1.7"), claim("b", "10.0.1.8")])

    assert len(read_objects(listed, "file")) == 1
    assert len(read_objects(documents, "file")) == 2
    assert read_objects("", "file") == []


@pytest.mark.parametrize("text", ["{", "- 1", "text", "items: [1]", "kind: VpcIPClaim"])
def test_what_is_no_dump_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^dump\.yaml: "):
        read_objects(text, "dump.yaml")
