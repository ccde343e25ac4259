"""A lease as bytes: nothing is lost, and nothing is written that is not set."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from pydantic import ValidationError

from services.allocator.adapters.lease_codec import decode_lease, encode_lease
from services.allocator.domain.leases import Lease
from shared.addresses import AddressState
from shared.ids import EniId, Identity, NodeName, PodUid, SubnetId, generation

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


def test_what_is_not_set_is_not_written() -> None:
    written = json.loads(encode_lease(PARKED))

    assert written.keys() == {"v", "a", "s", "g", "sn", "u", "c", "t"}


def test_the_largest_generation_is_exact_in_a_scripts_number() -> None:
    assert BOUND.generation < 1 << 53
    assert float(BOUND.generation) == BOUND.generation


def test_a_generation_written_as_text_by_a_script_is_the_same() -> None:
    record = json.loads(encode_lease(BOUND))
    record["g"] = str(record["g"])

    assert decode_lease(BOUND.identity.token, json.dumps(record)) == BOUND


@pytest.mark.parametrize(("name", "value"), [("v", 2), ("s", "stock"), ("g", 0), ("a", "x")])
def test_a_shape_that_is_not_ours_is_refused(name: str, value: object) -> None:
    record = json.loads(encode_lease(BOUND)) | {name: value}

    with pytest.raises(ValidationError):
        decode_lease(BOUND.identity.token, json.dumps(record))
