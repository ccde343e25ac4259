"""Running one CNI plugin: variables in, configuration on stdin, result or error on stdout.

At its time limit a plugin and what it started is killed, as libcni does; whether it had done
its work is then unknown, so the caller follows with a DEL.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pydantic import JsonValue

from shared.errors import BerthError
from shared.ids import PodName, PodUid

TRY_AGAIN_LATER: Final = 11  # the specification's code for "not now"
TIMED_OUT: Final = -1  # ours, never on a wire: no answer, so maybe done
_OUTPUT_BYTES_MAX: Final = 1 << 20
_SHOWN_CHARACTERS_MAX: Final = 500

Config = dict[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One interface of one sandbox, and the pod it is for."""

    container_id: str
    ifname: str
    netns_path: str  # empty once the namespace is gone
    pod: PodName
    pod_uid: PodUid


class PluginFailed(BerthError):
    """A plugin said no, or nothing; the code is the specification's."""

    def __init__(self, *, plugin: str, verb: str, code: int, message: str) -> None:
        super().__init__(f"{plugin} {verb}: {message} (CNI code {code})")
        self.cni_code = code
        self.reason = message

    @property
    def is_transient(self) -> bool:
        return self.cni_code in {TRY_AGAIN_LATER, TIMED_OUT}


class Caller(Protocol):
    """How the configuration list reaches its plugins."""

    async def call(
        self, verb: str, config: Config, attachment: Attachment | None
    ) -> Config | None:
        """Run the configuration's plugin; its result, if it printed one."""
        ...


class ProgramCaller:
    """Implements Caller with the programs in `folders`, the first that has it."""

    def __init__(
        self, folders: Sequence[Path], *, timeout_s: float, rng: random.Random
    ) -> None:
        self._folders = tuple(folders)
        self._timeout_s = timeout_s
        self._rng = rng

    async def call(
        self, verb: str, config: Config, attachment: Attachment | None
    ) -> Config | None:
        plugin = str(config["type"])
        process = await self._start(plugin, verb, attachment)
        try:
            async with asyncio.timeout(self._timeout_s):
                stdout, stderr = await process.communicate(json.dumps(config).encode())
        except TimeoutError:
            message = f"no answer in {self._timeout_s:g} s, so it was killed"
            raise PluginFailed(
                plugin=plugin, verb=verb, code=TIMED_OUT, message=message
            ) from None
        finally:
            await _end(process)
        return _answer(plugin, verb, process.returncode, stdout, stderr)

    async def _start(
        self, plugin: str, verb: str, attachment: Attachment | None
    ) -> asyncio.subprocess.Process:
        program = next(
            (each / plugin for each in self._folders if (each / plugin).exists()), None
        )
        if program is None:
            where = ", ".join(str(each) for each in self._folders)
            message = f"there is no such plugin in {where}"
            raise PluginFailed(plugin=plugin, verb=verb, code=TRY_AGAIN_LATER, message=message)
        try:
            return await asyncio.create_subprocess_exec(
                program,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment(verb, attachment),
                start_new_session=True,  # a group of its own, to be killed as a whole
            )
        except OSError as error:
            message = f"cannot be run: {error.strerror}"
            raise PluginFailed(
                plugin=plugin, verb=verb, code=TRY_AGAIN_LATER, message=message
            ) from error

    def _environment(self, verb: str, attachment: Attachment | None) -> dict[str, str]:
        """The specification's variables, and nothing of ours but where to find programs."""
        variables = {
            "CNI_COMMAND": verb,
            "CNI_PATH": os.pathsep.join(str(each) for each in self._folders),
            "PATH": os.environ.get("PATH", os.defpath),
        }
        if attachment is not None:
            variables |= {
                "CNI_CONTAINERID": attachment.container_id,
                "CNI_NETNS": attachment.netns_path,
                "CNI_IFNAME": attachment.ifname,
                "CNI_ARGS": self._arguments(attachment),
            }
        return variables

    def _arguments(self, attachment: Attachment) -> str:
        """In random order, as real runtimes send them, so that no plugin counts on one."""
        pairs = [
            "IgnoreUnknown=1",
            f"K8S_POD_NAMESPACE={attachment.pod.namespace}",
            f"K8S_POD_NAME={attachment.pod.name}",
            f"K8S_POD_INFRA_CONTAINER_ID={attachment.container_id}",
            f"K8S_POD_UID={attachment.pod_uid}",
        ]
        self._rng.shuffle(pairs)
        return ";".join(pairs)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())


def _answer(
    plugin: str, verb: str, status: int | None, stdout: bytes, stderr: bytes
) -> Config | None:
    try:
        parsed: object = json.loads(stdout[:_OUTPUT_BYTES_MAX]) if stdout.strip() else None
    except ValueError:
        parsed = None
        stderr = stderr or stdout
    found = parsed if isinstance(parsed, dict) else None
    if status == 0:
        return found
    if found is not None and isinstance(found.get("code"), int):
        words = [str(found[key]) for key in ("msg", "details") if found.get(key)]
        code, message = int(found["code"]), ": ".join(words)
    else:
        text = stderr.decode("utf-8", "replace").strip() or "it said nothing"
        code, message = 999, f"exit status {status}: {text}"
    raise PluginFailed(
        plugin=plugin, verb=verb, code=code, message=message[:_SHOWN_CHARACTERS_MAX]
    )
