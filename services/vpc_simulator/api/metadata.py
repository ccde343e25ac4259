"""The instance metadata service: what an instance may read of itself, without credentials.

An instance reaches it at 169.254.0.23:80; whoever carries that here names the instance in the
path: ``/metadata/<instance>/latest/meta-data/…``. It tells an instance which addresses its ENIs
really have, whoever else cannot be reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Union

from aiohttp import web

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.enis import Eni
from services.vpc_simulator.model.instances import Instance
from services.vpc_simulator.model.states import AddressState, EniState
from shared.ids import InstanceId

Tree = Mapping[str, Union[str, "Tree"]]

_ROOT = ("latest", "meta-data")


class Metadata:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def handle(self, request: web.Request) -> web.Response:
        instance = self._cloud.instances.get(InstanceId(request.match_info["instance"]))
        parts = tuple(part for part in request.match_info["path"].split("/") if part)
        if instance is None or not instance.has_network or parts[:2] != _ROOT:
            raise web.HTTPNotFound
        found = _find(_tree(self._cloud, instance), parts[2:])
        if found is None:
            raise web.HTTPNotFound
        return web.Response(text=found if isinstance(found, str) else _listing(found))


def _find(tree: Tree, parts: tuple[str, ...]) -> str | Tree | None:
    found: str | Tree | None = tree
    for part in parts:
        if found is None or isinstance(found, str):
            return None
        found = found.get(part)
    return found


def _listing(tree: Tree) -> str:
    return "\n".join(
        name if isinstance(value, str) else f"{name}/" for name, value in tree.items()
    )


def _tree(cloud: Cloud, instance: Instance) -> Tree:
    enis = [cloud.enis[eni] for _, eni in sorted(instance.enis.items())]
    shown = [eni for eni in enis if _is_here(eni, instance)]
    return {
        "instance-id": instance.id,
        "instance-name": instance.name,
        "local-ipv4": str(instance.primary_address),
        "mac": cloud.enis[instance.enis[0]].mac,
        "placement": {"region": cloud.region, "zone": instance.zone},
        "network": {"interfaces": {"macs": {eni.mac: _eni(cloud, eni) for eni in shown}}},
    }


def _is_here(eni: Eni, instance: Instance) -> bool:
    """Not on its way in: from its creation, a pool of ENIs, or another instance."""
    attachment = eni.attachment
    is_arriving = eni.state in (EniState.PENDING, EniState.ATTACHING)
    return not is_arriving and attachment is not None and attachment.instance == instance.id


def _eni(cloud: Cloud, eni: Eni) -> Tree:
    subnet = cloud.subnets[eni.subnet]
    return {
        "mac": eni.mac,
        "primary-local-ipv4": str(eni.primary_address),
        "vpc-id": eni.vpc,
        "subnet-id": eni.subnet,
        "local-ipv4s": {
            str(each.address): {
                "gateway": str(subnet.gateway),
                "local-ipv4": str(each.address),
                "subnet-mask": str(subnet.cidr.netmask),
            }
            for each in eni.addresses.values()
            if each.state is not AddressState.PENDING
        },
    }
