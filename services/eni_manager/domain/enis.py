"""What the cloud shows beside what the book says: how each address is to be held (pure)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from shared.ids import EniId

from .records import AddressRecord, Hold

UNKNOWN_REASON = "found at the cloud, and in no book"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Who says an address is theirs; None: the leases, or the agent, did not answer."""

    leased: Collection[IPv4Address] | None
    inventory: Collection[IPv4Address] | None

    def claims(self, address: IPv4Address) -> bool:
        return any(
            address in said for said in (self.leased, self.inventory) if said is not None
        )

    def disowns(self, address: IPv4Address) -> bool:
        """Both have answered, and neither claims it."""
        is_whole = self.leased is not None and self.inventory is not None
        return is_whole and not self.claims(address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """How the book must change so that it says what is."""

    kept: tuple[AddressRecord, ...]  # new or changed
    gone: tuple[IPv4Address, ...]


def compare(
    book: Mapping[IPv4Address, AddressRecord],
    seen: Mapping[IPv4Address, EniId],
    evidence: Evidence,
    known_enis: Collection[EniId],
) -> Findings:
    """The cloud decides where an address is; agent and leases decide whose it is.

    Nothing is unassigned on doubt. What agent and leases both disown is offered (again) if
    its ENI was in the book before. If not, the book itself may have been lost, and with it
    leases that were never written down again: such an address is kept back.
    """
    changed: list[AddressRecord] = []
    for address, eni in seen.items():
        known = book.get(address)
        judged = (
            _judge_new(address, eni, evidence, is_known_eni=eni in known_enis)
            if known is None
            else _judge(known, eni, evidence)
        )
        if judged != known:
            changed.append(judged)
    gone = tuple(address for address in book if address not in seen)
    return Findings(kept=tuple(changed), gone=gone)


def _judge_new(
    address: IPv4Address, eni: EniId, evidence: Evidence, *, is_known_eni: bool
) -> AddressRecord:
    if evidence.claims(address):
        return AddressRecord(address=address, eni=eni, hold=Hold.GIVEN)
    if is_known_eni and evidence.disowns(address):
        return AddressRecord(address=address, eni=eni, hold=Hold.ASSIGNING)
    return AddressRecord(address=address, eni=eni, hold=Hold.QUARANTINED, reason=UNKNOWN_REASON)


def _judge(known: AddressRecord, eni: EniId, evidence: Evidence) -> AddressRecord:
    here = known if known.eni == eni else replace(known, eni=eni)
    if known.hold in (Hold.UNASSIGNING, Hold.RECLAIMED):
        return here  # ours by an agent's or the allocator's word, however others name it
    if known.hold is Hold.GIVEN:
        is_free = evidence.disowns(known.address)
        return replace(here, hold=Hold.ASSIGNING) if is_free else here
    if evidence.claims(known.address):
        return replace(here, hold=Hold.GIVEN, reason=None)
    return here
