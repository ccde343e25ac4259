"""The model that a checked topology describes: settings, subnets, what it begins with."""

from __future__ import annotations

import random
from datetime import datetime
from ipaddress import IPv4Address

from services.vpc_simulator.model.cloud import Cloud, Vpc
from services.vpc_simulator.model.failures import ApiFailure
from services.vpc_simulator.model.instance_operations import launch
from services.vpc_simulator.model.instances import Instance
from services.vpc_simulator.model.names import Names
from services.vpc_simulator.model.quotas import InstanceQuota, Limits, default_quota
from services.vpc_simulator.model.subnets import Subnet
from services.vpc_simulator.topology import InstanceDocument, Topology
from shared.errors import InvalidInput
from shared.ids import InstanceId, SubnetId, VpcId, Zone


def build_cloud(topology: Topology, *, now: datetime, source: str) -> Cloud:
    """The model that a checked topology describes."""
    cloud = empty_cloud(topology, now=now)
    populate(cloud, topology, now=now, source=source)
    return cloud


def empty_cloud(topology: Topology, *, now: datetime) -> Cloud:
    """Its settings and subnets alone."""
    limits = topology.limits
    cloud = Cloud(
        region=topology.region,
        vpc=Vpc(id=VpcId(topology.vpc.id), name=topology.vpc.name, cidr=topology.vpc.cidr),
        limits=Limits(
            enis_per_vpc=limits.enis_per_vpc,
            addresses_per_detached_eni=limits.addresses_per_detached_eni,
            migrates_to_detached_eni=limits.migrates_to_detached_eni,
            reserves_used_addresses=limits.reserves_used_addresses,
            reserved_per_subnet=limits.reserved_per_subnet,
            attach_needs_security_group=limits.attach_needs_security_group,
            eips_per_account=limits.eips_per_account,
            eips_per_day=limits.eips_per_day,
            tasks_kept_max=limits.tasks_kept_max,
        ),
        names=Names(random.Random(topology.seed)),
        other_vpcs=frozenset(VpcId(each.id) for each in topology.more_vpcs),
        security_groups=frozenset(topology.security_groups),
    )
    for subnet in topology.subnets:
        cloud.subnets[SubnetId(subnet.id)] = Subnet(
            id=SubnetId(subnet.id),
            vpc=VpcId(subnet.vpc) if subnet.vpc else cloud.vpc.id,
            name=subnet.name or subnet.id,
            cidr=subnet.cidr,
            zone=Zone(subnet.zone),
            created_at=now,
        )
    return cloud


def populate(cloud: Cloud, topology: Topology, *, now: datetime, source: str) -> None:
    """Put in what the topology begins with."""
    _take_foreign(cloud, topology, now=now, source=source)
    _launch_all(cloud, topology, now=now, source=source)


def _take_foreign(cloud: Cloud, topology: Topology, *, now: datetime, source: str) -> None:
    for at, each in enumerate(topology.foreign_addresses):
        try:
            cloud.take_foreign(each.subnet, each.address, kind=each.type, now=now)
        except ApiFailure as error:
            raise InvalidInput.of(
                f"{source}: foreign_addresses.{at}.address", str(each.address), error.message
            ) from error


def _launch_all(cloud: Cloud, topology: Topology, *, now: datetime, source: str) -> None:
    """Instances that name their address first, so that no other is given it."""
    order = sorted(enumerate(topology.instances), key=lambda each: each[1].address is None)
    for at, document in order:
        subnet = cloud.subnet(document.subnet)
        try:
            address = document.address or subnet.pick(1)[0]
            launch(cloud, _instance(cloud, document, address, now), now=now)
        except ApiFailure as error:
            raise InvalidInput.of(
                f"{source}: instances.{at}.address", str(document.address), error.message
            ) from error


def quota_of(document: InstanceDocument) -> InstanceQuota:
    """What the topology says, or the public table."""
    if document.quota is None:
        return default_quota(document.type, document.cpu)
    return InstanceQuota(
        enis=document.quota.enis, addresses_per_eni=document.quota.addresses_per_eni
    )


def _instance(
    cloud: Cloud, document: InstanceDocument, address: IPv4Address, now: datetime
) -> Instance:
    return Instance(
        id=InstanceId(document.id),
        name=document.node or document.id,
        vpc=cloud.subnet(document.subnet).vpc,
        subnet=SubnetId(document.subnet),
        zone=Zone(document.zone),
        type=document.type,
        cores=document.cpu,
        memory_gib=document.memory_gib,
        quota=quota_of(document),
        primary_address=address,
        created_at=now,
    )
