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
    """Who says an address is theirs. `inventory` None: the agent did not answer."""

    leased: Collection[IPv4Address]
    inventory: Collection[IPv4Address] | None

    def claims(self, address: IPv4Address) -> bool:
        return address in self.leased or (
            self.inventory is not None and address in self.inventory
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """How the book must change so that it says what is."""

    kept: tuple[AddressRecord, ...]  # new or changed
    gone: tuple[IPv4Address, ...]


def compare(
    book: Mapping[IPv4Address, AddressRecord],
    seen: Mapping[IPv4Address, EniId],
    evidence: Evidence,
) -> Findings:
    """The cloud decides where an address is; agent and leases decide whose it is.

    Nothing is unassigned on doubt: an address that nobody claims and no book knows is kept
    back. One that was given, and that agent and leases both disown, is offered again.
    """
    changed: list[AddressRecord] = []
    for address, eni in seen.items():
        known = book.get(address)
        judged = (
            _judge_new(address, eni, evidence)
            if known is None
            else _judge(known, eni, evidence)
        )
        if judged != known:
            changed.append(judged)
    gone = tuple(address for address in book if address not in seen)
    return Findings(kept=tuple(changed), gone=gone)


def _judge_new(address: IPv4Address, eni: EniId, evidence: Evidence) -> AddressRecord:
    if evidence.claims(address):
        return AddressRecord(address=address, eni=eni, hold=Hold.GIVEN)
    return AddressRecord(address=address, eni=eni, hold=Hold.QUARANTINED, reason=UNKNOWN_REASON)


def _judge(known: AddressRecord, eni: EniId, evidence: Evidence) -> AddressRecord:
    here = known if known.eni == eni else replace(known, eni=eni)
    if known.hold is Hold.GIVEN:
        disowned = evidence.inventory is not None and not evidence.claims(known.address)
        return replace(here, hold=Hold.ASSIGNING) if disowned else here
    if known.hold is Hold.UNASSIGNING:
        return here  # its agent struck it off: only its unassignment may follow
    if evidence.claims(known.address):
        return replace(here, hold=Hold.GIVEN, reason=None)
    return here
