"""Which used addresses of a container subnet are not ours (pure)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address
from typing import Final

from shared.cloud.words import UsedAddress

ENI: Final = "ENI"  # the cloud's word for an address that is on one
RESERVED: Final = "RESERVE"  # the cloud's word for an address that is kept and not used


def foreign_among(
    used: Sequence[UsedAddress], ours: Collection[str], leased: Collection[IPv4Address]
) -> tuple[UsedAddress, ...]:
    """What is neither on an ENI of ours, nor kept for a fixed lease without any ENI."""
    return tuple(
        each
        for each in used
        if each.resource not in ours and not (each.kind == RESERVED and each.address in leased)
    )
