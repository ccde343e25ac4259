"""The spool as the agent reads it: what fails stays, what is broken is put aside."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from services.node_agent.adapters.cni_spool import drain_spool, spool_depth
from shared.errors import Unavailable
from shared.ids import AttachmentKey
from tests.support.recorded_attachments import RecordedAttachments


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


def spooled(spool: Path, container_id: str) -> AttachmentKey:
    key = AttachmentKey("berth", container_id, "eth0")
    body = {"version": 1, "network": "berth", "container_id": container_id, "ifname": "eth0"}
    (spool / f"{key.digest}.json").write_text(json.dumps(body))
    return key


async def test_a_spool_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert await drain_spool(tmp_path / "spool", RecordedAttachments()) == 0


async def test_a_deletion_that_fails_stays_for_the_next_round(
    spool: Path, attachments: RecordedAttachments
) -> None:
    key = spooled(spool, "c0ffee")
    attachments.failure = Unavailable("not now")
    first = await drain_spool(spool, attachments)
    attachments.failure = None

    second = await drain_spool(spool, attachments)

    assert (first, second, attachments.deleted) == (0, 1, [key])


async def test_what_waits_and_what_was_lost_is_told_in_metrics(
    spool: Path, attachments: RecordedAttachments
) -> None:
    key = spooled(spool, "c0ffee")
    moment = time.time() - 90
    os.utime(spool / f"{key.digest}.json", (moment, moment))
    (spool.parent / "spool.lost").write_bytes(b"xxx")  # a byte for each, by the plugin
    attachments.failure = Unavailable("not now")

    await drain_spool(spool, attachments)
    waiting = [_metric("depth_count"), _metric("oldest_seconds"), _metric("lost_count")]
    attachments.failure = None
    await drain_spool(spool, attachments)

    assert waiting[0] == 1
    assert waiting[1] >= 90
    assert waiting[2] == 3
    assert (_metric("depth_count"), _metric("oldest_seconds")) == (0, 0)


def _metric(name: str) -> float:
    value = REGISTRY.get_sample_value(f"berth_node_agent_spool_{name}")
    assert value is not None
    return value


BROKEN = [
    b"",
    b"{",
    b"\xff\xfe",
    b'{"version":2,"network":"berth","container_id":"a","ifname":"eth0"}',
    b'{"version":1,"network":"","container_id":"a","ifname":"eth0"}',
    b'{"version":1,"network":"berth","container_id":"another","ifname":"eth0"}',
    b"x" * 70_000,
]


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:12]))
async def test_a_broken_file_is_put_aside_and_delays_nobody(
    spool: Path, attachments: RecordedAttachments, content: bytes
) -> None:
    (spool / f"{'0' * 32}.json").write_bytes(content)
    key = spooled(spool, "c0ffee")

    done = await drain_spool(spool, attachments)

    assert (done, attachments.deleted, spool_depth(spool)) == (1, [key], 0)
    assert len(list((spool / "quarantine").iterdir())) == 1


async def test_a_round_is_bounded(spool: Path, attachments: RecordedAttachments) -> None:
    for number in range(5):
        spooled(spool, f"pod-{number}")

    rounds = [await drain_spool(spool, attachments, files_max=2) for _ in range(4)]

    assert rounds == [2, 2, 1, 0]


async def test_what_a_killed_plugin_left_half_written_is_swept(
    spool: Path, attachments: RecordedAttachments
) -> None:
    old, fresh = spool / ".abc.1", spool / ".def.2"
    old.touch()
    fresh.touch()
    moment = time.time() - 120
    os.utime(old, (moment, moment))

    await drain_spool(spool, attachments)

    assert (old.exists(), fresh.exists()) == (False, True)
