"""A simulated cloud that serves on a free port, and the official SDK's clients for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from tencentcloud.common.common_client_async import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.vpc.v20170312 import models, vpc_client
from tencentcloud.vpc.v20170312.vpc_client_async import VpcClient

from services.vpc_simulator.config import SimulatorSettings
from services.vpc_simulator.main import serving

SECRET_ID = "AKIDtests"
SECRET_KEY = "tests-key"
ADMIN_TOKEN = "tests-admin"
FOREIGN_ID = "AKIDforeign"
FOREIGN_KEY = "foreign-key"
FOREIGN_ACCOUNT = "200000000002"
REGION = "ap-guangzhou"
CALL_TIMEOUT_S = 10

TOPOLOGY: dict[str, object] = {
    "region": REGION,
    "vpc": {"id": "vpc-one", "cidr": "10.0.0.0/16"},
    "subnets": [
        {"id": "subnet-a", "cidr": "10.0.1.0/24", "zone": "zone-1"},
        {"id": "subnet-small", "cidr": "10.0.2.0/29", "zone": "zone-1"},
        {"id": "subnet-b", "cidr": "10.0.3.0/24", "zone": "zone-2"},
    ],
    "instances": [
        {"id": "ins-one", "node": "node-1", "zone": "zone-1", "subnet": "subnet-a", "cpu": 1},
        {"id": "ins-two", "node": "node-2", "zone": "zone-1", "subnet": "subnet-a", "cpu": 1},
        {"id": "ins-far", "node": "node-3", "zone": "zone-2", "subnet": "subnet-b", "cpu": 1},
    ],
    "limits": {
        "enis_per_vpc": 4,
        "rates_per_s": {"DescribeVpcTaskResult": 1000, "DescribeNetworkInterfaces": 1000},
    },
    "latency": {
        "calls": {"default": {"median_ms": 0}},
        "effects": {"default": {"median_ms": 0}},
    },
}


def profile(endpoint: str) -> ClientProfile:
    http = HttpProfile(
        protocol="http", endpoint=endpoint, keepAlive=True, reqTimeout=CALL_TIMEOUT_S
    )
    return ClientProfile(httpProfile=http)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedCloud:
    url: str
    vpc: VpcClient
    cvm: CommonClient
    http: aiohttp.ClientSession

    @property
    def endpoint(self) -> str:
        return self.url.removeprefix("http://")

    def blocking_vpc(self) -> vpc_client.VpcClient:
        credential = Credential(SECRET_ID, SECRET_KEY)
        return vpc_client.VpcClient(credential, REGION, profile(self.endpoint))

    async def call(self, action: str, **parameters: object) -> object:
        """One action through the asynchronous client's own models."""
        request = getattr(models, f"{action}Request")()
        request.from_json_string(json.dumps(parameters))
        return await getattr(self.vpc, action)(request)

    def foreign_vpc(self) -> vpc_client.VpcClient:
        """Of another account, which shares the VPC."""
        return vpc_client.VpcClient(
            Credential(FOREIGN_ID, FOREIGN_KEY), REGION, profile(self.endpoint)
        )

    async def call_as_foreigner(self, action: str, **parameters: object) -> object:
        """One action through the blocking client, by another account."""
        request = getattr(models, f"{action}Request")()
        request.from_json_string(json.dumps(parameters))
        return await asyncio.to_thread(getattr(self.foreign_vpc(), action), request)

    async def refusal(self, action: str, **parameters: object) -> str:
        """The code that the SDK raises."""
        try:
            await self.call(action, **parameters)
        except TencentCloudSDKException as error:
            return str(error.code)
        raise AssertionError(f"{action} was not refused")

    async def settled(self, response: object) -> str:
        """Follow a call's task to its end, as a client does: by its RequestId."""
        task_id = response.RequestId  # type: ignore[attr-defined]
        async with asyncio.timeout(CALL_TIMEOUT_S):
            while True:
                result = await self.call("DescribeVpcTaskResult", TaskId=task_id)
                if result.Status != "RUNNING":  # type: ignore[attr-defined]
                    return str(result.Status)  # type: ignore[attr-defined]
                await asyncio.sleep(0)

    async def created(self, subnet: str = "subnet-a", **parameters: object) -> str:
        response = await self.call(
            "CreateNetworkInterface",
            VpcId="vpc-one",
            SubnetId=subnet,
            NetworkInterfaceName="eni",
            **parameters,
        )
        assert await self.settled(response) == "SUCCESS"
        return str(response.NetworkInterface.NetworkInterfaceId)  # type: ignore[attr-defined]

    async def attached(self, instance: str = "ins-one", **parameters: object) -> str:
        eni = await self.created("subnet-a", **parameters)
        response = await self.call(
            "AttachNetworkInterface", NetworkInterfaceId=eni, InstanceId=instance
        )
        assert await self.settled(response) == "SUCCESS"
        return eni

    async def addresses(self, eni: str) -> list[str]:
        """Secondary ones."""
        return await self._addresses(eni, is_primary=False)

    async def primary_address(self, eni: str) -> str:
        [only] = await self._addresses(eni, is_primary=True)
        return only

    async def _addresses(self, eni: str, *, is_primary: bool) -> list[str]:
        found = await self.call("DescribeNetworkInterfaces", NetworkInterfaceIds=[eni])
        [shown] = found.NetworkInterfaceSet  # type: ignore[attr-defined]
        every = shown.PrivateIpAddressSet
        return [each.PrivateIpAddress for each in every if each.Primary is is_primary]

    async def admin(
        self, method: str, path: str, body: object = None
    ) -> tuple[int, dict[str, object]]:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        url = f"{self.url}/admin/{path}"
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json()


def secret_file(folder: Path) -> Path:
    """Our account and another one."""
    path = folder / "secrets.yaml"
    foreign = {"secret_id": FOREIGN_ID, "secret_key": FOREIGN_KEY, "account": FOREIGN_ACCOUNT}
    secrets = {
        "secret_id": SECRET_ID,
        "secret_key": SECRET_KEY,
        "admin_token": ADMIN_TOKEN,
        "more": [foreign],
    }
    path.write_text(yaml.safe_dump(secrets), encoding="utf-8")
    path.chmod(0o600)
    return path


@asynccontextmanager
async def simulated_cloud(
    folder: Path,
    change: Callable[[dict[str, object]], None] = lambda _: None,
    *,
    wireless: bool = True,
    **more: Any,
) -> AsyncIterator[SimulatedCloud]:
    document = dict(TOPOLOGY)
    change(document)
    topology = folder / "topology.yaml"
    topology.write_text(yaml.safe_dump(document), encoding="utf-8")
    settings = SimulatorSettings(
        topology=topology,
        wireless=wireless,
        simulator_secret_file=secret_file(folder),
        body_bytes_max=4096,
        drain_grace_s=1.0,
        **more,
    )
    credential = Credential(SECRET_ID, SECRET_KEY)
    async with serving(settings) as url:
        endpoint = url.removeprefix("http://")
        async with (
            VpcClient(credential, REGION, profile(endpoint)) as vpc,
            CommonClient("cvm", "2017-03-12", credential, REGION, profile(endpoint)) as cvm,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(CALL_TIMEOUT_S)) as http,
        ):
            yield SimulatedCloud(url=url, vpc=vpc, cvm=cvm, http=http)
