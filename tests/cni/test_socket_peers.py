"""Peers that are no plugin: whatever they send, the agent goes on serving."""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
import stat
import struct
import tempfile
from pathlib import Path

import pytest

from services.node_agent.adapters.cni_socket import FRAME_BYTES_MAX, CniServer
from shared.errors import Refused
from tests.support.cni_calls import Runtime
from tests.support.recorded_attachments import RecordedAttachments

GARBAGE = [
    b"",
    b"\x00",
    b"\x00\x00\x00\x10half",
    b"\x00\x00\x00\x00",
    b"\x00\x00\x00\x02{}",
    b"\x40\x00\x00\x00gigabyte",
    b"\xff\xff\xff\xff",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x00\x00\x00\x04\xff\xfe\xfd\xfc",
    b"\x00\x00\x00\x04[[[[",
]


async def converse(path: Path, sent: bytes, fds: tuple[int, ...] = ()) -> bytes:
    """Send, close our half, and read whatever comes."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, str(path))
        if sent:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            peer.sendmsg([sent], rights if fds else [])
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while part := await loop.sock_recv(peer, 65536):
            answer += part
        return answer


def frame(**body: object) -> bytes:
    encoded = json.dumps(body).encode()
    return struct.pack("!I", len(encoded)) + encoded


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("sent", GARBAGE)
async def test_garbage_is_answered_or_dropped_and_the_agent_unharmed(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments, sent: bytes
) -> None:
    answer = await converse(runtime.run_dir / "agent.sock", sent)

    assert answer == b"" or json.loads(answer[4:])["status"] == 1
    assert (await runtime.call("ADD")).status == 0
    assert len(attachments.adds) == 1


async def test_a_length_beyond_the_limit_is_named_before_its_bytes_are_read(
    run_dir: Path, server: CniServer
) -> None:
    answer = await converse(run_dir / "agent.sock", struct.pack("!I", FRAME_BYTES_MAX + 1))

    result = json.loads(json.loads(answer[4:])["stdout"])
    assert result["code"] == 101
    assert str(FRAME_BYTES_MAX) in result["details"]


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": 2},
        {"verb": "VERSION"},
        {"verb": None},
        {"timeout_ms": 0},
        {"timeout_ms": 10**12},
        {"env": {"CNI_CONTAINERID": 1}},
        {"config": {}},
    ],
)
async def test_a_frame_of_another_shape_is_refused(
    run_dir: Path,
    server: CniServer,
    attachments: RecordedAttachments,
    change: dict[str, object],
) -> None:
    body: dict[str, object] = {
        "protocol": 1,
        "verb": "DEL",
        "timeout_ms": 1000,
        "env": {"CNI_CONTAINERID": "c0ffee", "CNI_IFNAME": "eth0"},
        "config": '{"cniVersion":"1.1.0","name":"berth"}',
    }

    answer = await converse(run_dir / "agent.sock", frame(**(body | change)))

    assert json.loads(answer[4:])["status"] == 1
    assert attachments.deleted == []


async def test_descriptors_nobody_asked_for_are_closed(
    run_dir: Path, server: CniServer
) -> None:
    before = open_fds()
    extra = os.open("/dev/null", os.O_RDONLY)
    try:
        answers = [
            await converse(run_dir / "agent.sock", GARBAGE[4], fds=(extra,) * count)
            for count in (1, 2, 8, 50)
        ]
    finally:
        os.close(extra)

    assert all(json.loads(answer[4:])["status"] == 1 for answer in answers if answer)
    assert open_fds() == before


async def test_a_peer_that_sends_slowly_loses_its_place(
    runtime: Runtime, attachments: RecordedAttachments
) -> None:
    path = runtime.run_dir / "agent.sock"
    server = CniServer(attachments, socket_path=path, in_flight_max=1, receive_timeout_s=0.2)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"\x00\x00")

    async with asyncio.timeout(10):
        rest = await reader.read()

    assert rest == b""
    assert (await runtime.call("ADD")).status == 0
    writer.close()
    await server.drain(1.0)


async def test_the_socket_is_its_owners_alone(run_dir: Path, server: CniServer) -> None:
    mode = (run_dir / "agent.sock").stat().st_mode

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.skipif(
    "4294967295" not in Path("/proc/self/uid_map").read_text() or os.geteuid() != 0,
    reason="only root of the whole machine can be somebody else",
)
async def test_another_user_is_refused_even_when_it_can_open_the_socket(
    attachments: RecordedAttachments,
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder, "agent.sock")
        server = CniServer(attachments, socket_path=path)
        await server.start()
        Path(folder).chmod(0o755)
        path.chmod(0o666)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            os.seteuid(65534)
            try:
                peer.connect(str(path))  # credentials are those of this moment
            finally:
                os.seteuid(0)
            peer.setblocking(False)
            answer = await asyncio.get_running_loop().sock_recv(peer, 65536)
        await server.drain(1.0)

    assert json.loads(json.loads(answer[4:])["stdout"])["code"] == 104
    assert attachments.adds == []


async def test_the_socket_of_a_dead_agent_is_replaced(
    runtime: Runtime, attachments: RecordedAttachments
) -> None:
    path = runtime.run_dir / "agent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    server = CniServer(attachments, socket_path=path)

    await server.start()

    assert (await runtime.call("ADD")).status == 0
    await server.drain(1.0)


async def test_a_second_agent_on_the_same_socket_is_refused(
    runtime: Runtime, server: CniServer
) -> None:
    second = CniServer(RecordedAttachments(), socket_path=runtime.run_dir / "agent.sock")

    with pytest.raises(Refused, match="another node agent"):
        await second.start()

    assert (await runtime.call("ADD")).status == 0


async def test_a_path_that_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    server = CniServer(RecordedAttachments(), socket_path=tmp_path / ("x" * 120) / "agent.sock")

    with pytest.raises(Refused, match=r"agent\.sock"):
        await server.start()


async def test_a_drain_answers_what_was_taken_and_takes_no_more(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    attachments.gate.clear()
    taken = asyncio.create_task(runtime.call("ADD"))
    await attachments.entered.acquire()
    drain = asyncio.create_task(server.drain(10.0))
    await asyncio.sleep(0)

    late = await runtime.call("CHECK", prevResult={})
    attachments.gate.set()

    assert late.code == 11
    assert await drain == 0
    assert (await taken).status == 0
    assert not (runtime.run_dir / "agent.sock").exists()


async def test_a_drain_ends_in_time_and_counts_what_it_cut_off(
    runtime: Runtime, server: CniServer, attachments: RecordedAttachments
) -> None:
    attachments.gate.clear()
    call = asyncio.create_task(runtime.call("DEL"))
    await attachments.entered.acquire()

    cut_off = await server.drain(0.05)

    assert cut_off == 1
    assert (await call).status == 0  # spooled
