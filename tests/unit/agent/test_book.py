"""The book survives a crash at every byte, refuses what was damaged, and has one owner."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from services.node_agent.adapters.book import FileBook
from services.node_agent.domain.attachments import (
    Attachment,
    CandidateAddress,
    Claim,
    ClaimPhase,
    Phase,
)
from services.node_agent.domain.ports import NodeRecord
from shared.annotations import DeletePolicy, NetworkMode
from shared.errors import Refused
from shared.ids import EniId, Identity, Incarnation, PodName, PodUid, SubnetId
from tests.support.agent_world import key

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ATTACHMENT = Attachment(
    key=key("c1"),
    pod=PodName("shop", "web-0"),
    pod_uid=PodUid("uid-1"),
    mode=NetworkMode.SHARED,
    policy=DeletePolicy.IMMEDIATE,
    address=IPv4Address("10.0.3.20"),
    eni=EniId("eni-a"),
    generation=None,
    host_ifname="eni0123456789a",
    host_mac="ae:be:00:00:00:01",
    mac="ae:be:00:00:00:02",
    mtu=1500,
    netns_path="/run/netns/one",
    phase=Phase.WIRED,
    since=NOW,
)
CLAIM = Claim(
    key=key("c2"),
    identity=Identity("shop", "db-0", "berth"),
    pod_uid=PodUid("uid-2"),
    expires_after=None,
    phase=ClaimPhase.ACQUIRING,
    candidate=CandidateAddress(
        address=IPv4Address("10.0.3.21"), eni=EniId("eni-a"), subnet=SubnetId("subnet-a")
    ),
    since=NOW,
)
RECORD = NodeRecord(
    incarnation=Incarnation(3),
    term=2,
    sequence=7,
    owned=((IPv4Address("10.0.3.20"), EniId("eni-a")),),
    recalls={"r1": ((IPv4Address("10.0.3.30"), EniId("eni-a")),)},
)


def open_book(tmp_path: Path) -> FileBook:
    return FileBook(run_dir=tmp_path / "run", state_dir=tmp_path / "state")


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    book = open_book(tmp_path)
    book.save_attachment(ATTACHMENT)
    book.save_claim(CLAIM)
    book.save_node(RECORD)
    book.close()

    saved = open_book(tmp_path).load()

    assert saved.attachments == (ATTACHMENT,)
    assert saved.claims == (CLAIM,)
    assert saved.node == RECORD


def test_a_write_torn_at_any_byte_leaves_the_old_page(tmp_path: Path) -> None:
    book = open_book(tmp_path)
    book.save_attachment(ATTACHMENT)
    folder = tmp_path / "run" / "book" / "attachments"
    (page,) = folder.iterdir()
    newer = replace(ATTACHMENT, mtu=9000)
    book.save_attachment(newer)
    whole = page.read_bytes()
    book.save_attachment(ATTACHMENT)

    for length in range(len(whole) + 1):
        (folder / f"{page.name}.new").write_bytes(whole[:length])
        assert book.load().attachments == (ATTACHMENT,), f"torn at byte {length}"

    assert os.listdir(folder) == [page.name]


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 1, "body": {}}'])
def test_a_damaged_page_stops_the_agent_rather_than_being_guessed(
    tmp_path: Path, content: bytes
) -> None:
    book = open_book(tmp_path)
    book.save_claim(CLAIM)
    (tmp_path / "state" / "claims" / CLAIM.key.digest).write_bytes(content)

    with pytest.raises(Refused, match="cannot be read"):
        book.load()


def test_a_second_agent_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    first = open_book(tmp_path)

    with pytest.raises(Refused, match="another agent"):
        open_book(tmp_path)
    first.close()

    open_book(tmp_path).close()
