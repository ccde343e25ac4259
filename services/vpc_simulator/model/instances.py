"""Instances: what ENIs are attached to."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address

from services.vpc_simulator.model.quotas import InstanceQuota
from services.vpc_simulator.model.states import InstanceState, instance_step
from shared.ids import EniId, InstanceId, SubnetId, VpcId, Zone


@dataclass(slots=True, kw_only=True)
class Instance:
    """A virtual machine of one zone, with its primary ENI at index 0."""

    id: InstanceId
    name: str  # the node's name, where the topology gives one
    vpc: VpcId
    subnet: SubnetId
    zone: Zone
    type: str
    cores: int
    memory_gib: int
    quota: InstanceQuota
    primary_address: IPv4Address
    created_at: datetime
    state: InstanceState = InstanceState.RUNNING
    enis: dict[int, EniId] = field(default_factory=dict)  # by device index

    def step(self, state: InstanceState) -> None:
        self.state = instance_step(self.state, state)

    @property
    def has_network(self) -> bool:
        """A stopped instance's ENIs stay attached, but no packet gets in or out."""
        return self.state in (InstanceState.RUNNING, InstanceState.STOPPING)

    def free_index(self) -> int:
        """The lowest device index that no ENI has."""
        return next(index for index in range(len(self.enis) + 1) if index not in self.enis)
