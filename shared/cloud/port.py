"""The port to a cloud's VPC. Every adapter passes tests/contract/test_cloud_api.py.

Changes are asynchronous: a call returns when the cloud has taken it, and describing the ENI
tells when it is done. Calls with a `token` are safe to repeat with the same words; the others
(unassign, migrate, detach, delete) are made so by describing first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Final, Protocol

from shared.ids import EniId, InstanceId, SubnetId, VpcId

from .words import Eni, EniQuota, Instance, NewEni, ReservedAddress, Subnet, UsedAddress

ENIS_PER_DESCRIBE_MAX: Final = 100
INSTANCES_PER_DESCRIBE_MAX: Final = 100
ADDRESSES_PER_CALL_MAX: Final = 10  # named ones; counts are bounded by the quota alone


class CloudApi(Protocol):
    """All methods raise CloudError, CloudAway among them when the answer is not known."""

    async def describe_subnets(self, subnets: Sequence[SubnetId]) -> list[Subnet]:
        """Those that exist among the named ones."""
        ...

    async def describe_instances(self, instances: Sequence[InstanceId]) -> list[Instance]:
        """Those that exist among at most INSTANCES_PER_DESCRIBE_MAX named ones."""
        ...

    async def describe_quota(self, instance: InstanceId) -> EniQuota: ...

    async def describe_enis(self, enis: Sequence[EniId]) -> list[Eni]:
        """Those that exist among at most ENIS_PER_DESCRIBE_MAX named ones."""
        ...

    async def find_enis_on(self, instances: Sequence[InstanceId]) -> list[Eni]:
        """Every ENI attached, or on its way, to one of them; the primary ones too."""
        ...

    async def find_enis_tagged(self, tags: Mapping[str, str]) -> list[Eni]:
        """Every ENI that carries all these tags."""
        ...

    async def find_eni_of(self, vpc: VpcId, address: IPv4Address) -> Eni | None:
        """The ENI that has exactly this address, in whatever phase."""
        ...

    async def find_used(self, vpc: VpcId, address: IPv4Address) -> UsedAddress | None:
        """Who has the address, ENI or not; None when it is free."""
        ...

    async def find_used_in(self, vpc: VpcId, subnet: SubnetId) -> list[UsedAddress]:
        """Every address of the subnet that somebody has or keeps, with what has it."""
        ...

    async def create_eni(self, new: NewEni) -> Eni:
        """Raises CloudSubnetFull, CloudLimit."""
        ...

    async def attach_eni(self, eni: EniId, instance: InstanceId, *, token: str) -> None: ...

    async def detach_eni(self, eni: EniId, instance: InstanceId, *, token: str) -> None: ...

    async def delete_eni(self, eni: EniId) -> None: ...

    async def assign_count(self, eni: EniId, count: int, *, token: str) -> list[IPv4Address]:
        """Addresses of the cloud's choice. Raises CloudSubnetFull, CloudLimit."""
        ...

    async def assign_address(self, eni: EniId, address: IPv4Address, *, token: str) -> None:
        """Exactly this address. Raises CloudTaken when somebody has it."""
        ...

    async def unassign(self, eni: EniId, addresses: Sequence[IPv4Address]) -> None:
        """At most ADDRESSES_PER_CALL_MAX. Raises CloudNotFound when one is not there."""
        ...

    async def migrate(self, source: EniId, destination: EniId, address: IPv4Address) -> None:
        """Within one subnet. Raises CloudNotFound when the source does not have it."""
        ...

    async def reserve(
        self,
        vpc: VpcId,
        subnet: SubnetId,
        address: IPv4Address,
        *,
        tags: Mapping[str, str],
        token: str,
    ) -> None:
        """Keep the address for this account, also while one of its ENIs has it. Raises
        CloudTaken when it is kept already, or somebody else's, or when the cloud keeps none
        that is in use."""
        ...

    async def find_reserved(
        self, tags: Mapping[str, str], address: IPv4Address | None = None
    ) -> list[ReservedAddress]:
        """What is kept under all these tags: that address, or all."""
        ...

    async def release_reserved(self, reserved: ReservedAddress) -> None:
        """Keep it no more. Raises CloudTaken while an ENI has the address."""
        ...

    async def associate_groups(self, enis: Sequence[EniId], groups: Sequence[str]) -> None:
        """At most ENIS_PER_DESCRIBE_MAX ENIs; those that are on an ENI already stay."""
        ...

    async def disassociate_groups(self, enis: Sequence[EniId], groups: Sequence[str]) -> None:
        """At most ENIS_PER_DESCRIBE_MAX ENIs; those that are not on an ENI are no error."""
        ...

    async def aclose(self) -> None: ...
