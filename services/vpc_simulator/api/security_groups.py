"""The actions that are done when they are answered: what an ENI is called, and its groups."""

from __future__ import annotations

from collections.abc import Sequence

from services.vpc_simulator.api import parameters
from services.vpc_simulator.api.selection import IDS_MAX, check_count, chosen_ids
from services.vpc_simulator.api.shapes import Json
from services.vpc_simulator.api.writes import Call, check_texts
from services.vpc_simulator.model import security_groups
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.names import check_id


def modify(cloud: Cloud, asked: parameters.ModifyNetworkInterfaceAttribute, call: Call) -> Json:
    check_texts(asked.network_interface_name or "", asked.network_interface_description or "")
    if asked.trunking_flag != "Disable":
        raise ApiFailure(Code.UNSUPPORTED, "Trunking interfaces are not offered.")
    groups = asked.security_group_ids
    security_groups.modify(
        cloud,
        check_id("NetworkInterfaceId", asked.network_interface_id, "eni"),
        name=asked.network_interface_name,
        description=asked.network_interface_description,
        groups=None if groups is None else _groups(groups),
    )
    return {}


def associate(
    cloud: Cloud, asked: parameters.AssociateNetworkInterfaceSecurityGroups, call: Call
) -> Json:
    security_groups.associate(cloud, *_asked(asked))
    return {}


def disassociate(
    cloud: Cloud, asked: parameters.DisassociateNetworkInterfaceSecurityGroups, call: Call
) -> Json:
    security_groups.disassociate(cloud, *_asked(asked))
    return {}


def _asked(
    asked: parameters.AssociateNetworkInterfaceSecurityGroups,
) -> tuple[Sequence[str], Sequence[str]]:
    if not asked.network_interface_ids or not asked.security_group_ids:
        raise ApiFailure(
            Code.MISSING_PARAMETER,
            "NetworkInterfaceIds and SecurityGroupIds: at least one each.",
        )
    chosen_ids("NetworkInterfaceIds", asked.network_interface_ids, (), "eni")
    return asked.network_interface_ids, _groups(asked.security_group_ids)


def _groups(asked: Sequence[str]) -> Sequence[str]:
    check_count("SecurityGroupIds", asked, IDS_MAX)
    return [check_id("SecurityGroupIds", each, "sg") for each in asked]
