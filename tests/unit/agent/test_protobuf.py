"""The wire format of protobuf: known bytes, and nothing that crashes the reader."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.node_agent.adapters.protobuf import Fields, encode
from shared.errors import InvalidInput


def test_the_bytes_are_those_of_the_documentation() -> None:
    assert encode((1, 150)) == b"\x08\x96\x01"
    assert encode((2, "testing")) == b"\x12\x07testing"
    assert encode((3, encode((1, 150)))) == b"\x1a\x03\x08\x96\x01"


def test_what_is_absent_is_empty_and_what_is_unknown_is_skipped() -> None:
    fixed = b"\x49" + bytes(8) + b"\x55" + bytes(4)  # fields 9 and 10, of fixed size
    fields = Fields(fixed + encode((2, "a"), (2, "b"), (1, 7), (1, 8)))

    assert (fields.number(1), fields.texts(2), fields.text(2)) == (8, ["a", "b"], "b")
    assert (fields.number(5), fields.text(5), fields.messages(5)) == (0, "", [])
    assert fields.message(5).text(1) == ""


@pytest.mark.parametrize(
    "data",
    [b"\x08", b"\x12\x05abc", b"\x0b", b"\xff" * 11, b"\x09\x00", b"\x0a\xff\xff\xff\x7f"],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        Fields(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(InvalidInput):
        fields = Fields(data)
        fields.texts(1)
        fields.messages(2)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 1 << 20), st.one_of(st.integers(0, (1 << 64) - 1), st.binary())
        )
    )
)
def test_what_is_written_is_read_again(values: list[tuple[int, int | bytes]]) -> None:
    fields = Fields(encode(*values))

    for number, value in values:
        if isinstance(value, int):
            last = [v for n, v in values if n == number and isinstance(v, int)][-1]
            assert fields.number(number) == last
