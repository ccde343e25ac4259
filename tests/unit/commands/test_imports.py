"""Which claims of another component are adopted, and why the others are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
import yaml

from berth.imported_pods import LivePod, live_pod
from berth.imports import Seen, adopt, read_objects
from shared.addresses import AddressState
from shared.annotations import DELETE_POLICY, NETWORKS
from shared.errors import InvalidInput
from shared.kubernetes.definitions import IDENTITY
from shared.messages.base import IdentityFields
from shared.messages.subnet_uses import AddressUse

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


def test_a_claim_without_a_namespace_is_named_so() -> None:
    nameless = claim("x", "10.0.1.7")
    del nameless["metadata"]["namespace"]

    (refused,) = adopt([nameless], SUBNETS, NOW).refused

    assert "metadata: '/x' is not allowed" in refused.reason


def test_what_another_berth_shows_is_adopted_where_its_name_comes_back() -> None:
    address = {
        "kind": "VpcIP",
        "metadata": {"name": "10.0.1.9"},
        "spec": {"claim": "shop/web-0"},
    }
    slot = claim("web.deployment.0", "10.0.1.8")
    slot["metadata"]["annotations"] = {IDENTITY: "shop/Deployment/web#0@berth"}

    found = adopt([claim("web-0", None), address, slot], SUBNETS, NOW)

    assert [each.address for each in found.leases] == [IPv4Address("10.0.1.9")]
    assert "`berth backup`" in found.refused[0].reason


def pod(name: str, address: str, **changes: Any) -> LivePod:
    found = live_pod(
        {
            "metadata": {
                "namespace": "shop",
                "name": name,
                "annotations": {DELETE_POLICY: "Never"},
            }
            | changes,
            "spec": {"nodeName": "node-1"},
            "status": {"podIP": address},
        }
    )
    assert found is not None
    return found


def test_a_fixed_pod_without_a_claim_is_adopted_unless_its_name_is_random() -> None:
    owner = {"kind": "ReplicaSet", "name": "api-1", "controller": True}
    random_one = pod("api-1-x", "10.0.1.8", ownerReferences=[owner])
    mistaken = pod("bad", "10.0.1.9", annotations={DELETE_POLICY: "Never", NETWORKS: "other"})
    seen = Seen(pods=[pod("web-0", "10.0.1.7"), random_one, mistaken])

    found = adopt([], SUBNETS, NOW, seen)

    assert [(each.claim, each.place) for each in found.adopted] == [("shop/web-0", None)]
    assert ["ReplicaSet api-1" in each.reason for each in found.refused] == [True, False]


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"hostNetwork": True}, {"podIP": "10.0.1.7"}),
        ({}, {"phase": "Succeeded", "podIP": "10.0.1.7"}),
        ({}, {"phase": "Pending"}),
        ({}, {"podIP": "2001:db8::1"}),
    ],
)
def test_a_pod_without_an_address_of_its_own_does_not_count(spec: Any, status: Any) -> None:
    metadata = {"namespace": "shop", "name": "web-0"}

    assert live_pod({"metadata": metadata, "spec": spec, "status": status}) is None


def test_an_address_that_is_leased_already_is_left_as_it_is() -> None:
    mine = IdentityFields(namespace="shop", name="web-0", network="berth")
    leased = {IPv4Address("10.0.1.7"): mine, IPv4Address("10.0.1.8"): mine}
    seen = Seen(pods=[pod("api-x", "10.0.1.8")], uses={}, leased=leased)

    found = adopt([claim("web-0", "10.0.1.7")], SUBNETS, NOW, seen)

    assert (found.adopted, found.known, found.refused) == ([], 2, [])


@pytest.mark.parametrize(
    ("use", "place"),
    [
        ({"kind": "ENI", "resource": "eni-1", "is_ours": True, "node": "n"}, "eni-1 of node n"),
        ({"kind": "ENI", "resource": "eni-2", "instance": "ins-9"}, "eni-2 of instance ins-9"),
        ({"kind": "RESERVE", "resource": "rsv-1"}, "rsv-1"),
    ],
)
def test_it_is_told_where_the_cloud_has_the_address(use: Any, place: str) -> None:
    seen = Seen(uses={IPv4Address("10.0.1.7"): AddressUse(address="10.0.1.7", **use)})

    (adopted,) = adopt([claim("web-0", "10.0.1.7")], SUBNETS, NOW, seen).adopted

    assert adopted.place is not None
    assert adopted.place.removesuffix(", not ours") == place


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
