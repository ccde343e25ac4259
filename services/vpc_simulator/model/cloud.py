"""The whole cloud of one account: what exists, and the tasks that change it.

The operations on it are in eni_operations, address_operations and instance_operations; each
refuses with ApiFailure before it changes anything, or begins a task.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from ipaddress import IPv4Address, IPv4Network

from services.vpc_simulator.model.effects import Effect
from services.vpc_simulator.model.eips import Eip, EipId
from services.vpc_simulator.model.enis import Attachment, Eni, TaskId
from services.vpc_simulator.model.failures import not_found
from services.vpc_simulator.model.instances import Instance
from services.vpc_simulator.model.names import Names
from services.vpc_simulator.model.quotas import Limits
from services.vpc_simulator.model.states import TaskStatus
from services.vpc_simulator.model.subnets import (
    ENI_HOLDER,
    Holder,
    Reservation,
    ReservationId,
    Subnet,
)
from services.vpc_simulator.model.tasks import Change, Task, TaskLog
from shared.ids import EniId, InstanceId, SubnetId, VpcId


@dataclass(frozen=True, slots=True, kw_only=True)
class Vpc:
    id: VpcId
    name: str
    cidr: IPv4Network


@dataclass(slots=True, kw_only=True)
class Cloud:
    region: str
    vpc: Vpc
    limits: Limits
    names: Names
    other_vpcs: frozenset[VpcId] = frozenset()  # of the same account
    subnets: dict[SubnetId, Subnet] = field(default_factory=dict)
    instances: dict[InstanceId, Instance] = field(default_factory=dict)
    enis: dict[EniId, Eni] = field(default_factory=dict)
    macs: dict[str, EniId] = field(default_factory=dict)
    reservations: dict[ReservationId, Reservation] = field(default_factory=dict)
    security_groups: frozenset[str] = frozenset()  # that exist; empty: any does
    eips: dict[EipId, Eip] = field(default_factory=dict)
    eips_by_private: dict[IPv4Address, EipId] = field(default_factory=dict)
    eip_applications: dict[str, tuple[date, int]] = field(default_factory=dict)  # by account
    tasks: TaskLog = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = TaskLog(kept_max=self.limits.tasks_kept_max)

    # Looking up

    def check_vpc(self, vpc: str) -> None:
        if vpc != self.vpc.id and vpc not in self.other_vpcs:
            raise not_found("VPC", vpc)

    def subnet(self, name: str) -> Subnet:
        subnet = self.subnets.get(SubnetId(name))
        if subnet is None:
            raise not_found("subnet", name)
        return subnet

    def instance(self, name: str) -> Instance:
        instance = self.instances.get(InstanceId(name))
        if instance is None:
            raise not_found("instance", name)
        return instance

    def eni(self, name: str) -> Eni:
        eni = self.enis.get(EniId(name))
        if eni is None:
            raise not_found("network interface", name)
        return eni

    def secondary_enis(self, vpc: VpcId) -> int:
        return sum(not eni.is_primary and eni.vpc == vpc for eni in self.enis.values())

    def addresses_max(self, eni: Eni) -> int:
        """How many addresses an ENI may have where it is now, the primary one included."""
        if eni.attachment is None:
            return self.limits.addresses_per_detached_eni
        return self.instances[eni.attachment.instance].quota.addresses_per_eni

    def subnet_of_address(self, address: IPv4Address) -> Subnet | None:
        return next((each for each in self.subnets.values() if address in each.cidr), None)

    def eip_at(self, address: IPv4Address) -> Eip | None:
        """The EIP that leads to an address of the VPC."""
        eip_id = self.eips_by_private.get(address)
        return self.eips[eip_id] if eip_id is not None else None

    def link_of(self, eni: Eni) -> Attachment | None:
        """Where the ENI's link is: nowhere while its instance is stopped."""
        attachment = eni.attachment
        if attachment is None or not self.instances[attachment.instance].has_network:
            return None
        return attachment

    # Adding and taking away, for the operations

    def add_eni(self, eni: Eni, now: datetime) -> None:
        """With its addresses, which are held from this moment."""
        self.enis[eni.id] = eni
        self.macs[eni.mac] = eni.id
        for address in eni.addresses:
            self.subnets[eni.subnet].take(address, eni_holder(eni, now))

    def remove_eni(self, eni: Eni) -> None:
        for address in eni.addresses:
            self.subnets[eni.subnet].give_back(address, eni=eni.id)
        del self.enis[eni.id]
        del self.macs[eni.mac]

    def take_foreign(
        self, subnet: str, address: IPv4Address, *, kind: str, now: datetime
    ) -> None:
        """Another resource of the account takes an address, as people do in shared subnets."""
        found = self.subnet(subnet)
        found.check_free(address, account=None)
        found.take(address, Holder(kind=kind, eni=None, since=now))

    # Tasks

    def begin(
        self,
        task_id: TaskId,
        action: str,
        change: Change,
        *,
        resources: tuple[str, ...],
        now: datetime,
    ) -> Task:
        task = Task(id=task_id, action=action, resources=resources, began_at=now, change=change)
        self.tasks.begin(task)
        return task

    def effects(self, task_id: TaskId) -> list[Effect]:
        return self._running(task_id)[1].effects()

    def complete(self, task_id: TaskId, *, now: datetime) -> None:
        """The network obeys the task's effects."""
        task, change = self._running(task_id)
        change.complete(now)
        self.tasks.end(task, TaskStatus.SUCCESS, output="", now=now)

    def fail(self, task_id: TaskId, *, reason: str, now: datetime) -> list[Effect]:
        """Step back; the answer is what the network must be told again."""
        task, change = self._running(task_id)
        undo = change.abort()
        self.tasks.end(task, TaskStatus.FAILED, output=reason, now=now)
        return undo

    def _running(self, task_id: TaskId) -> tuple[Task, Change]:
        task = self.tasks.get(task_id)
        assert task is not None, "only tasks that were begun are looked at"
        assert task.change is not None, "a task ends once"
        return task, task.change


def eni_holder(eni: Eni, now: datetime) -> Holder:
    return Holder(kind=ENI_HOLDER, eni=eni.id, since=now)
