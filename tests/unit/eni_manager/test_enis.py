"""Whose an address is, when cloud, book, agent and leases do not say the same."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from services.eni_manager.domain.enis import Evidence, Findings, compare
from services.eni_manager.domain.records import AddressRecord, Hold
from shared.ids import EniId

ENI, OTHER = EniId("eni-1"), EniId("eni-2")
ADDRESS = IPv4Address("10.0.1.5")
NOBODY = Evidence(leased=(), inventory=())


def a_record(hold: Hold, eni: EniId = ENI) -> AddressRecord:
    return AddressRecord(address=ADDRESS, eni=eni, hold=hold)


def found(
    record: AddressRecord | None,
    evidence: Evidence,
    *,
    eni: EniId | None = ENI,
    known_enis: tuple[EniId, ...] = (ENI, OTHER),
) -> Findings:
    book = {ADDRESS: record} if record else {}
    seen = {ADDRESS: eni} if eni else {}
    return compare(book, seen, evidence, known_enis)


def held(findings: Findings) -> Hold | None:
    """What the address is held as; None: nothing changes."""
    return findings.kept[0].hold if findings.kept else None


@pytest.mark.parametrize(
    "evidence",
    [Evidence(leased={ADDRESS}, inventory=()), Evidence(leased=(), inventory={ADDRESS})],
)
def test_an_unknown_address_that_somebody_claims_is_theirs(evidence: Evidence) -> None:
    assert held(found(None, evidence)) is Hold.GIVEN


def test_an_unknown_address_of_a_known_eni_that_nobody_claims_is_offered() -> None:
    assert held(found(None, NOBODY)) is Hold.ASSIGNING


@pytest.mark.parametrize(
    "evidence", [Evidence(leased=None, inventory=()), Evidence(leased=(), inventory=None)]
)
def test_an_unknown_address_is_kept_back_while_anybody_is_silent(evidence: Evidence) -> None:
    assert held(found(None, evidence)) is Hold.QUARANTINED


def test_an_unknown_address_of_an_unknown_eni_is_kept_back_with_a_reason() -> None:
    findings = found(None, NOBODY, known_enis=())

    assert held(findings) is Hold.QUARANTINED
    assert findings.kept[0].reason


def test_a_given_address_that_agent_and_leases_disown_is_offered_again() -> None:
    assert held(found(a_record(Hold.GIVEN), NOBODY)) is Hold.ASSIGNING


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(leased=None, inventory=()),
        Evidence(leased=(), inventory=None),
        Evidence(leased={ADDRESS}, inventory=()),
        Evidence(leased=(), inventory={ADDRESS}),
    ],
)
def test_a_given_address_stays_given_unless_both_disown_it(evidence: Evidence) -> None:
    assert held(found(a_record(Hold.GIVEN), evidence)) is None


def test_an_offer_that_the_agent_took_without_a_word_is_given() -> None:
    evidence = Evidence(leased=(), inventory={ADDRESS})

    assert held(found(a_record(Hold.ASSIGNING), evidence)) is Hold.GIVEN


@pytest.mark.parametrize("hold", [Hold.UNASSIGNING, Hold.RECLAIMED])
def test_what_was_given_up_stays_ours_whoever_claims_it(hold: Hold) -> None:
    evidence = Evidence(leased={ADDRESS}, inventory={ADDRESS})

    assert held(found(a_record(hold), evidence)) is None
    assert held(found(a_record(hold), NOBODY)) is None


def test_a_quarantined_address_is_given_once_it_is_claimed_and_never_offered() -> None:
    evidence = Evidence(leased={ADDRESS}, inventory=())

    assert held(found(a_record(Hold.QUARANTINED), evidence)) is Hold.GIVEN
    assert held(found(a_record(Hold.QUARANTINED), NOBODY)) is None


def test_an_address_on_another_eni_is_where_the_cloud_says() -> None:
    [record] = found(
        a_record(Hold.GIVEN), Evidence(leased={ADDRESS}, inventory=()), eni=OTHER
    ).kept

    assert (record.eni, record.hold) == (OTHER, Hold.GIVEN)


@pytest.mark.parametrize("hold", Hold)
def test_what_the_cloud_does_not_show_is_gone(hold: Hold) -> None:
    assert found(a_record(hold), NOBODY, eni=None).gone == (ADDRESS,)
