"""A node with a plugin of the tests, and a runner in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from berth.pods.client import RunnerProcess
from berth.pods.sandbox import Sandbox
from tests.support.node import Node
from tests.support.veth_plugin import install


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    for name in ("conf", "bin", "plugin"):
        (tmp_path / name).mkdir()
    install(tmp_path / "bin", tmp_path / "conf", tmp_path / "plugin")
    instance = await Sandbox.start()
    try:
        yield Node(folder=tmp_path, instance=instance)
    finally:
        await instance.stop()


@pytest.fixture
async def process(node: Node) -> AsyncIterator[RunnerProcess]:
    started = await node.start_runner()
    try:
        yield started
    finally:
        await started.stop()
