"""The table of actions × (success, each documented error), by both clients of the official SDK.

docs/simulator.md is the table for people. Every row is brought about in a cloud that is in the
state that the error tells of; only what the real cloud's own insides cause is asked for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.vpc.v20170312 import models

from services.vpc_simulator.api.actions import ACTIONS
from services.vpc_simulator.api.documented import DOCUMENTED, cause_of, errors_of
from services.vpc_simulator.model.failures import Code
from tests.support.cloud_provocations import (
    NEW,
    ROWS,
    TOKENED,
    TOPOLOGY,
    filled,
    furnished,
)
from tests.support.simulated_cloud import (
    REGION,
    SECRET_ID,
    SECRET_KEY,
    SimulatedCloud,
    profile,
    simulated_cloud,
)

_OVER_RATE: Final = (Code.REQUEST_LIMIT_EXCEEDED, Code.ACTION_LIMITED)
_BY_TOKEN: Final = (Code.IDEMPOTENT_MISMATCH, Code.IDEMPOTENT_PROCESSING)
_UNSAYABLE: Final = (Code.FILTER_NOT_DICT, Code.FILTER_VALUES_NOT_LIST)
_CHANGING: Final = (Code.IDEMPOTENT_MISMATCH, Code.ENI_LIMIT_EXCEEDED)
_RATE: Final = 10_000
_HELD_MS_MAX: Final = 10_000

Asked = Mapping[str, object]
Told = tuple[str, str]  # to the blocking client, to the other


@asynccontextmanager
async def _cloud(folder: Path) -> AsyncIterator[SimulatedCloud]:
    async with simulated_cloud(folder, lambda it: it.update(TOPOLOGY)) as serving:
        rates = {"rates_per_s": dict.fromkeys(ACTIONS, _RATE)}
        await serving.admin("POST", "rates", rates)
        yield serving


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    cloud: SimulatedCloud
    roles: Mapping[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One for all refusals: each test shows that it has changed nothing."""
    async with _cloud(tmp_path_factory.mktemp("world")) as cloud:
        yield World(cloud=cloud, roles=await furnished(cloud))


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[SimulatedCloud]:
    async with _cloud(tmp_path) as serving:
        yield serving


class Clients:
    """The same call by the blocking client and by the asynchronous one: what they raise.

    By the SDK's own models, but for what they cannot say and for CVM, which has none here.
    """

    def __init__(self, cloud: SimulatedCloud, action: str) -> None:
        self._action = action
        self._is_vpc = ACTIONS[action].service == "vpc"
        self._blocking: Any = cloud.blocking_vpc() if self._is_vpc else _blocking_cvm(cloud)
        self._other: Any = cloud.vpc if self._is_vpc else cloud.cvm

    async def refused(self, asked: Asked, *, is_sayable: bool = True) -> tuple[str, str]:
        return (
            await self.blocking(asked, is_sayable=is_sayable),
            await self.asynchronous(asked, is_sayable=is_sayable),
        )

    async def blocking(self, asked: Asked, *, is_sayable: bool = True) -> str:
        if is_sayable and self._is_vpc:
            call = getattr(self._blocking, self._action)
            return await _code(asyncio.to_thread(call, self._request(asked)))
        raw = asyncio.to_thread(self._blocking.call_json, self._action, asked)
        return await _code(raw)

    async def asynchronous(self, asked: Asked, *, is_sayable: bool = True) -> str:
        if is_sayable and self._is_vpc:
            return await _code(getattr(self._other, self._action)(self._request(asked)))
        return await _code(self._other.call_and_deserialize(self._action, asked))

    def _request(self, asked: Asked) -> Any:
        request = getattr(models, f"{self._action}Request")()
        request.from_json_string(json.dumps(asked))
        return request


def _blocking_cvm(cloud: SimulatedCloud) -> CommonClient:
    credential = Credential(SECRET_ID, SECRET_KEY)
    return CommonClient("cvm", "2017-03-12", credential, REGION, profile(cloud.endpoint))


async def _code(answer: Awaitable[object]) -> str:
    try:
        await answer
    except TencentCloudSDKException as error:
        return str(error.code)
    return "Success"


async def over_rate(cloud: SimulatedCloud, clients: Clients, action: str, code: Code) -> Told:
    """After the one call that is still allowed."""
    slow = {"rates_per_s": {action: 0.001}, "code": code}
    assert (await cloud.admin("POST", "rates", slow))[0] == 200
    await clients.asynchronous({"Colour": "red"}, is_sayable=False)
    refused = await clients.refused({})
    await cloud.admin("POST", "rates", {"rates_per_s": {action: _RATE}})
    return refused


