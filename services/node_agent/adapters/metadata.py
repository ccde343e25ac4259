"""The instance metadata service: what the cloud calls this machine, without credentials."""

from __future__ import annotations

from typing import Final

import aiohttp

from shared.errors import Unavailable
from shared.ids import InstanceId

_PATH: Final = "/latest/meta-data/instance-id"
_BODY_BYTES_MAX: Final = 256


async def instance_id(url: str, *, timeout_s: float) -> InstanceId:
    """Raises Unavailable in one line that names the address."""
    try:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url.rstrip("/") + _PATH) as response,
        ):
            body = await response.content.read(_BODY_BYTES_MAX)
            if response.status == 200 and body.strip():
                return InstanceId(body.decode("ascii").strip())
            problem = f"status {response.status}"
    except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError) as error:
        problem = str(error) or type(error).__name__
    raise Unavailable(
        f"metadata_url {url}: no instance id ({problem}); set BERTH_NODE_AGENT_INSTANCE"
    )
