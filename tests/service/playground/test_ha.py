"""`berth up --ha`: of three servers each, one may stand still or die; the cluster is served."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from berth.operator import open_operator
from berth.playground.playground import Playground, StartOptions
from berth.playground.state import read_state
from shared.clusters import SubnetState
from shared.errors import TryLater
from tests.support.operators import Operator

PATIENCE_S = 60.0
AGAIN_S = 0.2

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


@pytest.fixture
async def playground() -> AsyncIterator[Playground]:
    with tempfile.TemporaryDirectory(prefix="berth-") as folder:
        started = await Playground.start(
            run_dir=Path(folder) / "run", options=StartOptions(ha=True, wireless=True)
        )
        try:
            yield started
        finally:
            await started.stop()


def signalled(playground: Playground, name: str, signum: signal.Signals) -> None:
    pid = playground.process(name).pid
    assert pid is not None, f"{name} runs"
    os.kill(pid, signum)


async def test_one_of_each_three_may_be_lost_at_once(playground: Playground) -> None:
    run_dir = playground.state.run_dir
    journals = list(run_dir.glob("nats/nats-*/jetstream/**/BERTH_JOURNAL_default"))

    # The store's master stands still, so that it cannot be back before the sentinels agree.
    signalled(playground, "valkey-1", signal.SIGSTOP)
    try:
        for name in ("nats-1", "valkey-sentinel-1", "allocator-1", "eni-manager"):
            signalled(playground, name, signal.SIGKILL)
        async with open_operator(read_state(run_dir)) as bus, asyncio.timeout(PATIENCE_S):
            changed = None
            while changed is None:
                try:
                    # It is written into the journal and the store before it is answered.
                    changed = await Operator(bus).set("subnet-pods-a", SubnetState.CORDONED)
                except TryLater:
                    await asyncio.sleep(AGAIN_S)
    finally:
        signalled(playground, "valkey-1", signal.SIGCONT)

    assert len(journals) == 3, "each server of the bus holds the journal"
    assert changed.cluster is not None
    states = {str(each.subnet): each.state for each in changed.cluster.subnets}
    assert states["subnet-pods-a"] is SubnetState.CORDONED