async def on_demand(cloud: SimulatedCloud, clients: Clients, action: str, code: Code) -> Told:
    fault = {"action": action, "kind": "refuse", "code": code, "count": 2}
    assert (await cloud.admin("POST", "faults", fault))[0] == 200
    return await clients.refused({})


async def while_served(
    cloud: SimulatedCloud, clients: Clients, action: str, asked: Asked
) -> Told:
    """Four at once of a call that is refused in the end: all but the first are told so. On a
    slow machine the cloud is made to take longer."""
    held_ms = 100
    while held_ms < _HELD_MS_MAX:
        await _take(cloud, action, held_ms)
        codes = await asyncio.gather(
            clients.blocking(asked),
            clients.blocking(asked),
            clients.asynchronous(asked),
            clients.asynchronous(asked),
        )
        if all(Code.IDEMPOTENT_PROCESSING in each for each in (codes[:2], codes[2:])):
            await _take(cloud, action, 0)
            return Code.IDEMPOTENT_PROCESSING, Code.IDEMPOTENT_PROCESSING
        held_ms *= 2
    raise AssertionError("nobody was told of the call that is being served")


async def _take(cloud: SimulatedCloud, action: str, span_ms: int) -> None:
    latency = {"calls": {"actions": {action: {"median_ms": span_ms}}}}
    assert (await cloud.admin("POST", "latency", latency))[0] == 200


async def provoked(
    cloud: SimulatedCloud, clients: Clients, action: str, code: Code, roles: Mapping[str, str]
) -> Told:
    """What both clients raise, in a way that changes nothing."""
    if code in _OVER_RATE:
        return await over_rate(cloud, clients, action, code)
    if cause_of(action, code) is None:
        return await on_demand(cloud, clients, action, code)
    if code is Code.IDEMPOTENT_PROCESSING:
        refused = TOKENED[action][2]
        asked = {**filled(refused, roles), "ClientToken": "twice"}
        return await while_served(cloud, clients, action, asked)
    asked = filled(ROWS[action][code], roles)
    return await clients.refused(asked, is_sayable=code not in _UNSAYABLE)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("action", ACTIONS)
async def test_each_documented_error_is_answered_to_both_clients_and_changes_nothing(
    world: World, action: str
) -> None:
    cloud, roles = world.cloud, world.roles
    wanted = [it for it in errors_of(action) if it not in _CHANGING]
    clients, before = Clients(cloud, action), (await cloud.admin("GET", "state"))[1]

    answered = {code: await provoked(cloud, clients, action, code, roles) for code in wanted}

    assert answered == {code: (code, code) for code in wanted}
    assert (await cloud.admin("GET", "state"))[1] == before


@pytest.mark.parametrize("action", TOKENED)
async def test_a_token_that_was_used_otherwise_is_refused_to_both_clients(
    cloud: SimulatedCloud, action: str
) -> None:
    roles = await furnished(cloud)
    served, other, _ = (filled(each, roles) for each in TOKENED[action])
    clients = Clients(cloud, action)

    first = await clients.asynchronous({**served, "ClientToken": "t"})
    repeated = await clients.refused({**served, "ClientToken": "t"})
    refused = await clients.refused({**other, "ClientToken": "t"})

    assert (first, repeated) == ("Success", ("Success", "Success"))
    assert refused == (Code.IDEMPOTENT_MISMATCH, Code.IDEMPOTENT_MISMATCH)


@pytest.mark.parametrize(
    "action", ["CreateNetworkInterface", "CreateAndAttachNetworkInterface"]
)
async def test_a_vpc_that_has_as_many_enis_as_it_may_is_told_of_to_both_clients(
    cloud: SimulatedCloud, action: str
) -> None:
    clients = Clients(cloud, action)
    asked = {**NEW, "InstanceId": "ins-one"} if "Attach" in action else {**NEW}
    for _ in range(16):
        await cloud.call("CreateNetworkInterface", **NEW)

    refused = await clients.refused(asked)

    assert refused == (Code.ENI_LIMIT_EXCEEDED, Code.ENI_LIMIT_EXCEEDED)


def test_every_action_has_a_row_for_each_documented_error_and_no_other() -> None:
    by_the_test = {*_OVER_RATE, *_BY_TOKEN, Code.ENI_LIMIT_EXCEEDED}
    wanted = {
        action: {
            code
            for code in errors_of(action)
            if code not in by_the_test and cause_of(action, code) is not None
        }
        for action in ACTIONS
    }

    assert DOCUMENTED.keys() == ACTIONS.keys()
    assert {action: set(map(Code, rows)) for action, rows in ROWS.items()} == wanted
    assert {it for it in ACTIONS if set(_BY_TOKEN) <= set(DOCUMENTED[it])} == TOKENED.keys()
