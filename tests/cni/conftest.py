"""The plugin compiled from source, plain and under sanitizers, and its counterparts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.node_agent.adapters.cni_socket import CniServer
from shared.kernel.netns import new_netns
from tests.support.cni_calls import Runtime
from tests.support.recorded_attachments import RecordedAttachments

SOURCES = Path(__file__).parents[2] / "services" / "node_agent" / "cni"
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
BUILDS = {
    "plain": ("-O2", "-static"),
    "sanitized": ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
}


@pytest.fixture(scope="session")
def build_plugin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every build of the plugin, by name."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("plugin")
    sources = [str(path) for path in sorted(SOURCES.glob("*.c"))]
    for name, flags in BUILDS.items():
        command = [compiler, *STRICT, *flags, "-o", str(folder / name), *sources]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return {name: folder / name for name in BUILDS}


@pytest.fixture(params=list(BUILDS))
def plugin(request: pytest.FixtureRequest, build_plugin: dict[str, Path]) -> Path:
    """The plugin: once as it is shipped, once under sanitizers."""
    return build_plugin[request.param]


@pytest.fixture(scope="session")
def netns() -> Iterator[str]:
    """The path of a network namespace that is not ours."""
    try:
        fd = new_netns()
    except OSError as error:
        pytest.skip(f"network namespaces are not permitted here: {error}")
    yield f"/proc/{os.getpid()}/fd/{fd}"
    os.close(fd)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Short enough for a socket's path."""
    return tmp_path


@pytest.fixture
def runtime(plugin: Path, run_dir: Path, netns: str) -> Runtime:
    return Runtime(plugin=plugin, run_dir=run_dir, netns=netns)


@pytest.fixture
async def attachments() -> RecordedAttachments:
    return RecordedAttachments()


@pytest.fixture
async def server(attachments: RecordedAttachments, run_dir: Path) -> AsyncIterator[CniServer]:
    server = CniServer(attachments, socket_path=run_dir / "agent.sock")
    await server.start()
    yield server
    attachments.gate.set()
    await server.drain(5.0)
