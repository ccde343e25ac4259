"""Who is let in, how often, and what goes wrong on demand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.common.sign import Sign
from tencentcloud.vpc.v20170312 import models
from tencentcloud.vpc.v20170312.vpc_client_async import VpcClient

from tests.support.simulated_cloud import (
    REGION,
    SECRET_ID,
    SECRET_KEY,
    SimulatedCloud,
    profile,
    simulated_cloud,
)


def signed_headers(
    host: str, body: bytes, *, age_s: int = 0, changes: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What the SDK sends, with the SDK's own signature."""
    timestamp = int(time.time()) - age_s
    date = datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
    canonical = (
        f"POST\n/\n\ncontent-type:application/json\nhost:{host}\n\n"
        f"content-type;host\n{hashlib.sha256(body).hexdigest()}"
    )
    scope = f"{date}/vpc/tc3_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}"
    signature = Sign.sign_tc3(SECRET_KEY, date, "vpc", text)
    headers = {
        "Content-Type": "application/json",
        "Host": host,
        "X-TC-Action": "DescribeSubnets",
        "X-TC-Version": "2017-03-12",
        "X-TC-Region": REGION,
        "X-TC-Timestamp": str(timestamp),
        "Authorization": f"TC3-HMAC-SHA256 Credential={SECRET_ID}/{scope},"
        f" SignedHeaders=content-type;host, Signature={signature}",
    }
    given = headers | dict(changes or {})
    return {name: value for name, value in given.items() if value}


async def error_code(
    cloud: SimulatedCloud, headers: dict[str, str], body: bytes = b"{}"
) -> str | None:
    async with cloud.http.post(f"{cloud.url}/", data=body, headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        response: dict[str, Any] = json.loads(await answer.read())["Response"]
    assert response["RequestId"]
    return response["Error"]["Code"] if "Error" in response else None


async def test_a_request_signed_as_the_sdk_signs_is_served(cloud: SimulatedCloud) -> None:
    assert await error_code(cloud, signed_headers(cloud.endpoint, b"{}")) is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Authorization": ""}, "AuthFailure.InvalidAuthorization"),
        ({"Authorization": "Bearer x"}, "AuthFailure.InvalidAuthorization"),
        ({"X-TC-Token": "temporary"}, "AuthFailure.TokenFailure"),
        ({"X-TC-Timestamp": ""}, "MissingParameter"),
        ({"X-TC-Timestamp": "soon"}, "InvalidParameter"),
        ({"X-TC-Action": ""}, "MissingParameter"),
        ({"X-TC-Action": "DropTables"}, "InvalidAction"),
        ({"X-TC-Action": "DescribeInstances"}, "InvalidAction"),
        ({"X-TC-Version": "2001-01-01"}, "NoSuchVersion"),
        ({"X-TC-Region": "ap-nowhere"}, "UnsupportedRegion"),
        ({"Content-Type": "text/html"}, "UnsupportedProtocol"),
    ],
)
async def test_a_request_out_of_form_is_refused(
    cloud: SimulatedCloud, changes: dict[str, str], code: str
) -> None:
    headers = signed_headers(cloud.endpoint, b"{}", changes=changes)

    assert await error_code(cloud, headers) == code


@pytest.mark.parametrize(
    ("age_s", "code"),
    [(290, None), (310, "AuthFailure.SignatureExpire"), (-310, "AuthFailure.SignatureExpire")],
)
async def test_a_signature_is_good_for_five_minutes(
    cloud: SimulatedCloud, age_s: int, code: str | None
) -> None:
    headers = signed_headers(cloud.endpoint, b"{}", age_s=age_s)

    assert await error_code(cloud, headers) == code


async def test_a_tampered_body_is_refused(cloud: SimulatedCloud) -> None:
    headers = signed_headers(cloud.endpoint, b'{"Limit":"1"}')

    code = await error_code(cloud, headers, b'{"Limit":"2"}')

    assert code == "AuthFailure.SignatureFailure"


