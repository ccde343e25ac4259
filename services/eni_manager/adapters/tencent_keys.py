"""The key that signs calls, looked at before each: files are replaced, roles' keys run out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tencentcloud.common.credential import Credential

from shared.clock import Clock
from shared.cloud.errors import CloudAway
from shared.errors import BerthError

log = logging.getLogger(__name__)

_ROLE_PATH: Final = "/latest/meta-data/cam/security-credentials/"
_ACTION: Final = "GetRoleKey"
_BODY_BYTES_MAX: Final = 64 << 10
_EARLY: Final = timedelta(minutes=5)  # a signed call must not outlive its key
_AGAIN: Final = timedelta(seconds=10)


class CloudKeys(Protocol):
    async def renew(self, credential: Credential) -> None:
        """Put the key of now into it. Raises CloudAway when there is none."""
        ...


class FixedKeys:
    """For tests, and for a key from the environment."""

    async def renew(self, credential: Credential) -> None:
        return None


class FileKeys:
    """Read again once a file is another than before; while one cannot be read, all stays."""

    def __init__(self, files: Sequence[Path], read: Callable[[], tuple[str, str]]) -> None:
        self._files = tuple(files)
        self._read = read
        self._seen = self._look()

    async def renew(self, credential: Credential) -> None:
        seen = self._look()
        if seen == self._seen or None in seen:
            return
        try:
            credential.secret_id, credential.secret_key = self._read()
        except BerthError as error:
            log.warning("the cloud's new key is not taken", extra={"error": str(error)})
            return
        self._seen = seen
        log.info("the cloud's key was replaced")

    def _look(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_mark(file) for file in self._files)


def _mark(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


class _RoleKey(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    code: Annotated[Literal["Success"], Field(alias="Code")]
    secret_id: Annotated[str, Field(alias="TmpSecretId", min_length=1, max_length=256)]
    secret_key: Annotated[str, Field(alias="TmpSecretKey", min_length=1, max_length=256)]
    token: Annotated[str, Field(alias="Token", min_length=1, max_length=16_384)]
    ends_at: Annotated[int, Field(alias="ExpiredTime", gt=0)]  # seconds since 1970


class RoleKeys:
    """The key of the instance's role, from the metadata service, renewed before it runs out."""

    def __init__(self, url: str, role: str, clock: Clock, *, timeout_s: float) -> None:
        self._url = url.rstrip("/") + _ROLE_PATH + role
        self._clock = clock
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()
        self._renewed_at = datetime.min.replace(tzinfo=UTC)  # when it is asked for next
        self._ends_at = self._renewed_at

    async def renew(self, credential: Credential) -> None:
        if self._clock.now() < self._renewed_at:
            return
        async with self._lock:  # one asks for all that wait
            now = self._clock.now()
            if now < self._renewed_at:
                return
            try:
                found = await self._ask()
            except CloudAway as error:
                if now >= self._ends_at:
                    raise
                self._renewed_at = now + _AGAIN
                log.warning("the role's key is not renewed", extra={"error": str(error)})
                return
            credential.secret_id, credential.secret_key = found.secret_id, found.secret_key
            credential.token = found.token
            self._ends_at = datetime.fromtimestamp(found.ends_at, UTC)
            self._renewed_at = max(self._ends_at - _EARLY, now + _AGAIN)

    async def _ask(self) -> _RoleKey:
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(self._url) as response,
            ):
                body = await response.content.read(_BODY_BYTES_MAX)
                if response.status != 200:
                    raise CloudAway(_ACTION, "NoRole", f"{self._url}: status {response.status}")
                return _RoleKey.model_validate_json(body)
        except ValidationError as error:
            # What is wrong is said, the values are not: they are keys.
            detail = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, detail["loc"])) or "body"
            reason = f"{self._url}: {where}: {detail['msg']}"
            raise CloudAway(_ACTION, "Unreadable", reason) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise CloudAway(_ACTION, "NoAnswer", f"{self._url}: {error}") from error
