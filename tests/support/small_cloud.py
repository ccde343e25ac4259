"""A small cloud in a test's hands, and the calls on it without their noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address

from services.vpc_simulator.model import (
    address_operations,
    eip_operations,
    eni_moves,
    eni_operations,
    instance_operations,
    reservation_operations,
)
from services.vpc_simulator.model.eip_operations import NewEips
from services.vpc_simulator.model.eips import Eip
from services.vpc_simulator.model.eni_operations import NewAddress, NewEni
from services.vpc_simulator.model.enis import MAIN_ACCOUNT, Eni, TaskId
from services.vpc_simulator.model.reservation_operations import NewReservations
from services.vpc_simulator.model.subnets import Reservation
from services.vpc_simulator.population import build_cloud
from services.vpc_simulator.topology import parse_topology

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

DOCUMENT: dict[str, object] = {
    "region": "ap-guangzhou",
    "vpc": {"id": "vpc-one", "cidr": "10.0.0.0/16"},
    "subnets": [
        {"id": "subnet-a", "cidr": "10.0.1.0/24", "zone": "zone-1"},
        {"id": "subnet-small", "cidr": "10.0.2.0/29", "zone": "zone-1"},
        {"id": "subnet-b", "cidr": "10.0.3.0/24", "zone": "zone-2"},
    ],
    "instances": [
        {"id": "ins-one", "zone": "zone-1", "subnet": "subnet-a", "cpu": 1},
        {"id": "ins-two", "zone": "zone-1", "subnet": "subnet-a", "cpu": 1},
        {"id": "ins-far", "zone": "zone-2", "subnet": "subnet-b", "cpu": 1},
    ],
    "limits": {"enis_per_vpc": 4},
    "seed": 7,
}


class SmallCloud:
    """Instances have one core, so two ENIs of six addresses; the VPC has room for four ENIs.

    Each call begins a task and returns its id; `settle` completes it.
    """

    def __init__(self, **limits: object) -> None:
        document = {**DOCUMENT, "limits": {"enis_per_vpc": 4, **limits}}
        topology = parse_topology(document, source="test")
        self.cloud = build_cloud(topology, now=NOW, source="test")
        self._numbers = itertools.count(1)

    def task(self) -> TaskId:
        return TaskId(f"task-{next(self._numbers)}")

    def settle(self, task: TaskId) -> None:
        self.cloud.effects(task)
        self.cloud.complete(task, now=NOW)

    def fail(self, task: TaskId) -> None:
        self.cloud.fail(task, reason="because", now=NOW)

    def create(
        self,
        subnet: str = "subnet-a",
        *,
        addresses: Sequence[NewAddress] = (),
        secondary_count: int = 0,
    ) -> tuple[Eni, TaskId]:
        task = self.task()
        new = NewEni(
            vpc="vpc-one",
            subnet=subnet,
            name="eni",
            addresses=tuple(addresses),
            secondary_count=secondary_count,
        )
        return eni_operations.create_eni(self.cloud, new, task=task, now=NOW), task

    def attach(self, eni: Eni, instance: str = "ins-one", *, attach_type: int = 0) -> TaskId:
        task = self.task()
        eni_operations.attach_eni(
            self.cloud, eni.id, instance, attach_type=attach_type, task=task, now=NOW
        )
        return task

    def detach(self, eni: Eni, instance: str = "ins-one") -> TaskId:
        task = self.task()
        eni_operations.detach_eni(self.cloud, eni.id, instance, task=task, now=NOW)
        return task

    def delete(self, eni: Eni) -> TaskId:
        task = self.task()
        eni_operations.delete_eni(self.cloud, eni.id, task=task, now=NOW)
        return task

    def assign(self, eni: Eni, count: int = 0, named: Sequence[str] = ()) -> TaskId:
        task = self.task()
        address_operations.assign(
            self.cloud,
            eni.id,
            named=[NewAddress(address=IPv4Address(each)) for each in named],
            count=count,
            qos_level="DEFAULT",
            task=task,
            now=NOW,
        )
        return task

    def unassign(self, eni: Eni, addresses: Sequence[IPv4Address]) -> TaskId:
        task = self.task()
        address_operations.unassign(self.cloud, eni.id, addresses, task=task, now=NOW)
        return task

    def migrate(self, source: Eni, destination: Eni, address: IPv4Address) -> TaskId:
        task = self.task()
        address_operations.migrate(
            self.cloud, source.id, destination.id, address, task=task, now=NOW
        )
        return task

    def terminate(self, instance: str) -> TaskId:
        task = self.task()
        instance_operations.terminate(self.cloud, instance, task=task, now=NOW)
        return task

    def stop(self, instance: str) -> TaskId:
        task = self.task()
        instance_operations.stop(self.cloud, instance, task=task, now=NOW)
        return task

    def start(self, instance: str) -> TaskId:
        task = self.task()
        instance_operations.start(self.cloud, instance, task=task, now=NOW)
        return task

    def create_attached(self, instance: str, *, secondary_count: int = 0) -> tuple[Eni, TaskId]:
        task = self.task()
        subnet = self.cloud.instance(instance).subnet
        new = NewEni(vpc="vpc-one", subnet=subnet, name="eni", secondary_count=secondary_count)
        eni = eni_moves.create_attached_eni(
            self.cloud, new, instance, attach_type=0, task=task, now=NOW
        )
        return eni, task

    def move(self, eni: Eni, source: str, destination: str) -> TaskId:
        task = self.task()
        eni_moves.migrate_eni(
            self.cloud, eni.id, source, destination, attach_type=0, task=task, now=NOW
        )
        return task

    def reserve(
        self, *addresses: IPv4Address, count: int = 0, account: str = MAIN_ACCOUNT
    ) -> list[Reservation]:
        new = NewReservations(
            vpc="vpc-one",
            subnet="subnet-a",
            account=account,
            addresses=addresses,
            count=count,
        )
        return reservation_operations.reserve(self.cloud, new, now=NOW)

    def unreserve(self, reservation: str, *, account: str = MAIN_ACCOUNT) -> None:
        reservation_operations.release(self.cloud, "vpc-one", [reservation], account=account)

    def allocate_eip(self) -> tuple[Eip, TaskId]:
        task = self.task()
        [eip], _ = eip_operations.allocate(
            self.cloud, NewEips(account=MAIN_ACCOUNT), task=task, now=NOW
        )
        return eip, task

    def associate(self, eip: Eip, eni: Eni, address: IPv4Address) -> TaskId:
        task = self.task()
        eip_operations.associate_with_address(
            self.cloud,
            eip.id,
            eni.id,
            address,
            account=MAIN_ACCOUNT,
            is_direct=False,
            task=task,
            now=NOW,
        )
        return task

    def disassociate(self, eip: Eip) -> TaskId:
        task = self.task()
        eip_operations.disassociate(
            self.cloud, eip.id, account=MAIN_ACCOUNT, task=task, now=NOW
        )
        return task

    def release_eip(self, eip: Eip) -> TaskId:
        task = self.task()
        eip_operations.release(self.cloud, [eip.id], account=MAIN_ACCOUNT, task=task, now=NOW)
        return task

    def attached(self, instance: str = "ins-one", *, secondary_count: int = 0) -> Eni:
        """An ENI that is settled on an instance."""
        eni, created = self.create(secondary_count=secondary_count)
        self.settle(created)
        self.settle(self.attach(eni, instance))
        return eni


def secondaries(eni: Eni) -> list[IPv4Address]:
    return [each.address for each in eni.addresses.values() if not each.is_primary]
