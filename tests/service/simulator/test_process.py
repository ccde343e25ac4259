"""berth-vpc-simulator as a process: what it prints, when it ends, and with which status."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.support.simulated_cloud import TOPOLOGY

DEADLINE_S = 20
SECRETS = {
    "BERTH_SIMULATOR_SECRET_ID": "me",
    "BERTH_SIMULATOR_SECRET_KEY": "mine",
    "BERTH_SIMULATOR_ADMIN_TOKEN": "door",
}


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    path = tmp_path / "topology.yaml"
    path.write_text(yaml.safe_dump(TOPOLOGY), encoding="utf-8")
    return path


@asynccontextmanager
async def simulator(
    *arguments: str, environment: Mapping[str, str] = SECRETS
) -> AsyncIterator[asyncio.subprocess.Process]:
    plain = {name: value for name, value in os.environ.items() if "BERTH_" not in name}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.vpc_simulator.main",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=plain | dict(environment),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def outcome(*arguments: str, environment: Mapping[str, str] = SECRETS) -> tuple[int, str]:
    """The exit status, and everything that was written."""
    async with (
        asyncio.timeout(DEADLINE_S),
        simulator(*arguments, environment=environment) as process,
    ):
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, (out + err).decode()


async def serving_url(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        if (said := json.loads(line))["event"] == "serving":
            return str(said["url"])
    raise AssertionError("it ended without serving")


async def test_it_serves_until_sigterm_and_leaves_nothing(
    topology: Path, tmp_path: Path
) -> None:
    ready_file = tmp_path / "ready.json"
    arguments = ["--topology", str(topology), "--wireless", "--ready-file", str(ready_file)]

    async with asyncio.timeout(DEADLINE_S), simulator(*arguments) as process:
        url = await serving_url(process)
        told = json.loads(ready_file.read_text(encoding="utf-8"))
        async with aiohttp.ClientSession() as http, http.get(f"{url}/readyz") as answer:
            status = answer.status
        process.send_signal(signal.SIGTERM)
        returncode = await process.wait()

    assert told["url"] == url
    assert (status, returncode) == (200, 0)
    assert not ready_file.exists()


async def test_a_port_in_use_is_one_clear_line(topology: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"

        status, said = await outcome(
            "--topology", str(topology), "--wireless", "--listen", listen
        )

    assert status == 1
    assert said.startswith(f"berth-vpc-simulator: listen {listen}: cannot listen: ")
    assert said.endswith("address already in use\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize("argument", ["--help", "--version"])
async def test_it_tells_of_itself(argument: str) -> None:
    status, said = await outcome(argument, environment={})

    assert status == 0
    assert "berth-vpc-simulator" in said


async def test_what_is_missing_is_named_in_one_line(topology: Path) -> None:
    no_topology = await outcome("--wireless")
    no_secret = await outcome("--wireless", "--topology", str(topology), environment={})
    unknown = await outcome(environment={**SECRETS, "BERTH_VPC_SIMULATOR_COLOUR": "red"})

    assert [each[0] for each in (no_topology, no_secret, unknown)] == [2, 2, 2]
    assert "--topology" in no_topology[1]
    assert "BERTH_SIMULATOR_SECRET_ID" in no_secret[1]
    assert "BERTH_VPC_SIMULATOR_COLOUR" in unknown[1]
    assert all(each[1].count("\n") == 1 for each in (no_topology, no_secret, unknown))
