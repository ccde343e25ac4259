"""The wall clock of one process is stepped while it runs; spans are measured as before."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from berth.programs import base_environment
from tests.support.servers import redis_server
from tests.support.wall_clocks import NEEDED, WallClock, clear_away, library

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(library() is None, reason=f"needs {NEEDED}"),
]

_FOR_EACH_LINE = (
    "import sys, time\nfor line in sys.stdin: print(time.time(), time.monotonic(), flush=True)"
)
_WAIT_S = 30.0


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    clear_away()


@pytest.mark.parametrize("seconds", [90.0, -90.0])
def test_the_store_follows_its_clock(tmp_path: Path, seconds: float) -> None:
    clock = WallClock(tmp_path / "clock")
    with redis_server(environment=clock.environment) as server:
        redis: Redis = Redis.from_url(server.url)
        redis.set("key", 1, ex=600)

        clock.step(seconds)
        until_s = time.monotonic() + _WAIT_S
        while abs(redis.time()[0] - time.time() - seconds) > 2:
            assert time.monotonic() < until_s, redis.time()

        assert redis.ttl("key") == pytest.approx(600 - seconds, abs=_WAIT_S)
        redis.close()


def test_a_service_sees_another_time_and_the_same_spans(tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    with subprocess.Popen(
        [sys.executable, "-c", _FOR_EACH_LINE],
        env=base_environment() | clock.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        clock.step(90.0)
        until_s = time.monotonic() + _WAIT_S
        while (ahead := _ahead_s(process))[0] < 80:
            assert time.monotonic() < until_s, ahead
        process.stdin.close()  # type: ignore[union-attr] # it is a pipe

    assert list(ahead) == pytest.approx([90, 0], abs=5)


def _ahead_s(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Of our own two clocks, by what it says when asked."""
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    process.stdin.write("\n")
    process.stdin.flush()
    wall, spans = map(float, process.stdout.readline().split())
    return wall - time.time(), spans - time.monotonic()
