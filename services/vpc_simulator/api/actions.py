"""Every action that the cloud answers: its service, its parameters, its documented rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.vpc_simulator.api import parameters, reads, writes
from services.vpc_simulator.api.parameters import Idempotent, P, read
from services.vpc_simulator.api.shapes import Json
from services.vpc_simulator.api.writes import Call
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.tokens import ClientTokens

VERSION: Final = "2017-03-12"  # of both services
_TOKEN_CHARACTERS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A repeated call gets the first one's RequestId too: it is the id of the task."""

    request_id: str
    body: Json


Perform = Callable[[Cloud, bytes, Call, ClientTokens[Answer]], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    name: str
    service: str
    rate_per_s: int  # the documented one: calls of one account
    perform: Perform


def _looks(
    rate_per_s: int,
    asked: type[P],
    look: Callable[[Cloud, P], Json],
    *,
    service: str = "vpc",
) -> Action:
    def perform(cloud: Cloud, body: bytes, call: Call, tokens: ClientTokens[Answer]) -> Answer:
        return Answer(request_id=call.task, body=look(cloud, read(asked, body)))

    return Action(name=asked.__name__, service=service, rate_per_s=rate_per_s, perform=perform)


def _changes(
    rate_per_s: int, asked: type[P], change: Callable[[Cloud, P, Call], Json]
) -> Action:
    def perform(cloud: Cloud, body: bytes, call: Call, tokens: ClientTokens[Answer]) -> Answer:
        found = read(asked, body)

        def once() -> Answer:
            return Answer(request_id=call.task, body=change(cloud, found, call))

        if not isinstance(found, Idempotent) or found.client_token is None:
            return once()
        token = _check_token(found.client_token)
        return tokens.once(
            asked.__name__, token, found.model_dump_json(exclude={"client_token"}), once
        )

    return Action(name=asked.__name__, service="vpc", rate_per_s=rate_per_s, perform=perform)


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
)

ACTIONS: Final = {action.name: action for action in _ALL}
EFFECTFUL: Final = tuple(
    name for name in ACTIONS if not name.startswith("Describe")
)  # those whose effect takes a time of its own
