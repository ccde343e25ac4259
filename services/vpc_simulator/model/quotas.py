"""How many ENIs an instance may have, and addresses an ENI: the public table, as defaults.

Both counts include the primary one. A topology may say otherwise for an instance, as the cloud
does for newer types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceQuota:
    enis: int
    addresses_per_eni: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds for the whole account."""

    enis_per_vpc: int = 1000  # secondary ones
    addresses_per_detached_eni: int = 30
    migrates_to_detached_eni: bool = False  # undocumented at the cloud, so both can be tried
    reserves_used_addresses: bool = True  # of the caller's own ENIs; undocumented as well
    attach_needs_security_group: bool = False  # the cloud asks for one, and names no code
    groups_per_eni: int = 5
    eips_per_account: int = 20
    eips_per_day: int = 40  # applications of an account
    reserved_per_subnet: int = 1000
    tasks_kept_max: int = 100_000


# (cores up to and including, ENIs, addresses per ENI)
_BY_CORES: Final = (
    (1, 2, 6),
    (6, 4, 10),
    (8, 6, 20),
    (10, 6, 20),
    (16, 8, 30),
)
_ABOVE: Final = InstanceQuota(enis=8, addresses_per_eni=30)

# Families that differ from the table: (family, cores) -> quota.
_BY_FAMILY: Final = {
    ("SA1", 2): InstanceQuota(enis=2, addresses_per_eni=10),
    ("S5se", 4): InstanceQuota(enis=4, addresses_per_eni=20),
}


def default_quota(instance_type: str, cores: int) -> InstanceQuota:
    """The quota of an instance type such as ``S5.LARGE8`` with this many cores."""
    family = instance_type.partition(".")[0]
    if (family, cores) in _BY_FAMILY:
        return _BY_FAMILY[family, cores]
    for most, enis, addresses in _BY_CORES:
        if cores <= most:
            return InstanceQuota(enis=enis, addresses_per_eni=addresses)
    return _ABOVE
