"""A simulator reduced to its network, as a process of its own.

It opens a fabric with two instances, says where they are and who reaches whom, and stays until
its input ends. Runs under any user: what it proves, it proves by a command entered into an
instance.
"""

from __future__ import annotations

import asyncio
import json
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from services.vpc_simulator.fabric.namespace_fabric import NamespaceFabric
from services.vpc_simulator.ports import EniPort
from shared.ids import EniId, InstanceId, SubnetId
from shared.kernel.netns import open_own_netns
from tests.support.probes import ping

SUBNET = SubnetId("subnet-a")
HERE, THERE = InstanceId("ins-1"), InstanceId("ins-2")
SECOND = IPv4Address("10.0.1.12")
ASKED = {
    "gateway": IPv4Address("10.0.1.1"),
    "neighbour": IPv4Address("10.0.1.11"),
    "nobody": SECOND,
    "outside": IPv4Address("198.51.100.1"),
}


def eni(number: int, instance: InstanceId) -> EniPort:
    address = IPv4Address("10.0.1.9") + number
    return EniPort(
        eni=EniId(f"eni-{number}"),
        subnet=SUBNET,
        mac=f"20:90:6f:00:00:{number:02x}",
        primary_address=address,
        addresses=frozenset({address}),
        instance=instance,
        device_index=0,
    )


async def serve(run_dir: Path) -> None:
    fabric = await NamespaceFabric.open(run_dir)
    try:
        await fabric.set_subnet(SUBNET, IPv4Network("10.0.1.0/24"), IPv4Address("10.0.1.1"))
        for number, instance in enumerate((HERE, THERE), start=1):
            await fabric.set_instance(instance)
            await fabric.set_eni(eni(number, instance))
        probe = [sys.executable, "-m", "tests.support.fabric_process", "--probe"]
        entered = await asyncio.create_subprocess_exec(
            *fabric.namespaces.enter_command(HERE, probe), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30):
            said, _ = await entered.communicate()
        report = {"worker": fabric.namespaces.pid, "reaches": json.loads(said)}
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    finally:
        await fabric.aclose()


def probe() -> None:
    """Inside an instance: who answers."""
    own = open_own_netns()
    answers = {name: ping(own, to) is not None for name, to in ASKED.items()}
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    if sys.argv[1] == "--probe":
        probe()
    else:
        asyncio.run(serve(Path(sys.argv[1])))
