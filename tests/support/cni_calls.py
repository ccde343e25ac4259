"""Calls of the compiled plugin as a container runtime makes them: environment, stdin, exec."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLINE_S = 30.0  # a plugin that takes longer hangs
POD_ARGS = "K8S_POD_NAME=web-0;IgnoreUnknown=1;K8S_POD_UID=uid-1;K8S_POD_NAMESPACE=shop;X=y"


@dataclass(frozen=True, kw_only=True)
class Called:
    """What the runtime gets back."""

    status: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.stdout)
        return parsed

    @property
    def code(self) -> int:
        return int(self.result["code"])


@dataclass(kw_only=True)
class Runtime:
    """One attachment of one network, and the plugin that serves it."""

    plugin: Path
    run_dir: Path
    netns: str
    cni_version: str = "1.1.0"
    container_id: str = "c0ffee"

    def env(self, verb: str) -> dict[str, str]:
        env = {"CNI_COMMAND": verb, "CNI_PATH": "/opt/cni/bin"}
        if verb in ("ADD", "DEL", "CHECK"):
            env |= {
                "CNI_CONTAINERID": self.container_id,
                "CNI_IFNAME": "eth0",
                "CNI_NETNS": self.netns,
                "CNI_ARGS": POD_ARGS,
            }
        return env

    def config(self, **more: Any) -> dict[str, Any]:
        body: dict[str, Any] = {
            "cniVersion": self.cni_version,
            "name": "berth",
            "type": "berth-cni",
            "runDir": str(self.run_dir),
        }
        return body | more

    async def call(
        self,
        verb: str,
        *,
        env: Mapping[str, str | None] | None = None,
        stdin: bytes | None = None,
        **config: Any,
    ) -> Called:
        """`env` changes variables, None takes one away; `stdin` replaces the configuration."""
        changed = self.env(verb) | dict(env or {})
        given = {name: value for name, value in changed.items() if value is not None}
        body = json.dumps(self.config(**config)).encode() if stdin is None else stdin
        return await call_plugin(self.plugin, given, body)


async def call_plugin(
    plugin: Path, env: Mapping[str, str] | Mapping[bytes, bytes], stdin: bytes
) -> Called:
    process = await asyncio.create_subprocess_exec(
        plugin,
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            stdout, stderr = await process.communicate(stdin)
    except BaseException:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    assert process.returncode is not None
    return Called(
        status=process.returncode,
        stdout=stdout.decode(),
        stderr=stderr.decode(errors="replace"),
    )
