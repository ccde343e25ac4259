"""The network needs no root, says where it is, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path
from tempfile import gettempdir

import pytest

from services.vpc_simulator.fabric.instances import InstanceNamespaces
from services.vpc_simulator.fabric.namespace_fabric import NamespaceFabric
from shared.errors import NotFound, Unavailable
from shared.ids import InstanceId, SubnetId

pytestmark = pytest.mark.kernel

NOBODY = 65_534
ROOT = Path(__file__).parents[3]


def of_this_machine(own: Path) -> tuple[list[str], list[str]]:
    """What a network might leave on the host: links, and mounts (pinned namespaces too); of
    what tests beside this one mount, in folders of theirs or as a runtime does, nothing."""
    mounts = []
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        place = Path(line.split()[1])
        is_of_another = place.is_relative_to(gettempdir()) and not place.is_relative_to(own)
        if not is_of_another and not place.match("/run/netns/cni-*"):
            mounts.append(line)
    return sorted(name for _, name in socket.if_nameindex()), mounts


async def end_of(pid: int) -> None:
    """Until the process is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(10):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


@asynccontextmanager
async def simulator(
    run_dir: Path, python: str = sys.executable, user: int | None = None
) -> AsyncIterator[tuple[Process, dict[str, object]]]:
    """A process that holds a fabric, and what it says of it."""
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(paths)}
    process = await asyncio.create_subprocess_exec(
        python,
        "-B",
        "-m",
        "tests.support.fabric_process",
        str(run_dir),
        stdin=PIPE,
        stdout=PIPE,
        cwd=ROOT,
        env=environment,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(60):
            said = await process.stdout.readline()
        yield process, json.loads(said)
    finally:
        process.stdin.close()
        async with asyncio.timeout(20):
            await process.wait()


def python_for(user: int) -> str:
    """An interpreter that this user may execute, with the packages of ours."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, os.path.realpath(sys.executable), f"/usr/bin/{version}"):
        try:
            subprocess.run(
                [python, "-c", ""], user=user, group=user, extra_groups=[], check=True
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip(f"user {user} may execute no {version} here")


EXPECTED = {"gateway": True, "neighbour": True, "nobody": False, "outside": True}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_an_ordinary_user_has_the_same_network() -> None:
    python = python_for(NOBODY)
    run_dir = Path("/tmp") / f"berth-fabric-{os.getpid()}"
    run_dir.mkdir(mode=0o700)
    os.chown(run_dir, NOBODY, NOBODY)
    try:
        async with simulator(run_dir, python, NOBODY) as (_, report):
            reaches = report["reaches"]
    finally:
        left = [file.name for file in run_dir.iterdir()]
        run_dir.rmdir()

    assert reaches == EXPECTED
    assert left == []


async def test_a_killed_simulator_leaves_nothing(tmp_path: Path) -> None:
    before = of_this_machine(tmp_path)

    async with simulator(tmp_path) as (process, report):
        worker = report["worker"]
        assert isinstance(worker, int)
        during = of_this_machine(tmp_path)
        process.send_signal(signal.SIGKILL)
        await end_of(worker)

    assert report["reaches"] == EXPECTED
    assert during == before
    assert of_this_machine(tmp_path) == before
    with pytest.raises(Unavailable, match="has ended"):
        InstanceNamespaces.load(tmp_path)


async def test_closing_leaves_nothing(tmp_path: Path) -> None:
    before = of_this_machine(tmp_path)
    fabric = await NamespaceFabric.open(tmp_path)
    await fabric.set_instance(InstanceId("ins-1"))
    worker = fabric.namespaces.pid

    await fabric.aclose()

    assert not Path(f"/proc/{worker}").exists()
    assert list(tmp_path.iterdir()) == []
    assert of_this_machine(tmp_path) == before


async def test_a_worker_that_died_is_told_of(tmp_path: Path) -> None:
    fabric = await NamespaceFabric.open(tmp_path)
    try:
        os.kill(fabric.namespaces.pid, signal.SIGKILL)

        with pytest.raises(Unavailable, match="worker has ended"):
            await fabric.set_subnet(
                SubnetId("subnet-a"),
                IPv4Network("10.0.1.0/24"),
                IPv4Network("10.0.1.0/24")[1],
            )
    finally:
        await fabric.aclose()


async def test_commands_are_run_on_an_instance(tmp_path: Path) -> None:
    fabric = await NamespaceFabric.open(tmp_path)
    try:
        await fabric.set_instance(InstanceId("ins-1"))
        found = InstanceNamespaces.load(tmp_path)
        show_links = "import socket; print([name for _, name in socket.if_nameindex()])"
        process = await asyncio.create_subprocess_exec(
            *found.enter_command(InstanceId("ins-1"), [sys.executable, "-c", show_links]),
            stdin=DEVNULL,
            stdout=PIPE,
            cwd=ROOT,
        )
        async with asyncio.timeout(20):
            said, _ = await process.communicate()

        assert said == b"['lo']\n"
        assert stat.S_IMODE((tmp_path / "fabric.json").stat().st_mode) == 0o600
        with pytest.raises(NotFound, match="known: ins-1, outside"):
            found.enter_command(InstanceId("ins-2"), ["true"])
    finally:
        await fabric.aclose()
