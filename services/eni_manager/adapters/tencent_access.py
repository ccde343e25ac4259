"""How the SDK's clients reach the API: where, as whom, and which answers count."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class TencentAccess:
    """Where the API answers and as whom; the key is never shown."""

    secret_id: str
    secret_key: str
    region: str
    protocol: str  # http | https
    endpoint: str | None  # HOST[:PORT] for every service; None: the cloud's own
    timeout_s: float

    def __repr__(self) -> str:
        return f"TencentAccess(region={self.region!r}, endpoint={self.endpoint!r})"


async def refuse_other_types(response: httpx.Response) -> None:
    found = response.headers.get("Content-Type", "")
    if response.status_code == httpx.codes.OK and found != "application/json":
        raise httpx.RemoteProtocolError(f"Content-Type {found!r}: want application/json")


def profile(access: TencentAccess) -> ClientProfile:
    http = HttpProfile(
        protocol=access.protocol,
        endpoint=access.endpoint,
        reqMethod="POST",
        reqTimeout=access.timeout_s,
        keepAlive=True,
    )
    return ClientProfile(
        signMethod="TC3-HMAC-SHA256",
        httpProfile=http,
        language="en-US",
        disable_region_breaker=True,  # another region's endpoint knows nothing of our VPC
        request_client="berth",
    )
