"""A small VPC of real packets, taken away after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.vpc_simulator.fabric.namespace_fabric import NamespaceFabric
from shared.ids import InstanceId
from tests.support.vpcs import SUBNETS, Vpc, eni


@pytest.fixture
async def fabric(tmp_path: Path) -> AsyncIterator[NamespaceFabric]:
    opened = await NamespaceFabric.open(tmp_path)
    try:
        yield opened
    finally:
        await opened.aclose()


@pytest.fixture
async def vpc(fabric: NamespaceFabric) -> AsyncIterator[Vpc]:
    """ins-1 has 10.0.1.11 (subnet a), ins-2 has 10.0.1.12, ins-3 has 10.0.2.13 (subnet b)."""
    for subnet, (cidr, gateway) in SUBNETS.items():
        await fabric.set_subnet(subnet, cidr, gateway)
    for number, subnet_name in ((1, "subnet-a"), (2, "subnet-a"), (3, "subnet-b")):
        instance = f"ins-{number}"
        await fabric.set_instance(InstanceId(instance))
        await fabric.set_eni(eni(number, instance, 0, subnet=subnet_name))
    vpc = Vpc(fabric)
    try:
        yield vpc
    finally:
        vpc.close()
