"""Which security groups a network interface has, in order: each call is done at once."""

from __future__ import annotations

from collections.abc import Sequence

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.enis import Eni
from services.vpc_simulator.model.failures import ApiFailure, Code, not_found


def check_groups(cloud: Cloud, groups: Sequence[str]) -> tuple[str, ...]:
    """They exist, each is named once, and there are not too many of them."""
    if len(set(groups)) < len(groups):
        raise ApiFailure(Code.INVALID_VALUE, "A security group is named twice.")
    for group in groups:
        if cloud.security_groups and group not in cloud.security_groups:
            raise not_found("security group", group)
    if len(groups) > cloud.limits.groups_per_eni:
        raise ApiFailure(
            Code.LIMIT_EXCEEDED,
            f"{len(groups)} security groups; a network interface has at most"
            f" {cloud.limits.groups_per_eni}.",
        )
    return tuple(groups)


def associate(cloud: Cloud, eni_ids: Sequence[str], groups: Sequence[str]) -> None:
    """Add what is missing, behind those that are there: on every interface, or on none."""
    enis = _secondary(cloud, eni_ids)
    check_groups(cloud, groups)
    wanted = [check_groups(cloud, _with(eni.security_groups, groups)) for eni in enis]
    for eni, having in zip(enis, wanted, strict=True):
        eni.security_groups = having


def disassociate(cloud: Cloud, eni_ids: Sequence[str], groups: Sequence[str]) -> None:
    """Take away; an interface may be left with none."""
    enis = _secondary(cloud, eni_ids)
    check_groups(cloud, groups)
    for eni in enis:
        if missing := sorted(set(groups) - set(eni.security_groups)):
            raise ApiFailure(Code.RESOURCE_NOT_FOUND, f"{eni.id} does not have {missing}.")
    for eni in enis:
        eni.security_groups = tuple(each for each in eni.security_groups if each not in groups)


def modify(
    cloud: Cloud,
    eni_id: str,
    *,
    name: str | None,
    description: str | None,
    groups: Sequence[str] | None,
) -> None:
    """Say anew what is not None. The groups that are named replace all that were there."""
    eni = cloud.eni(eni_id)
    if groups is not None and not groups:
        raise ApiFailure(Code.INVALID_VALUE, "SecurityGroupIds: at least one is needed.")
    wanted = eni.security_groups if groups is None else check_groups(cloud, groups)
    eni.security_groups = wanted
    eni.name = eni.name if name is None else name
    eni.description = eni.description if description is None else description


def _secondary(cloud: Cloud, eni_ids: Sequence[str]) -> list[Eni]:
    enis = [cloud.eni(each) for each in dict.fromkeys(eni_ids)]
    for eni in enis:
        if eni.is_primary:
            raise ApiFailure(
                Code.UNSUPPORTED, f"{eni.id} is primary: its instance has the groups."
            )
    return enis


def _with(having: Sequence[str], more: Sequence[str]) -> list[str]:
    return [*having, *(each for each in more if each not in having)]
