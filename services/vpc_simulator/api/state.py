"""The whole model as JSON, for people and tests: what the cloud says, in one look."""

from __future__ import annotations

from services.vpc_simulator.api.shapes import Json
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.eips import Eip
from services.vpc_simulator.model.enis import Eni
from services.vpc_simulator.model.instances import Instance
from services.vpc_simulator.model.invariants import broken
from services.vpc_simulator.model.subnets import Subnet
from services.vpc_simulator.model.tasks import Task


def state(cloud: Cloud) -> Json:
    return {
        "region": cloud.region,
        "vpc": {"id": cloud.vpc.id, "cidr": str(cloud.vpc.cidr)},
        "subnets": [_subnet(each) for each in cloud.subnets.values()],
        "instances": [_instance(each) for each in cloud.instances.values()],
        "enis": [_eni(each) for each in cloud.enis.values()],
        "eips": [_eip(each) for each in cloud.eips.values()],
        "tasks_running": [_task(each) for each in cloud.tasks if each.change is not None],
        "broken_rules": broken(cloud),
    }


def _subnet(it: Subnet) -> Json:
    foreign = {str(at): by.kind for at, by in it.holders.items() if by.eni is None}
    return {
        "id": it.id,
        "cidr": str(it.cidr),
        "zone": it.zone,
        "gateway": str(it.gateway),
        "total": it.total,
        "available": it.available,
        "foreign_addresses": foreign,
        "reserved_addresses": {str(at): by.id for at, by in it.reserved.items()},
    }


def _instance(it: Instance) -> Json:
    return {
        "id": it.id,
        "node": it.name,
        "zone": it.zone,
        "subnet": it.subnet,
        "state": it.state,
        "type": it.type,
        "primary_address": str(it.primary_address),
        "quota": {"enis": it.quota.enis, "addresses_per_eni": it.quota.addresses_per_eni},
        "enis": {str(index): eni for index, eni in sorted(it.enis.items())},
    }


def _eni(it: Eni) -> Json:
    attachment = it.attachment
    return {
        "id": it.id,
        "name": it.name,
        "subnet": it.subnet,
        "zone": it.zone,
        "mac": it.mac,
        "primary": it.is_primary,
        "state": it.state,
        "instance": attachment.instance if attachment else None,
        "device_index": attachment.device_index if attachment else None,
        "task": it.running_task,
        "tags": it.tags,
        "account": it.account,
        "security_groups": list(it.security_groups),
        "addresses": {
            str(each.address): {"state": each.state, "primary": each.is_primary}
            for each in it.addresses.values()
        },
    }


def _eip(it: Eip) -> Json:
    return {
        "id": it.id,
        "public_address": str(it.public_address),
        "private_address": str(it.private_address) if it.private_address else None,
        "account": it.account,
        "state": it.state,
    }


def _task(it: Task) -> Json:
    return {"id": it.id, "action": it.action, "resources": list(it.resources)}
