"""Every action that the cloud answers: its service, its parameters, its documented rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.vpc_simulator.api import (
    eips,
    parameters,
    reads,
    reservations,
    security_groups,
    writes,
)
from services.vpc_simulator.api.parameters import Idempotent, P, Parameters, read
from services.vpc_simulator.api.shapes import Json
from services.vpc_simulator.api.writes import Call
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.tokens import ClientTokens, TokenKey

VERSION: Final = "2017-03-12"  # of both services
_TOKEN_CHARACTERS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A repeated call gets the first one's RequestId too: it is the id of the task."""

    request_id: str
    body: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A call whose parameters have been read: what is left is to do it, in one step."""

    key: TokenKey | None  # under which it may be repeated
    perform: Callable[[Cloud, Call, ClientTokens[Answer]], Answer]


Prepare = Callable[[bytes, str], Prepared]  # from a body and the account that sent it


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    name: str
    service: str
    rate_per_s: int  # the documented one: calls of one account
    prepare: Prepare
    begins_task: bool = False  # its effect takes a time of its own
    only_looks: bool = False  # changes nothing, and may be lied to


def _looks(
    rate_per_s: int,
    asked: type[P],
    look: Callable[[Cloud, P], Json],
    *,
    service: str = "vpc",
) -> Action:
    def prepare(body: bytes, account: str) -> Prepared:
        found = read(asked, body)

        def perform(cloud: Cloud, call: Call, tokens: ClientTokens[Answer]) -> Answer:
            return Answer(request_id=call.task, body=look(cloud, found))

        return Prepared(key=None, perform=perform)

    return Action(
        name=asked.__name__,
        service=service,
        rate_per_s=rate_per_s,
        prepare=prepare,
        only_looks=True,
    )


def _changes(
    rate_per_s: int,
    asked: type[P],
    change: Callable[[Cloud, P, Call], Json],
    *,
    begins_task: bool = True,
) -> Action:
    name = asked.__name__

    def prepare(body: bytes, account: str) -> Prepared:
        found = read(asked, body)
        key = _key(account, name, found)

        def perform(cloud: Cloud, call: Call, tokens: ClientTokens[Answer]) -> Answer:
            def once() -> Answer:
                return Answer(request_id=call.task, body=change(cloud, found, call))

            if key is None:
                return once()
            return tokens.once(key, found.model_dump_json(exclude={"client_token"}), once)

        return Prepared(key=key, perform=perform)

    return Action(
        name=name,
        service="vpc",
        rate_per_s=rate_per_s,
        prepare=prepare,
        begins_task=begins_task,
    )


def _at_once(
    rate_per_s: int, asked: type[P], change: Callable[[Cloud, P, Call], Json]
) -> Action:
    """A change that is done when it is answered; or a look at what is the caller's own."""
    return _changes(rate_per_s, asked, change, begins_task=False)


def _key(account: str, action: str, asked: Parameters) -> TokenKey | None:
    if not isinstance(asked, Idempotent) or asked.client_token is None:
        return None
    return TokenKey(account=account, action=action, token=_check_token(asked.client_token))


def _check_token(token: str) -> str:
    if not token or not token.isascii() or len(token) > _TOKEN_CHARACTERS_MAX:
        raise ApiFailure(
            Code.MALFORMED, f"ClientToken: want 1 to {_TOKEN_CHARACTERS_MAX} ASCII characters."
        )
    return token


_ALL: Final = (
    _looks(100, parameters.DescribeSubnets, reads.describe_subnets),
    _looks(100, parameters.DescribeNetworkInterfaces, reads.describe_enis),
    _looks(20, parameters.DescribeNetworkInterfaceLimit, reads.describe_eni_limit),
    _looks(20, parameters.DescribeVpcTaskResult, reads.describe_task),
    _looks(20, parameters.DescribeVpcPrivateIpAddresses, reads.describe_addresses),
    _looks(40, parameters.DescribeInstances, reads.describe_instances, service="cvm"),
    _changes(100, parameters.CreateNetworkInterface, writes.create_eni),
    _changes(50, parameters.AttachNetworkInterface, writes.attach_eni),
    _changes(100, parameters.DetachNetworkInterface, writes.detach_eni),
    _changes(100, parameters.DeleteNetworkInterface, writes.delete_eni),
    _changes(100, parameters.AssignPrivateIpAddresses, writes.assign),
    _changes(100, parameters.UnassignPrivateIpAddresses, writes.unassign),
    _changes(50, parameters.MigratePrivateIpAddress, writes.migrate),
    _changes(100, parameters.CreateAndAttachNetworkInterface, writes.create_attached_eni),
    _changes(100, parameters.MigrateNetworkInterface, writes.migrate_eni),
    _at_once(100, parameters.ModifyNetworkInterfaceAttribute, security_groups.modify),
    _at_once(20, parameters.AssociateNetworkInterfaceSecurityGroups, security_groups.associate),
    _at_once(
        20, parameters.DisassociateNetworkInterfaceSecurityGroups, security_groups.disassociate
    ),
    _at_once(100, parameters.AssignIpv6Addresses, writes.refuse_ipv6),
    _at_once(100, parameters.UnassignIpv6Addresses, writes.refuse_ipv6),
    _changes(10, parameters.AllocateAddresses, eips.allocate),
    _changes(10, parameters.AssociateAddress, eips.associate),
    _changes(10, parameters.DisassociateAddress, eips.disassociate),
    _changes(10, parameters.ReleaseAddresses, eips.release),
    _at_once(20, parameters.DescribeAddresses, eips.describe),
    _at_once(10, parameters.DescribeAddressQuota, eips.describe_quota),
    _looks(20, parameters.DescribeTaskResult, eips.describe_task),
    _at_once(20, parameters.CreateReserveIpAddresses, reservations.create),
    _at_once(20, parameters.DescribeReserveIpAddresses, reservations.describe),
    _at_once(20, parameters.DeleteReserveIpAddresses, reservations.delete),
    _looks(20, parameters.DescribeUsedIpAddress, reservations.describe_used),
)

ACTIONS: Final = {action.name: action for action in _ALL}
