"""What an agent makes of a book with damaged or lost pages: nothing is given away twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from services.node_agent.adapters.book import FileBook
from services.node_agent.domain.attachments import ClaimPhase
from services.node_agent.domain.enis import Eni
from services.node_agent.ledger import Ledger
from services.node_agent.orders import eni_of
from shared.addresses import AddressState
from shared.annotations import DeletePolicy
from shared.ids import EniId, Generation, Identity
from tests.support.agent_world import ENI
from tests.unit.agent.test_book import ATTACHMENT, CLAIM, COOLING, NOW, RECORD, open_book

EID = EniId(ENI.eni)
USED, CANDIDATE, COOLS, IDLE = (IPv4Address(f"10.0.3.{number}") for number in range(20, 24))
ALL = (USED, CANDIDATE, COOLS, IDLE)
LEASED = replace(
    ATTACHMENT,
    eni=EID,
    policy=DeletePolicy.NEVER,
    generation=Generation(7),
    identity=Identity("shop", "web-slot-1", "berth"),
)


@pytest.fixture
def book(tmp_path: Path) -> FileBook:
    """An attachment, a promised candidate, an address that cools, and one that is idle."""
    book = open_book(tmp_path)
    owned = tuple((address, EID) for address in ALL)
    book.save_node(replace(RECORD, owned=owned, enis=(known_eni(),), recalls={}))
    book.save_attachment(replace(ATTACHMENT, eni=EID))
    assert CLAIM.candidate is not None
    book.save_claim(replace(CLAIM, candidate=replace(CLAIM.candidate, eni=EID)))
    book.save_cooling(replace(COOLING, holding=replace(COOLING.holding, eni=EID)))
    return book


def known_eni() -> Eni:
    return eni_of(ENI)


def states(ledger: Ledger) -> dict[IPv4Address, AddressState]:
    return {each.address: each.state for each in ledger.stock}


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"body"', b'"bodY"'))


def test_a_whole_book_is_what_it_says(book: FileBook) -> None:
    assert states(Ledger(book, NOW)) == {
        USED: AddressState.BOUND_IMMEDIATE,
        CANDIDATE: AddressState.PROMISED,
        COOLS: AddressState.COOLING,
        IDLE: AddressState.STOCK,
    }


def test_where_a_claim_is_lost_nothing_idle_is_believed_to_be_so(
    book: FileBook, tmp_path: Path
) -> None:
    spoil(tmp_path / "state" / "claims" / CLAIM.key.digest)

    for _ in range(2):  # and at the next start, when the page is no more there
        assert states(Ledger(book, NOW)) == {
            USED: AddressState.BOUND_IMMEDIATE,
            COOLS: AddressState.COOLING,
        }


def test_a_crash_before_the_damaged_page_is_removed_loses_nothing(
    book: FileBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(tmp_path / "state" / "claims" / CLAIM.key.digest)

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(book, "remove_damaged", cut)
    with pytest.raises(KeyboardInterrupt):
        Ledger(book, NOW)
    monkeypatch.undo()

    assert CANDIDATE not in states(Ledger(book, NOW))


def test_what_was_struck_off_comes_back_by_an_offer(book: FileBook, tmp_path: Path) -> None:
    spoil(tmp_path / "state" / "claims" / CLAIM.key.digest)
    ledger = Ledger(book, NOW)

    taken, refused = ledger.accept([known_eni()], [(IDLE, EID)], NOW)

    assert (taken, refused) == ([IDLE], [])
    assert states(ledger)[IDLE] is AddressState.STOCK


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_the_claim_of_a_running_pod_is_rebuilt_from_its_attachment(
    book: FileBook, tmp_path: Path, how: str
) -> None:
    book.save_attachment(LEASED)
    page = tmp_path / "state" / "claims" / LEASED.key.digest
    if how == "damaged":
        page.write_bytes(b"\0" * 40)

    ledger = Ledger(book, NOW)

    claim = ledger.claims[LEASED.key]
    assert (claim.phase, claim.address, claim.generation) == (ClaimPhase.BOUND, USED, 7)
    assert claim.identity == LEASED.identity
    assert states(ledger)[USED] is AddressState.BOUND_FIXED
    assert states(ledger)[IDLE] is AddressState.STOCK  # nothing is left in doubt
    assert page.exists()


def test_an_older_sandbox_whose_lease_went_to_the_next_gets_no_claim_again(
    book: FileBook,
) -> None:
    book.save_attachment(LEASED)
    newer = replace(CLAIM, phase=ClaimPhase.BOUND, address=USED, eni=EID, candidate=None)
    book.save_claim(newer)

    assert list(Ledger(book, NOW).claims) == [CLAIM.key]


def test_an_address_whose_rest_is_damaged_rests_anew(book: FileBook, tmp_path: Path) -> None:
    spoil(tmp_path / "run" / "book" / "cooling" / str(COOLS))
    later = NOW + timedelta(hours=1)

    ledger = Ledger(book, later)

    held = ledger.stock.get(COOLS)
    assert held is not None
    assert (held.state, held.since) == (AddressState.COOLING, later)
    assert states(Ledger(book, later))[COOLS] is AddressState.COOLING


def test_without_the_nodes_record_only_what_pods_have_is_known(
    book: FileBook, tmp_path: Path
) -> None:
    spoil(tmp_path / "state" / "node")

    ledger = Ledger(book, NOW)

    assert states(ledger) == {
        USED: AddressState.BOUND_IMMEDIATE,
        CANDIDATE: AddressState.PROMISED,
    }
    taken, _ = ledger.accept([known_eni()], [(IDLE, EID), (USED, EID)], NOW)
    assert taken == [IDLE, USED]
    assert states(ledger)[USED] is AddressState.BOUND_IMMEDIATE
