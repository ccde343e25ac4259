"""The book survives a crash at every byte, notices what was damaged, and has one owner."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest

from services.node_agent.adapters.book import FileBook
from services.node_agent.domain.attachments import (
    Attachment,
    CandidateAddress,
    Claim,
    ClaimPhase,
    Phase,
)
from services.node_agent.domain.ports import (
    Cooling,
    KnownPod,
    NodeRecord,
    PageKind,
    PodOwner,
    Saved,
    User,
)
from services.node_agent.domain.stock import Holding
from shared.addresses import AddressState
from shared.annotations import DeletePolicy, NetworkMode, PodNetwork
from shared.errors import Refused
from shared.ids import (
    EniId,
    Identity,
    Incarnation,
    PodName,
    PodUid,
    SubnetId,
    WorkloadName,
)
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
COOLING = Cooling(
    holding=Holding(
        address=IPv4Address("10.0.3.22"),
        eni=EniId("eni-a"),
        state=AddressState.COOLING,
        since=NOW,
    ),
    user=User(pod=PodName("shop", "web-1"), pod_uid=PodUid("uid-3"), network="berth"),
)
POD = KnownPod(
    name=PodName("shop", "web-0"),
    uid=PodUid("uid-1"),
    network=PodNetwork(mode=None, policy=DeletePolicy.NEVER, expires_after=None),
    owner=PodOwner(workload=WorkloadName("shop", "StatefulSet", "web"), pods_max=None),
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


PAGES = {
    PageKind.NODE: "state/node",
    PageKind.CLAIM: f"state/claims/{CLAIM.key.digest}",
    PageKind.ATTACHMENT: f"run/book/attachments/{ATTACHMENT.key.digest}",
    PageKind.COOLING: "run/book/cooling/10.0.3.22",
    PageKind.POD: "run/book/pods/uid-uid-1",
}


@pytest.fixture
def written(tmp_path: Path) -> Saved:
    """A page of each kind, on disk."""
    book = open_book(tmp_path)
    book.save_node(RECORD)
    book.save_claim(CLAIM)
    book.save_attachment(ATTACHMENT)
    book.save_cooling(COOLING)
    book.save_pod(POD)
    saved = book.load()
    book.close()
    return saved


@pytest.mark.parametrize("kind", PageKind)
def test_a_page_cut_at_any_byte_is_noticed(
    tmp_path: Path, written: Saved, kind: PageKind
) -> None:
    path, book = tmp_path / PAGES[kind], open_book(tmp_path)
    whole = path.read_bytes()

    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert damaged(book) == [(kind, path.name)], f"cut at byte {length}"

    path.write_bytes(whole)
    assert book.load() == written


@pytest.mark.parametrize("kind", PageKind)
def test_a_bit_flipped_in_any_byte_is_noticed(
    tmp_path: Path, written: Saved, kind: PageKind
) -> None:
    path, book = tmp_path / PAGES[kind], open_book(tmp_path)
    whole = path.read_bytes()

    for place in range(len(whole)):
        flipped = whole[place] ^ (1 << place % 8)
        path.write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
        assert damaged(book) == [(kind, path.name)], f"flipped in byte {place}"

    path.write_bytes(whole)
    assert book.load() == written


def test_each_bit_of_the_nodes_record_counts(tmp_path: Path, written: Saved) -> None:
    path, book = tmp_path / PAGES[PageKind.NODE], open_book(tmp_path)
    whole = path.read_bytes()

    for place in range(8 * len(whole)):
        spoiled = bytearray(whole)
        spoiled[place // 8] ^= 1 << place % 8
        path.write_bytes(spoiled)
        assert damaged(book) == [(PageKind.NODE, "node")], f"bit {place}"


def test_a_damaged_page_is_kept_for_people_and_read_no_more(
    tmp_path: Path, written: Saved
) -> None:
    path, book = tmp_path / PAGES[PageKind.CLAIM], open_book(tmp_path)
    path.write_bytes(b"{}")
    (page,) = book.load().damaged

    book.remove_damaged(page)

    assert book.load() == replace(written, claims=())
    assert (path.parent / "damaged" / path.name).read_bytes() == b"{}"


def test_an_agent_killed_while_it_writes_leaves_whole_pages(tmp_path: Path) -> None:
    for round_number in range(12):
        writer = os.fork()
        if writer == 0:
            _write_for_ever(tmp_path)
        try:
            time.sleep(0.005 * round_number)  # anywhere in its start or its writing
        finally:
            os.kill(writer, signal.SIGKILL)
            os.waitpid(writer, 0)
        book = open_book(tmp_path)
        saved = book.load()
        book.close()
        assert saved.damaged == ()
        assert saved.node.owned == saved.node.owned[:1] * len(saved.node.owned)
        assert all(each.mtu in (1500, 9000) for each in saved.attachments)


def damaged(book: FileBook) -> list[tuple[PageKind, str]]:
    return [(page.kind, page.name) for page in book.load().damaged]


def _write_for_ever(tmp_path: Path) -> NoReturn:
    try:
        book = open_book(tmp_path)
        for number in count():
            book.save_attachment(replace(ATTACHMENT, mtu=9000 if number % 2 else 1500))
            owned = RECORD.owned * (number % 40)
            book.save_node(replace(RECORD, sequence=number, owned=owned))
    finally:
        os._exit(1)  # never back into the test's own process


def test_a_second_agent_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    first = open_book(tmp_path)

    with pytest.raises(Refused, match="another agent"):
        open_book(tmp_path)
    first.close()

    open_book(tmp_path).close()
