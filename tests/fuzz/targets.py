"""What is fuzzed, each for a span of time: the plugin's JSON, its stdin and environment, and
the agent's socket. A finding is one line; a seed repeats it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.node_agent.adapters.cni_socket import CniServer
from shared.kernel.netns import new_netns
from tests.cni.conftest import BUILDS, SOURCES, STRICT
from tests.support.cni_calls import Runtime, call_plugin
from tests.support.recorded_attachments import RecordedAttachments
from tests.support.spoiling import spoiled

_HARNESS: Final = Path(__file__).with_name("json_harness.c")
_HARNESS_SOURCES: Final = ("json.c", "text.c", "agent_call.c")
_VERBS: Final = ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION")
_FINDINGS_MAX: Final = 10
_ANSWER_S: Final = 10.0
_STATUSES: Final = (0, 1)
_LENGTH: Final = struct.Struct("!I")
_DOCUMENTS: Final = (
    b'{"cniVersion":"1.1.0","name":"berth","runDir":"/run/b\\u00e9\\ud83d\\ude00","a":[{}]}',
    b'{"status":0,"stdout":"{\\"cniVersion\\":\\"1.0.0\\"}\\n","retry":false,"x":-1.5e+3}',
    b'{"name":"","":null,"runDir":"\\"\\\\\\/\\b\\f\\n\\r\\t","deep":[[[[[[{"a":true}]]]]]]}',
)


@dataclass(kw_only=True)
class Fuzzed:
    """How often one target was tried, and what was wrong."""

    target: str
    seed: int
    executions: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)

    def found(self, what: str) -> None:
        if len(self.findings) < _FINDINGS_MAX:
            self.findings.append(what[:2000])


def fuzz_json(folder: Path, *, seed: int, seconds: int) -> Fuzzed:
    """The plugin's reader and writer of JSON, in one process under sanitizers."""
    fuzzed, began_s = Fuzzed(target="json", seed=seed), time.monotonic()
    documents = [folder / f"document-{number}" for number in range(len(_DOCUMENTS))]
    for path, document in zip(documents, _DOCUMENTS, strict=True):
        path.write_bytes(document)
    sources = [_HARNESS, *(SOURCES / name for name in _HARNESS_SOURCES)]
    harness = _compile(folder / "harness", sources)
    done = subprocess.run(
        [harness, str(seed), str(seconds), *documents],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        fuzzed.executions = int(done.stdout)
    else:
        fuzzed.found(f"status {done.returncode}: {done.stderr}")
    fuzzed.seconds = time.monotonic() - began_s
    return fuzzed


async def fuzz_plugin(folder: Path, *, seed: int, seconds: int) -> Fuzzed:
    """Configuration and environment spoiled, verb by verb; a real socket behind."""
    fuzzed, began_s = Fuzzed(target="plugin", seed=seed), time.monotonic()
    plugin = _compile(folder / "plugin", sorted(SOURCES.glob("*.c")))
    rng, netns = random.Random(seed), new_netns()
    runtime = Runtime(plugin=plugin, run_dir=folder, netns=f"/proc/{os.getpid()}/fd/{netns}")
    server = CniServer(RecordedAttachments(), socket_path=folder / "agent.sock")
    await server.start()
    while time.monotonic() - began_s < seconds and not fuzzed.findings:
        await asyncio.gather(*(_spoil_call(runtime, rng, fuzzed) for _ in range(4)))
    await server.drain(5.0)
    os.close(netns)
    fuzzed.seconds = time.monotonic() - began_s
    return fuzzed


async def _spoil_call(runtime: Runtime, rng: random.Random, fuzzed: Fuzzed) -> None:
    fuzzed.executions += 1
    env = {k.encode(): v.encode() for k, v in runtime.env(rng.choice(_VERBS)).items()}
    # A spoiled runDir must not lead anywhere else than a folder of this run.
    config = runtime.config(prevResult={}, agentWaitSeconds=0, timeoutSeconds=5)
    stdin = json.dumps(config).encode()
    if rng.randrange(2):
        before, behind = stdin.split(b'"runDir"', 1)
        stdin = spoiled(rng, before) + b'"runDir"' + behind
    else:
        name = rng.choice(sorted(env))
        env[name] = spoiled(rng, env[name]).replace(b"\0", b"\x02")
    called = await call_plugin(runtime.plugin, env, stdin)
    is_told = called.status == 0 or (called.stdout and "code" in called.result)
    if "Sanitizer" in called.stderr or called.status not in _STATUSES or not is_told:
        fuzzed.found(f"stdin {stdin!r}, env {env!r}: {called}")


async def fuzz_socket(folder: Path, *, seed: int, seconds: int) -> Fuzzed:
    """Frames spoiled, cut off or too long; every hundredth call is a proper one."""
    fuzzed, began_s = Fuzzed(target="socket", seed=seed), time.monotonic()
    rng, attachments = random.Random(seed), RecordedAttachments()
    path = folder / "fuzzed.sock"
    server = CniServer(attachments, socket_path=path, receive_timeout_s=1.0)
    await server.start()
    await _converse(path, _frame())
    descriptors = _open_descriptors()
    while time.monotonic() - began_s < seconds and not fuzzed.findings:
        for _ in range(100):
            fuzzed.executions += 1
            sent = spoiled(rng, _frame())
            if rng.randrange(2):  # a proper length before a spoiled body
                body = spoiled(rng, _frame()[_LENGTH.size :])
                sent = _LENGTH.pack(len(body)) + body
            answer = await _converse(path, sent)
            if answer and not _is_answer(answer):
                fuzzed.found(f"sent {sent!r}, got {answer!r}")
        if json.loads((await _converse(path, _frame()))[_LENGTH.size :])["status"] != 0:
            fuzzed.found(f"a proper call is not served after {fuzzed.executions} others")
    await server.drain(5.0)
    if _open_descriptors() > descriptors:
        fuzzed.found(f"{_open_descriptors() - descriptors} descriptors stay open")
    fuzzed.seconds = time.monotonic() - began_s
    return fuzzed


def _compile(program: Path, sources: list[Path]) -> Path:
    compiler = shutil.which("cc")
    assert compiler is not None, "a C compiler is needed"
    flags = [*STRICT, *BUILDS["sanitized"], "-O1", f"-I{SOURCES}"]
    subprocess.run([compiler, *flags, "-o", program, *sources], check=True)
    return program


def _frame() -> bytes:
    body = json.dumps(
        {
            "protocol": 1,
            "verb": "DEL",
            "timeout_ms": 1000,
            "env": {"CNI_CONTAINERID": "c0ffee", "CNI_IFNAME": "eth0", "CNI_ARGS": "A=b;C=d"},
            "config": '{"cniVersion":"1.1.0","name":"berth","type":"berth-cni"}',
        }
    ).encode()
    return _LENGTH.pack(len(body)) + body


def _is_answer(answer: bytes) -> bool:
    (length,) = _LENGTH.unpack_from(answer)
    body = json.loads(answer[_LENGTH.size :])
    return length == len(answer) - _LENGTH.size and body["status"] in _STATUSES


async def _converse(path: Path, sent: bytes) -> bytes:
    """Send, close our half, and read whatever comes."""
    loop, answer = asyncio.get_running_loop(), b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, str(path))
        with suppress(BrokenPipeError, ConnectionResetError):  # answered before all was read
            await loop.sock_sendall(peer, sent)
            peer.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_ANSWER_S):
            with suppress(ConnectionResetError):
                while part := await loop.sock_recv(peer, 65536):
                    answer += part
    return answer


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
