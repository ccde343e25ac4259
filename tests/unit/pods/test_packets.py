"""Packets as bytes: what probes send is well formed, and what they look for is found."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

import pytest

from berth.pods.frames import FRAME_BYTES_MAX, FrameTooLong, framed, read_frame
from berth.pods.packets import checksum, echo_request, parse_echo_reply, udp_packet

SOURCE = IPv4Address("10.0.0.7")
HEADER = bytes([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0]) + SOURCE.packed + bytes(4)


def reply_to(request: bytes) -> bytes:
    return HEADER + b"\0" + request[1:]


def test_the_checksum_is_that_of_the_standard() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


@pytest.mark.parametrize("payload", [b"even", b"odd"])
def test_an_echo_request_sums_to_nothing(payload: bytes) -> None:
    assert checksum(echo_request(1, 2, payload)) == 0


def test_a_reply_is_recognised() -> None:
    reply = parse_echo_reply(reply_to(echo_request(77, 3, b"hello")))

    assert reply is not None
    assert (reply.source, reply.identifier, reply.sequence) == (SOURCE, 77, 3)
    assert reply.payload == b"hello"


@pytest.mark.parametrize("packet", [b"", HEADER, HEADER + echo_request(1, 1, b"")])
def test_what_is_no_reply_is_ignored(packet: bytes) -> None:
    assert parse_echo_reply(packet) is None


def test_a_forged_packet_claims_its_source_and_carries_its_body() -> None:
    packet = udp_packet(SOURCE, IPv4Address("10.0.0.9"), from_port=9, to_port=7, body=b"t")

    assert packet[12:16] == SOURCE.packed
    assert packet[-1:] == b"t"
    pseudo = packet[12:20] + bytes([0, 17]) + len(packet[20:]).to_bytes(2, "big")
    assert checksum(pseudo + packet[20:]) == 0


async def read_all(data: bytes) -> bytes | None:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await read_frame(reader)


async def test_a_frame_comes_back_and_an_end_between_frames_is_told() -> None:
    assert await read_all(framed(b"body")) == b"body"
    assert await read_all(b"") is None


@pytest.mark.parametrize("data", [b"\0\0", framed(b"body")[:-1]])
async def test_an_end_within_a_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(ConnectionResetError):
        await read_all(data)


async def test_a_frame_that_is_too_long_is_neither_sent_nor_read() -> None:
    with pytest.raises(FrameTooLong):
        framed(b"x" * (FRAME_BYTES_MAX + 1))
    with pytest.raises(FrameTooLong):
        await read_all((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
