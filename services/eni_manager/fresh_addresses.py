"""Addresses that were assigned and that nobody was given yet."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from services.eni_manager.domain.records import AddressRecord, Hold, NodeImage
from shared.ids import EniId


def fresh_addresses(
    image: NodeImage, eni: EniId, addresses: Sequence[IPv4Address]
) -> list[AddressRecord]:
    """A repeated call may name some that were given: those stay as they are."""
    known = image.addresses
    return [
        AddressRecord(address=each, eni=eni, hold=Hold.ASSIGNING)
        for each in addresses
        if each not in known or known[each].hold is not Hold.GIVEN
    ]
