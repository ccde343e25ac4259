"""One call of the official SDK's asynchronous clients: its turn, its time limit, its errors.

The SDK sees an API error only when the Content-Type is exactly ``application/json``; with any
other an error would look like an empty success, so those answers are refused here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import httpx
from pydantic import ValidationError
from tencentcloud.common.common_client_async import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.vpc.v20170312.vpc_client_async import VpcClient

from services.eni_manager.adapters import tencent_shapes as shapes
from services.eni_manager.adapters.pace import Pace
from services.eni_manager.adapters.tencent_access import (
    TencentAccess,
    profile,
    refuse_other_types,
)
from services.eni_manager.adapters.tencent_errors import error_of_code
from services.eni_manager.adapters.tencent_keys import CloudKeys, FixedKeys
from services.eni_manager.domain.errands import check_right
from shared.cloud.errors import RETRIED, CloudAway, CloudError, CloudThrottled
from shared.telemetry.metrics import (
    CLOUD_CALL_SECONDS,
    CLOUD_REFUSALS_TOTAL,
    CLOUD_THROTTLE_WAIT_SECONDS,
)

T = TypeVar("T")

_CVM_VERSION: Final = "2017-03-12"
_EXEMPLAR_CHARACTERS_MAX: Final = 100  # OpenMetrics allows 128, the label's name included


class TencentCalls:
    """One pair of clients, connections kept alive."""

    def __init__(
        self, access: TencentAccess, pace: Pace, keys: CloudKeys | None = None
    ) -> None:
        credential = Credential(access.secret_id, access.secret_key)
        self._credential, self._keys = credential, keys or FixedKeys()
        self.vpc = VpcClient(credential, access.region, profile(access))
        self.cvm = CommonClient("cvm", _CVM_VERSION, credential, access.region, profile(access))
        for client in (self.vpc, self.cvm):
            client.http_client.event_hooks = {
                "request": [_check_right],
                "response": [refuse_other_types],
            }
        self._timeout_s = access.timeout_s
        self._pace = pace

    async def aclose(self) -> None:
        await self.vpc.close()
        await self.cvm.close()

    async def call(
        self, action: str, send: Callable[[Any], Awaitable[Any]], request: object
    ) -> Any:
        asked_s = time.monotonic()
        await self._pace.turn(action)
        began_s = time.monotonic()
        CLOUD_THROTTLE_WAIT_SECONDS.labels(action).observe(began_s - asked_s)
        outcome = "unsent"
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._keys.renew(self._credential)
                answer = await send(request)
            outcome = "ok"
            return answer
        except (TencentCloudSDKException, httpx.HTTPError, OSError, TimeoutError) as error:
            failure = failure_of(action, error)
            outcome = type(failure).__name__
            if isinstance(failure, CloudThrottled):
                await self._pace.throttled(action)
            if not isinstance(failure, RETRIED):
                CLOUD_REFUSALS_TOTAL.labels(action, failure.cloud_code).inc(
                    exemplar={"request_id": failure.request_id[:_EXEMPLAR_CHARACTERS_MAX]}
                )
            raise failure from error
        except (ValueError, KeyError, TypeError) as error:
            outcome = "unreadable"
            raise CloudAway(action, "Unreadable", f"not the API's shape: {error}") from error
        finally:
            CLOUD_CALL_SECONDS.labels(action, outcome).observe(time.monotonic() - began_s)


async def _check_right(_: httpx.Request) -> None:
    """Right before it is sent, and after it was signed: see `check_right`."""
    check_right()


def failure_of(action: str, error: Exception) -> CloudError:
    if isinstance(error, TencentCloudSDKException):
        message = error.message
        text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
        return error_of_code(action, str(error.code), text[:300], str(error.requestId or ""))
    return CloudAway(action, "NoAnswer", str(error) or type(error).__name__)


def one_word(shape: type[shapes.Shape[T]], found: object, action: str) -> T:
    try:
        return shape.model_validate(_plain(found)).to_word()
    except ValidationError as error:
        raise CloudAway(action, "Unreadable", f"not the API's shape: {error}") from error


def each_word(shape: type[shapes.Shape[T]], found: Any, action: str) -> list[T]:
    return [one_word(shape, each, action) for each in found or ()]


def _plain(found: Any) -> object:
    """The SDK's models as the JSON they came from; CVM's answers are that already."""
    return found if isinstance(found, dict) else json.loads(found.to_json_string())
