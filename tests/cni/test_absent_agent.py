"""What the plugin does while no agent answers: each verb has its own kind of patience."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.node_agent.adapters.cni_socket import CniServer, touch_alive
from services.node_agent.adapters.cni_spool import (
    drain_spool,
    lost_deletions,
    spool_depth,
)
from shared.errors import Busy, WrongSubnet
from shared.ids import AttachmentKey
from tests.support.cni_calls import Runtime
from tests.support.recorded_attachments import RecordedAttachments

KEY = AttachmentKey("berth", "c0ffee", "eth0")
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(run_dir: Path, peer: Peer) -> AsyncIterator[None]:
    """Something other than an agent on the agent's socket."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await peer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, run_dir / "agent.sock")
    try:
        yield
    finally:
        server.close()


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack("!I", await reader.readexactly(4))
    return await reader.readexactly(length)


async def test_add_waits_for_an_agent_that_comes_back(
    runtime: Runtime, attachments: RecordedAttachments
) -> None:
    call = asyncio.create_task(runtime.call("ADD", agentWaitSeconds=20))
    await asyncio.sleep(0.2)  # the plugin finds nobody; nothing of it can be awaited
    server = CniServer(attachments, socket_path=runtime.run_dir / "agent.sock")
    await server.start()

    called = await call

    assert (called.status, list(attachments.wired)) == (0, [KEY])
    await server.drain(1.0)


async def test_add_gives_up_with_try_again_later(runtime: Runtime) -> None:
    began = time.monotonic()

    called = await runtime.call("ADD", agentWaitSeconds=0.3)

    assert (called.status, called.code) == (1, 11)
    assert str(runtime.run_dir / "agent.sock") in called.result["details"]
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("verb", ["CHECK", "GC"])
async def test_what_needs_the_agent_says_try_again_later_at_once(
    runtime: Runtime, verb: str
) -> None:
    called = await runtime.call(verb, prevResult={}, agentWaitSeconds=300)

    assert (called.status, called.code) == (1, 11)


async def test_add_asks_again_when_the_agent_dies_before_it_answers(
    runtime: Runtime,
) -> None:
    asked: list[bytes] = []

    async def die_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_frame(reader))
        if len(asked) == 2:
            body = json.dumps({"status": 0, "stdout": 'second \u00fc\n"life"'}).encode()
            writer.write(struct.pack("!I", len(body)) + body)

    async with listening(runtime.run_dir, die_once):
        called = await runtime.call("ADD")

    assert (called.status, called.stdout) == (0, 'second ü\n"life"')
    configs = [json.loads(body)["config"] for body in asked]
    assert configs[0] == configs[1]


