"""The cloud's key is replaced while the eni_manager runs: by files, or an instance's role."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from services.eni_manager.adapters.pace import Unpaced
from services.eni_manager.adapters.tencent import TencentCloud
from services.eni_manager.adapters.tencent_access import TencentAccess
from services.eni_manager.adapters.tencent_keys import CloudKeys, FileKeys, RoleKeys
from services.eni_manager.config import EniManagerSettings
from shared.clock import SystemClock
from shared.cloud.errors import CloudAway, CloudDenied
from shared.ids import SubnetId
from tests.support.simulated_cloud import REGION, SECRET_ID, SECRET_KEY, simulated_cloud

SUBNETS = [SubnetId("subnet-a")]


class Later(SystemClock):
    def __init__(self) -> None:
        super().__init__()
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


class Role:
    """The metadata service's word of one role."""

    def __init__(self, clock: Later) -> None:
        self.clock = clock
        self.secret_key = SECRET_KEY
        self.is_there = True
        self.asked = 0
        self.url = ""
        self.tokens: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if not self.is_there or request.match_info["role"] != "berth":
            return web.Response(status=404)
        ends = self.clock.now() + timedelta(hours=2)
        return web.json_response(
            {
                "Code": "Success",
                "TmpSecretId": SECRET_ID,
                "TmpSecretKey": self.secret_key,
                "Token": "of-the-role",
                "ExpiredTime": int(ends.timestamp()),
            }
        )

    async def called(self, request: web.Request) -> web.Response:
        """The cloud, as far as it takes a temporary key: the simulated one issues none."""
        self.tokens.append(request.headers.get("X-TC-Token", ""))
        assert f"Credential={SECRET_ID}/" in request.headers["Authorization"]
        body = {"Response": {"SubnetSet": [], "TotalCount": 0, "RequestId": "r"}}
        return web.Response(body=json.dumps(body).encode(), content_type="application/json")


@asynccontextmanager
async def serving(role: Role) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_post("/", role.called)
    app.router.add_get("/latest/meta-data/cam/security-credentials/{role}", role.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        role.url = f"http://{host}:{port}"
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def cloud_with(
    keys: CloudKeys, url: str, secret: tuple[str, str]
) -> AsyncIterator[TencentCloud]:
    access = TencentAccess(
        secret_id=secret[0],
        secret_key=secret[1],
        region=REGION,
        protocol="http",
        endpoint=url.removeprefix("http://"),
        timeout_s=5.0,
    )
    cloud = TencentCloud(access, Unpaced(), keys)
    try:
        yield cloud
    finally:
        await cloud.aclose()


def replaced(file: Path, text: str, mode: int = 0o600) -> None:
    new = file.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    new.chmod(mode)
    new.rename(file)


async def test_a_key_that_was_replaced_in_its_files_signs_the_next_call(tmp_path: Path) -> None:
    files = [tmp_path / "id", tmp_path / "key"]
    replaced(files[0], f"{SECRET_ID}\n")
    replaced(files[1], "of-yesterday\n")
    settings = EniManagerSettings(cloud_secret_id_file=files[0], cloud_secret_key_file=files[1])
    keys = FileKeys(files, settings.read_secrets)

    async with (
        simulated_cloud(tmp_path) as simulated,
        cloud_with(keys, simulated.url, settings.read_secrets()) as cloud,
    ):
        with pytest.raises(CloudDenied):
            await cloud.describe_subnets(SUBNETS)
        replaced(files[1], f"{SECRET_KEY}\n")
        found = await cloud.describe_subnets(SUBNETS)
        # One that others may read is not taken: the one before goes on.
        replaced(files[1], "of-somebody\n", mode=0o644)
        again = await cloud.describe_subnets(SUBNETS)

    assert found == again != []


async def test_a_roles_key_is_asked_for_once_and_again_before_it_ends() -> None:
    clock = Later()
    role = Role(clock)
    async with serving(role):
        keys = RoleKeys(role.url, "berth", clock, timeout_s=5.0)
        async with cloud_with(keys, role.url, ("role", "role")) as cloud:
            await asyncio.gather(*(cloud.describe_subnets(SUBNETS) for _ in range(8)))
            assert role.asked == 1

            clock.ahead = timedelta(hours=1, minutes=57)
            role.is_there = False  # what is held still counts
            await cloud.describe_subnets(SUBNETS)
            assert role.asked == 2

            role.is_there = True
            clock.ahead += timedelta(minutes=1)
            await cloud.describe_subnets(SUBNETS)
            assert role.asked == 3
            assert role.tokens == ["of-the-role"] * 10


async def test_without_a_role_the_reason_names_where_it_was_asked_for() -> None:
    clock = Later()
    role = Role(clock)
    async with serving(role):
        keys = RoleKeys(role.url, "another", clock, timeout_s=5.0)
        async with cloud_with(keys, role.url, ("role", "role")) as cloud:
            with pytest.raises(CloudAway, match=r"security-credentials/another: status 404"):
                await cloud.describe_subnets(SUBNETS)


def test_with_a_role_no_key_is_read() -> None:
    settings = EniManagerSettings(cloud_role="berth", cloud_secret_id_file=Path("/nowhere"))

    assert settings.read_secrets() == ("role", "role")
