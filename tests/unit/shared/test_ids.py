"""Names: one token for any of them, and fences that rise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import (
    GENERATION_BITS,
    AttachmentKey,
    Identity,
    PodName,
    decode_token,
    encode_token,
    generation,
)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("node-1", "node-1"),
        ("10.0.0.2", "10%2E0%2E0%2E2"),
        ("a*b>c d", "a%2Ab%3Ec%20d"),
        ("50%", "50%25"),
        ("节点", "%E8%8A%82%E7%82%B9"),
    ],
)
def test_a_token_is_what_subjects_and_keys_can_hold(name: str, token: str) -> None:
    assert encode_token(name) == token


@given(NAMES)
def test_a_token_is_one_token_and_gives_its_name_back(name: str) -> None:
    token = encode_token(name)

    assert not set(token) & set(".*> \t\r\n{}:[]?^\\")
    assert decode_token(token) == name


@given(NAMES, NAMES)
def test_two_names_never_share_a_token(one: str, other: str) -> None:
    assert (encode_token(one) == encode_token(other)) == (one == other)


def test_an_empty_name_has_no_token() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        encode_token("")


def test_an_identity_survives_its_token() -> None:
    identity = Identity("default", "web-0.a", "berth")

    assert Identity.from_token(identity.token) == identity
    assert "." not in identity.token


def test_a_later_epoch_beats_every_counter_of_an_earlier_one() -> None:
    last_of_first = generation(1, (1 << GENERATION_BITS) - 1)

    assert generation(2, 0) > last_of_first > generation(1, 0) > 0


@pytest.mark.parametrize(("epoch", "counter"), [(0, 1), (1, -1), (1, 1 << GENERATION_BITS)])
def test_a_fence_out_of_range_is_a_bug(epoch: int, counter: int) -> None:
    with pytest.raises(AssertionError):
        generation(epoch, counter)


def test_attachments_of_different_keys_have_different_files() -> None:
    one = AttachmentKey("berth", "c1", "eth0")
    other = AttachmentKey("berth", "c1", "eth1")

    assert one.digest != other.digest
    assert len(one.digest) == 32


def test_names_read_as_people_write_them() -> None:
    assert str(PodName("default", "web-0")) == "default/web-0"
    assert str(Identity("default", "web-0", "berth")) == "default/web-0@berth"
    assert str(AttachmentKey("berth", "c1", "eth0")) == "berth/c1/eth0"
