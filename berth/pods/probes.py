"""Probes: does an address answer, by ICMP, TCP or UDP; and can a source be forged.

Standard library only: they run in a pod's process and in the runner alike.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from .packets import echo_request, parse_echo_reply, udp_packet

ECHO_PORT: Final = 7  # the port of the echo protocol, RFC 862
_DISCARD_PORT: Final = 9  # RFC 863; from the echo port two echoes would never stop
_PAYLOAD: Final = b"berth echo"
_PACKET_BYTES_MAX: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a probe saw. `detail` is for people."""

    is_answered: bool
    seconds: float  # to the first answer; the whole wait without one
    detail: str


async def ping(destination: IPv4Address, *, attempts: int, timeout_s: float) -> Outcome:
    """ICMP echo; `timeout_s` for each attempt."""
    identifier = random.getrandbits(16)
    with _raw_socket(socket.IPPROTO_ICMP) as raw:
        for sequence in range(1, attempts + 1):
            began = _now()
            try:
                async with asyncio.timeout(timeout_s):
                    request = echo_request(identifier, sequence, _PAYLOAD)
                    await _send_to(raw, request, (str(destination), 0))
                    await _echo_reply(raw, destination, identifier)
            except TimeoutError:
                continue
            except OSError as error:
                return _failed(began, error)
            return Outcome(is_answered=True, seconds=_now() - began, detail="answered")
    return Outcome(
        is_answered=False,
        seconds=attempts * timeout_s,
        detail=f"no answer to {attempts} of {attempts}",
    )


async def tcp_echo(destination: IPv4Address, *, port: int, timeout_s: float) -> Outcome:
    """Connect, send a line, want it back."""
    return await _measured(_tcp_exchange(destination, port), timeout_s)


async def udp_echo(destination: IPv4Address, *, port: int, timeout_s: float) -> Outcome:
    """Send a datagram of its own content, want it back."""
    return await _measured(_udp_exchange(destination, port), timeout_s)


async def send_forged(
    source: IPv4Address, destination: IPv4Address, *, port: int, token: str
) -> Outcome:
    """Send a datagram that claims another's source; who received it is asked of the target."""
    began = _now()
    packet = udp_packet(
        source, destination, from_port=_DISCARD_PORT, to_port=port, body=token.encode("ascii")
    )
    with _raw_socket(socket.IPPROTO_RAW) as raw:
        try:
            await _send_to(raw, packet, (str(destination), 0))
        except OSError as error:
            return _failed(began, error)
    return Outcome(is_answered=False, seconds=_now() - began, detail=f"sent as {source}")


async def _measured(exchange: Awaitable[bool], timeout_s: float) -> Outcome:
    began = _now()
    try:
        async with asyncio.timeout(timeout_s):
            is_same = await exchange
    except TimeoutError:
        return Outcome(
            is_answered=False, seconds=timeout_s, detail=f"no answer in {timeout_s} s"
        )
    except OSError as error:
        return _failed(began, error)
    detail = "answered" if is_same else "something else came back"
    return Outcome(is_answered=is_same, seconds=_now() - began, detail=detail)


async def _tcp_exchange(destination: IPv4Address, port: int) -> bool:
    reader, writer = await asyncio.open_connection(str(destination), port)
    try:
        writer.write(_PAYLOAD)
        await writer.drain()
        return await reader.readexactly(len(_PAYLOAD)) == _PAYLOAD
    except asyncio.IncompleteReadError:
        return False
    finally:
        writer.close()


async def _udp_exchange(destination: IPv4Address, port: int) -> bool:
    loop = asyncio.get_running_loop()
    body = os.urandom(8).hex().encode("ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        datagram.setblocking(False)
        datagram.connect((str(destination), port))
        await loop.sock_sendall(datagram, body)
        return await loop.sock_recv(datagram, _PACKET_BYTES_MAX) == body


async def _echo_reply(raw: socket.socket, source: IPv4Address, identifier: int) -> None:
    """Wait for ours: a raw socket hears every ICMP packet of its namespace."""
    loop = asyncio.get_running_loop()
    while True:
        reply = parse_echo_reply(await loop.sock_recv(raw, _PACKET_BYTES_MAX))
        if reply is not None and (reply.source, reply.identifier) == (source, identifier):
            return


async def _send_to(raw: socket.socket, packet: bytes, to: tuple[str, int]) -> None:
    await asyncio.get_running_loop().sock_sendto(raw, packet, to)


def _raw_socket(protocol: int) -> socket.socket:
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    raw.setblocking(False)
    return raw


def _failed(began: float, error: OSError) -> Outcome:
    reason = error.strerror or str(error)
    return Outcome(is_answered=False, seconds=_now() - began, detail=reason)


def _now() -> float:
    return asyncio.get_running_loop().time()
