"""The process of a pod: it holds the sandbox's namespace, echoes TCP and UDP, and probes.

Started by the runner with its process id and a control socket; ends with either. It answers
one framed JSON request after the other:

    {"do": "icmp" | "tcp" | "udp", "destination", "port", "attempts", "timeout_s"}
    {"do": "forge", "source", "destination", "port", "token"}      {"do": "heard", "token"}
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections import deque
from dataclasses import asdict
from ipaddress import IPv4Address
from typing import Final, cast

from berth.pods.frames import framed, read_frame
from berth.pods.probes import ECHO_PORT, Outcome, ping, send_forged, tcp_echo, udp_echo
from shared.kernel.syscalls import CLONE_NEWNET, die_with_parent, unshare

_HEARD_MAX: Final = 256  # datagrams remembered, for "did the forged one arrive"
_ECHO_BYTES_MAX: Final = 4096
_ECHO_IDLE_S: Final = 30.0

Request = dict[str, str | int | float]


class EchoDatagrams(asyncio.DatagramProtocol):
    """UDP echo that remembers what it heard, and from where."""

    def __init__(self) -> None:
        self._heard: deque[tuple[str, bytes]] = deque(maxlen=_HEARD_MAX)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # UDP has no other

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._heard.append((addr[0], data))
        if self._transport is not None:
            self._transport.sendto(data, addr)

    def sources_of(self, token: str) -> list[str]:
        return [source for source, body in self._heard if body == token.encode("ascii")]


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_ECHO_IDLE_S):
            while body := await reader.read(_ECHO_BYTES_MAX):
                writer.write(body)
                await writer.drain()
    except (TimeoutError, ConnectionError):
        return
    finally:
        writer.close()


async def probe(request: Request) -> Outcome:
    """One probe, as a request names it."""
    destination = IPv4Address(str(request["destination"]))
    port = int(request.get("port", ECHO_PORT))
    timeout_s = float(request.get("timeout_s", 1.0))
    match request["do"]:
        case "icmp":
            attempts = int(request.get("attempts", 1))
            return await ping(destination, attempts=attempts, timeout_s=timeout_s)
        case "tcp":
            return await tcp_echo(destination, port=port, timeout_s=timeout_s)
        case "udp":
            return await udp_echo(destination, port=port, timeout_s=timeout_s)
        case "forge":
            source = IPv4Address(str(request["source"]))
            token = str(request["token"])
            return await send_forged(source, destination, port=port, token=token)
    raise ValueError(f"do: {request['do']!r} is not allowed; allowed: icmp, tcp, udp, forge")


async def serve(control: socket.socket) -> None:
    """Echo until the runner closes its end of the control socket."""
    loop = asyncio.get_running_loop()
    _, datagrams = await loop.create_datagram_endpoint(
        EchoDatagrams, local_addr=("0.0.0.0", ECHO_PORT)
    )
    server = await asyncio.start_server(echo_stream, "0.0.0.0", ECHO_PORT)
    reader, writer = await asyncio.open_connection(sock=control)
    writer.write(framed(b"{}"))  # ready: the namespace is there and answers
    async with server:
        while (body := await read_frame(reader)) is not None:
            request: Request = json.loads(body)
            answer: dict[str, object] = {"id": request["id"]}
            if request["do"] == "heard":
                answer["sources"] = datagrams.sources_of(str(request["token"]))
            else:
                answer |= asdict(await probe(request))
            writer.write(framed(json.dumps(answer).encode()))
            await writer.drain()


def main() -> None:
    parent, control_fd = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent()
    if os.getppid() != parent:  # the runner ended before the call above
        return
    unshare(CLONE_NEWNET)  # before the loop: a socket stays in the namespace it was made in
    asyncio.run(serve(socket.socket(fileno=control_fd)))


if __name__ == "__main__":
    main()
