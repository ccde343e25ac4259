"""A lease as bytes: nothing is lost, and nothing is written that is not set."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.allocator.adapters.lease_codec import decode_lease, encode_lease
from services.allocator.domain.leases import Lease
from shared.addresses import AddressState
from shared.ids import AttachmentKey, EniId, Identity, NodeName, PodUid, SubnetId, generation
from shared.store import lease_records
from shared.store.lease_records import pack_attachment, unpack_attachment

BOUND = Lease(
    identity=Identity("default", "web-0.a", "berth"),
    address=IPv4Address("10.0.0.9"),
    state=AddressState.BOUND_FIXED,
    generation=generation(8191, (1 << 40) - 1),
    subnet=SubnetId("subnet-a"),
    node=NodeName("10.0.0.2"),
    eni=EniId("eni-1"),
    moving_to=None,
    pod_uid=PodUid("uid-1"),
    attachment="berth/s1/eth0",
    since=datetime(2026, 1, 1, 12, 0, 0, 123000, tzinfo=UTC),
    expires_after=timedelta(minutes=5),
)
MOVING = replace(BOUND, state=AddressState.MOVING, moving_to=NodeName("node-2"))
PARKED = replace(BOUND, state=AddressState.PARKED, node=None, eni=None, expires_after=None)


@pytest.mark.parametrize("lease", [BOUND, MOVING, PARKED], ids=lambda lease: lease.state)
def test_what_is_written_is_read_again(lease: Lease) -> None:
    assert decode_lease(lease.identity.token, encode_lease(lease)) == lease


def test_what_is_not_set_at_the_end_is_not_written() -> None:
    written = encode_lease(PARKED)

    assert written == (
        '[2,"10.0.0.9","p","9007199254740991","subnet-a",null,null,"uid-1","berth/s1/eth0",'
        "1767268800123]"
    )


def test_the_largest_generation_is_exact_in_a_scripts_number() -> None:
    assert BOUND.generation < 1 << 53
    assert float(BOUND.generation) == BOUND.generation


OLD = {  # version 1, as a pod of a StatefulSet was written
    "v": 1,
    "a": "10.0.0.9",
    "s": "bound_fixed",
    "g": 9007199254740991,
    "sn": "subnet-a",
    "n": "10.0.0.2",
    "e": "eni-1",
    "u": "uid-1",
    "c": "berth/s1/eth0",
    "t": 1767268800123,
    "x": 300,
}


def test_a_record_of_version_1_is_read() -> None:
    assert decode_lease(BOUND.identity.token, json.dumps(OLD)) == BOUND


def test_a_generation_written_as_text_by_a_script_of_version_1_is_the_same() -> None:
    record = json.dumps(OLD | {"g": str(OLD["g"])})

    assert decode_lease(BOUND.identity.token, record) == BOUND


@pytest.mark.parametrize(("name", "value"), [("v", 3), ("s", "stock"), ("g", 0), ("a", "x")])
def test_a_shape_that_is_not_ours_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="lease record"):
        decode_lease(BOUND.identity.token, json.dumps(OLD | {name: value}))


@pytest.mark.parametrize("body", ["[3]", "[]", "[2]", "null", '[2,"10.0.0.9","z","1","s"]'])
def test_an_array_that_is_not_ours_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match="lease record"):
        decode_lease(BOUND.identity.token, body)


@given(
    network=st.sampled_from(["berth", "another"]),
    container=st.one_of(
        st.text("0123456789abcdef", min_size=60, max_size=66),
        st.text("0123456789ABCDEF-_", min_size=64, max_size=64),
        st.text(st.characters(exclude_characters="/"), min_size=1),
    ),
    ifname=st.sampled_from(["eth0", "net1"]),
)
def test_an_attachment_is_the_same_after_it_was_packed(
    network: str, container: str, ifname: str
) -> None:
    attachment = str(AttachmentKey(network, container, ifname))

    packed = pack_attachment(attachment, BOUND.identity)

    assert unpack_attachment(packed, BOUND.identity) == attachment


def test_a_usual_attachment_is_packed() -> None:
    attachment = str(AttachmentKey("berth", "0123456789abcdef" * 4, "eth0"))

    assert len(pack_attachment(attachment, BOUND.identity)) == 43


def test_scripts_have_the_records_names_in_the_same_order() -> None:
    prelude = resources.files("services.allocator.adapters.lua").joinpath("prelude.lua")
    listed = re.search(r"NAMES = \{(.*?)\}", prelude.read_text(encoding="utf-8"), re.DOTALL)

    assert listed is not None
    assert tuple(re.findall(r"'(\w+)'", listed[1])) == lease_records._NAMES


@pytest.mark.parametrize("workload", ["StatefulSet:web", "Deployment:web", "StatefulSetLike:x"])
def test_a_workload_is_the_same_after_it_was_packed(workload: str) -> None:
    lease = replace(BOUND, workload=workload)

    assert decode_lease(lease.identity.token, encode_lease(lease)) == lease
