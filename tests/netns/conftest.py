"""A namespace per test, a conversation with it, and a small VPC of real packets."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from services.vpc_simulator.fabric.namespace_fabric import NamespaceFabric
from shared.ids import InstanceId
from shared.kernel.conversation import Conversation
from shared.kernel.netns import new_netns
from tests.support.vpcs import SUBNETS, Vpc, eni

pytestmark = pytest.mark.kernel

MakeNetns = Callable[[], int]


@pytest.fixture
def make_netns() -> Iterator[MakeNetns]:
    """Fresh namespaces by descriptor, freed by the kernel when the test ends."""
    made: list[int] = []

    def make() -> int:
        made.append(new_netns())
        return made[-1]

    try:
        yield make
    finally:
        for fd in made:
            os.close(fd)


@pytest.fixture
def netns(make_netns: MakeNetns) -> int:
    return make_netns()


@pytest.fixture
def conversation(netns: int) -> Iterator[Conversation]:
    with Conversation(netns) as conversation:
        yield conversation


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