async def test_del_is_spooled_when_the_agent_dies_before_it_answers(
    runtime: Runtime, attachments: RecordedAttachments
) -> None:
    async def die(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_frame(reader)

    async with listening(runtime.run_dir, die):
        called = await runtime.call("DEL")

    assert (called.status, called.stdout) == (0, "")
    assert await drain_spool(runtime.run_dir / "spool", attachments) == 1
    assert attachments.deleted == [KEY]


async def test_an_agent_that_hangs_costs_add_its_deadline_and_no_more(
    runtime: Runtime,
) -> None:
    over = asyncio.Event()

    async def hang(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await over.wait()

    async with listening(runtime.run_dir, hang):
        called = await runtime.call("ADD", timeoutSeconds=1)
        deleted = await runtime.call("DEL", timeoutSeconds=1)
        over.set()

    assert (called.status, called.code) == (1, 11)
    assert "in time" in called.result["details"]
    assert (deleted.status, spool_depth(runtime.run_dir / "spool")) == (0, 1)


REPLIES = [
    b"",
    b"\x00\x00\x00\x02{}",
    b"\xff\xff\xff\xff{}",
    b'\x00\x00\x00\x0d{"status":"0"}',
    b'\x00\x00\x00\x1b{"status":-1,"stdout":"no"}  ',
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b'\x00\x00\x00\x20{"status":0,"stdout":"\xff\xfe invalid"}',
]


@pytest.mark.parametrize("reply", REPLIES)
async def test_an_answer_that_is_none_never_passes_for_success(
    runtime: Runtime, reply: bytes
) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_frame(reader)
        writer.write(reply)

    async with listening(runtime.run_dir, nonsense):
        added = await runtime.call("ADD", agentWaitSeconds=0.1, timeoutSeconds=1)
        deleted = await runtime.call("DEL")

    assert (added.status, added.code) in {(1, 11), (1, 100)}
    assert (deleted.status, deleted.stdout) == (0, "")
    assert spool_depth(runtime.run_dir / "spool") == 1


async def test_repeated_deletions_leave_one_note_each_attachment(
    runtime: Runtime, attachments: RecordedAttachments
) -> None:
    for container_id in ("c0ffee", "c0ffee", "decaf", "c0ffee"):
        runtime.container_id = container_id
        called = await runtime.call("DEL", env={"CNI_NETNS": ""})
        assert (called.status, called.stdout, called.stderr) == (0, "", "")

    assert await drain_spool(runtime.run_dir / "spool", attachments) == 2
    assert sorted(key.container_id for key in attachments.deleted) == ["c0ffee", "decaf"]
    assert list((runtime.run_dir / "spool").iterdir()) == []


async def test_del_makes_the_folders_it_needs(runtime: Runtime) -> None:
    runtime.run_dir = runtime.run_dir / "gone"

    called = await runtime.call("DEL")

    assert (called.status, spool_depth(runtime.run_dir / "spool")) == (0, 1)


async def test_del_succeeds_when_the_spool_is_full_and_the_loss_is_counted(
    build_plugin: dict[str, Path], run_dir: Path
) -> None:
    runtime = Runtime(plugin=build_plugin["plain"], run_dir=run_dir, netns="")
    spool = runtime.run_dir / "spool"
    spool.mkdir()
    for number in range(10_000):
        (spool / f"{number:032x}.json").touch()

    called = [await runtime.call("DEL") for _ in range(2)]

    assert [each.status for each in called] == [0, 0]
    assert "full" in called[0].stderr
    assert lost_deletions(runtime.run_dir) == 2
    assert not (spool / f"{KEY.digest}.json").exists()


async def test_del_succeeds_when_the_spool_cannot_be_written(runtime: Runtime) -> None:
    (runtime.run_dir / "spool").write_text("a file stands in the way")

    called = await runtime.call("DEL")

    assert called.status == 0
    assert "cannot be written" in called.stderr
    assert lost_deletions(runtime.run_dir) == 1


async def test_a_full_agent_makes_add_try_later_and_del_spool(
    runtime: Runtime, attachments: RecordedAttachments
) -> None:
    server = CniServer(attachments, socket_path=runtime.run_dir / "agent.sock", in_flight_max=1)
    await server.start()
    attachments.gate.clear()
    first = asyncio.create_task(runtime.call("ADD"))
    await attachments.entered.acquire()

    added, deleted = await runtime.call("ADD"), await runtime.call("DEL")

    attachments.gate.set()
    assert (await first).status == 0
    assert (added.code, added.result["msg"]) == (11, Busy.code)
    assert (deleted.status, spool_depth(runtime.run_dir / "spool")) == (0, 1)
    await server.drain(1.0)


@pytest.mark.parametrize("failure", [Busy("full"), WrongSubnet("no"), RuntimeError("bug")])
async def test_a_deletion_the_agent_cannot_do_now_is_spooled(
    runtime: Runtime,
    server: CniServer,
    attachments: RecordedAttachments,
    failure: Exception,
) -> None:
    attachments.failure = failure

    called = await runtime.call("DEL")

    assert (called.status, called.stdout) == (0, "")
    assert spool_depth(runtime.run_dir / "spool") == 1


async def test_an_add_comes_after_the_deletion_that_was_spooled_before_it(
    runtime: Runtime, attachments: RecordedAttachments
) -> None:
    await runtime.call("DEL")
    server = CniServer(attachments, socket_path=runtime.run_dir / "agent.sock")
    await server.start()

    called = await runtime.call("ADD")
    drained = await drain_spool(runtime.run_dir / "spool", attachments)

    assert (called.status, drained) == (0, 0)
    assert (attachments.deleted, list(attachments.wired)) == ([KEY], [KEY])
    await server.drain(1.0)


async def test_status_excuses_an_agent_that_was_alive_lately(runtime: Runtime) -> None:
    touch_alive(runtime.run_dir)

    called = await runtime.call("STATUS")

    assert (called.status, called.stdout) == (0, "")


@pytest.mark.parametrize("age_s", [None, 61, 3600])
async def test_status_says_50_when_the_agent_has_been_away_too_long(
    runtime: Runtime, age_s: int | None
) -> None:
    if age_s is not None:
        touch_alive(runtime.run_dir)
        moment = time.time() - age_s
        os.utime(runtime.run_dir / "agent.alive", (moment, moment))

    called = await runtime.call("STATUS")

    assert (called.status, called.code) == (1, 50)


async def test_the_grace_of_status_is_a_setting(runtime: Runtime) -> None:
    touch_alive(runtime.run_dir)

    called = await runtime.call("STATUS", statusGraceSeconds=0)

    assert called.code == 50