async def test_a_body_that_is_no_json_or_too_large_is_refused(cloud: SimulatedCloud) -> None:
    codes = [
        await error_code(cloud, signed_headers(cloud.endpoint, body), body)
        for body in (b"{nope", b" " * 5000)
    ]

    assert codes == ["InvalidParameter", "RequestSizeLimitExceeded"]


@pytest.mark.parametrize(
    ("secret_id", "secret_key", "code"),
    [
        ("AKIDstranger", SECRET_KEY, "AuthFailure.SecretIdNotFound"),
        (SECRET_ID, "wrong", "AuthFailure.SignatureFailure"),
    ],
)
async def test_a_stranger_is_refused(
    cloud: SimulatedCloud, secret_id: str, secret_key: str, code: str
) -> None:
    credential = Credential(secret_id, secret_key)
    async with VpcClient(credential, REGION, profile(cloud.endpoint)) as client:
        with pytest.raises(TencentCloudSDKException) as caught:
            await client.DescribeSubnets(models.DescribeSubnetsRequest())

    assert caught.value.code == code


async def test_calls_over_the_rate_are_refused(tmp_path: Path) -> None:
    def slow(document: dict[str, object]) -> None:
        document["limits"] = {"rates_per_s": {"DescribeSubnets": 0.01}}

    async with simulated_cloud(tmp_path, slow) as cloud:
        await cloud.call("DescribeSubnets")
        refused = await cloud.refusal("DescribeSubnets")
        other = await cloud.call("DescribeNetworkInterfaces")

    assert refused == "RequestLimitExceeded"
    assert other is not None


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "throttle"}, "RequestLimitExceeded"),
        (
            {"kind": "throttle", "code": "LimitExceeded.ActionLimited"},
            "LimitExceeded.ActionLimited",
        ),
        ({"kind": "internal_error"}, "InternalError"),
    ],
)
async def test_a_refusal_on_demand_strikes_once(
    cloud: SimulatedCloud, fault: dict[str, object], code: str
) -> None:
    await cloud.admin("POST", "faults", {"action": "DescribeSubnets", **fault})

    refused = await cloud.refusal("DescribeSubnets")

    assert refused == code
    await cloud.call("DescribeSubnets")


@pytest.mark.parametrize(("kind", "enis"), [("timeout_before", 0), ("timeout_after", 1)])
async def test_an_unanswered_call_may_or_may_not_have_happened(
    cloud: SimulatedCloud, kind: str, enis: int
) -> None:
    await cloud.admin(
        "POST", "faults", {"action": "CreateNetworkInterface", "kind": kind, "hold_ms": 1}
    )

    with pytest.raises(httpx.TransportError):
        await cloud.created(ClientToken="t-1")

    _, state = await cloud.admin("GET", "state")
    secondary = [each for each in _list(state, "enis") if not each["primary"]]
    assert len(secondary) == enis
    await cloud.created(ClientToken="t-1")
    _, state = await cloud.admin("GET", "state")
    assert len([each for each in _list(state, "enis") if not each["primary"]]) == 1


async def test_a_task_that_fails_on_demand_leaves_nothing(cloud: SimulatedCloud) -> None:
    eni = await cloud.attached()
    await cloud.admin(
        "POST", "faults", {"action": "AssignPrivateIpAddresses", "kind": "task_failed"}
    )

    assigning = await cloud.call(
        "AssignPrivateIpAddresses", NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=1
    )

    assert await cloud.settled(assigning) == "FAILED"
    assert await cloud.addresses(eni) == []


def _list(state: dict[str, object], name: str) -> list[dict[str, object]]:
    found = state[name]
    assert isinstance(found, list)
    return found


async def test_a_delayed_call_takes_effect_late(cloud: SimulatedCloud) -> None:
    await cloud.admin(
        "POST",
        "faults",
        {"action": "CreateNetworkInterface", "kind": "delay", "hold_ms": 400},
    )

    creating = asyncio.create_task(cloud.created(), name="delayed-call")
    _, meanwhile = await cloud.admin("GET", "state")
    eni = await creating
    _, afterwards = await cloud.admin("GET", "state")

    assert eni not in [each["id"] for each in _list(meanwhile, "enis")]
    assert eni in [each["id"] for each in _list(afterwards, "enis")]
