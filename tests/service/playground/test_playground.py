"""Everything on one machine: up in order, down without a trace, whatever happens between.

The cloud is wireless here: bus, store, simulator, allocators and eni_manager are real
processes; nodes and packets are the end-to-end tests' matter.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from berth.main import main
from berth.operator import open_operator
from berth.playground.playground import Playground, ProgressStep, StartOptions
from berth.playground.state import read_state
from berth.playground.topology import parse
from shared.bus.client import BusClient
from shared.clock import SystemClock
from shared.errors import InvalidInput, Refused
from shared.ids import NodeName
from shared.kernel.processes import started_at
from shared.messages.clusters import SUBNET_LIST, SubnetListRequest
from shared.messages.nodes import AGENT_INVENTORY, InventoryRequest
from tests.support.left_behind import processes_with

WIRELESS = StartOptions(wireless=True)
PATIENCE_S = 60.0


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A folder that is yet to be made, with a path short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="berth-") as folder:
        yield Path(folder) / "run"


async def command(run_dir: Path, *words: str) -> tuple[int, str, str]:
    """`berth WORDS --run-dir …` as a process: status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "berth.main", *words, "--run-dir", str(run_dir)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("BERTH_")},
    )
    said, complained = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    return process.returncode, said.decode(), complained.decode()


async def test_it_starts_in_order_serves_and_leaves_nothing(run_dir: Path) -> None:
    steps: list[ProgressStep] = []

    playground = await Playground.start(run_dir=run_dir, options=WIRELESS, report=steps.append)
    try:
        state = read_state(run_dir)
        async with open_operator(state) as bus:
            deadline = SystemClock().now() + timedelta(seconds=5)
            listed = await bus.call(SUBNET_LIST, SubnetListRequest(deadline=deadline))
        secrets = list((run_dir / "keys").iterdir())
        modes = {stat.S_IMODE(file.stat().st_mode) for file in secrets}
        environments = b"".join(
            Path(f"/proc/{child.pid}/environ").read_bytes()
            + Path(f"/proc/{child.pid}/cmdline").read_bytes()
            for child in state.children
        )
        leaked = [file.name for file in secrets if file.read_bytes().strip() in environments]
    finally:
        await playground.stop()

    assert [step.what for step in steps] == [
        "keys", "bus", "store", "cloud", "allocators", "eni_manager", "cluster",
    ]  # fmt: skip
    assert [subnet.subnet for subnet in listed.subnets] == ["subnet-pods-a", "subnet-pods-b"]
    assert modes == {0o600}
    assert leaked == []
    assert not run_dir.exists()
    assert processes_with(str(run_dir)) == set()


async def test_a_start_that_is_cancelled_leaves_nothing(run_dir: Path) -> None:
    for moment in ("keys", "bus", "store", "cloud"):
        reached = asyncio.Event()

        def note(step: ProgressStep, at: str = moment, event: asyncio.Event = reached) -> None:
            if step.what == at:
                event.set()

        starting = asyncio.create_task(
            Playground.start(run_dir=run_dir, options=WIRELESS, report=note)
        )
        await asyncio.wait_for(reached.wait(), PATIENCE_S)
        starting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not run_dir.exists(), moment
        assert processes_with(str(run_dir)) == set(), moment


@pytest.mark.parametrize("option", ["nats_port", "redis_port", "cloud_port"])
async def test_a_port_in_use_is_one_line_and_nothing_is_left(
    run_dir: Path, option: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken: int = other.getsockname()[1]
        options = StartOptions(**{"wireless": True, option: taken})  # type: ignore[arg-type] # one of its ports

        with pytest.raises(Refused) as refused:
            await Playground.start(run_dir=run_dir, options=options)

    named = f"--{option.replace('_', '-')}: port {taken} of 127.0.0.1 is in use"
    assert str(refused.value).startswith(named)
    assert "\n" not in str(refused.value)
    assert not run_dir.exists()
    assert processes_with(str(run_dir)) == set()


async def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(Refused, match="not a playground's folder"):
        await Playground.start(run_dir=tmp_path, options=WIRELESS)

    assert (tmp_path / "thesis.txt").read_text() == "mine"


async def test_a_folder_with_too_long_a_path_is_named_at_once(tmp_path: Path) -> None:
    run_dir = tmp_path / ("x" * 100)

    with pytest.raises(Refused, match="too long for the socket of node node-1"):
        await Playground.start(run_dir=run_dir)

    assert not run_dir.exists()


async def test_up_and_down_in_the_background(run_dir: Path) -> None:

    status, said, complained = await command(run_dir, "up", "--wireless", "--json")
    try:
        assert (status, complained) == (0, "")
        supervisor = json.loads(said)["supervisor_pid"]
        again = await command(run_dir, "up", "--wireless")
        shown = await command(run_dir, "status", "--json")
        leases = await command(run_dir, "lease", "list", "--json")
        pods = await command(run_dir, "pod", "why", "default/nobody")
    finally:
        stopped = await command(run_dir, "down")

    assert again[0] == 1
    assert again[2].count("\n") == 1
    assert "runs in" in again[2]
    assert all(each["is_running"] for each in json.loads(shown[1])["processes"])
    assert (leases[0], json.loads(leases[1])) == (0, [])
    assert pods[0] == 1
    assert pods[2].startswith("berth: pod default/nobody: no agent knows it")
    assert stopped[0] == 0
    assert started_at(supervisor) is None
    assert not run_dir.exists()
    assert processes_with(str(run_dir)) == set()


async def test_ctrl_c_while_it_starts_undoes_the_start(run_dir: Path) -> None:
    starting = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "berth.main", "up", "--wireless", "--run-dir", str(run_dir)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert starting.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        while not (await starting.stdout.readline()).startswith(b"store"):
            assert starting.returncode is None

        starting.send_signal(signal.SIGINT)
        await starting.communicate()

    assert starting.returncode == 130
    assert not run_dir.exists()
    assert processes_with(str(run_dir)) == set()


async def test_what_a_killed_supervisor_left_is_cleaned_up(run_dir: Path) -> None:
    await command(run_dir, "up", "--wireless")
    state = read_state(run_dir)

    os.kill(state.supervisor_pid, signal.SIGKILL)
    status, _, _ = await command(run_dir, "down")

    assert status == 0
    assert not run_dir.exists()
    assert processes_with(str(run_dir)) == set()


async def test_a_killed_service_comes_back(run_dir: Path) -> None:
    playground = await Playground.start(run_dir=run_dir, options=WIRELESS)
    try:
        process = playground.process("eni-manager")
        first = process.pid

        await process.kill()
        await process.wait_ready(PATIENCE_S)

        known = {child.name: child.pid for child in read_state(run_dir).children}
        assert process.pid == known["eni-manager"] != first
    finally:
        await playground.stop()


@pytest.mark.kernel
async def test_every_node_joins_and_gets_stock(run_dir: Path) -> None:
    playground = await Playground.start(run_dir=run_dir)
    try:
        async with open_operator(playground.state) as bus:
            async with asyncio.timeout(PATIENCE_S):
                stock = {
                    node.name: await first_stock(bus, node.name)
                    for node in playground.state.nodes
                }
        inside = await asyncio.create_subprocess_exec(
            *playground.state.node("node-1").enter(["cat", "/proc/net/dev"]),
            stdout=asyncio.subprocess.PIPE,
        )
        links, _ = await asyncio.wait_for(inside.communicate(), PATIENCE_S)
    finally:
        await playground.stop()

    networks = {name: address.rpartition(".")[0] for name, address in stock.items()}
    assert networks == {"node-1": "10.0.101", "node-2": "10.0.101", "node-3": "10.0.102"}
    assert len(set(stock.values())) == 3
    assert b"eth1:" in links, "the ENI is inside the instance"
    assert not run_dir.exists()
    assert processes_with(str(run_dir)) == set()


async def first_stock(bus: BusClient, node: NodeName) -> str:
    """The first address that the node's agent owns; waits for the offer to arrive."""
    while True:
        deadline = SystemClock().now() + timedelta(seconds=5)
        request = InventoryRequest(node=node, deadline=deadline)
        inventory = await bus.call(AGENT_INVENTORY, request, node)
        if inventory.addresses:
            return str(inventory.addresses[0].address)
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("down",),
        ("lease", "list"),
        ("lease", "show", "default/web-0"),
        ("lease", "release", "default/web-0"),
        ("node", "list"),
        ("subnet", "list"),
        ("pod", "list"),
        ("pod", "why", "default/web-0"),
    ],
    ids=" ".join,
)
def test_where_nothing_runs_a_command_says_so_in_one_line(
    run_dir: Path,
    words: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["berth", *words, "--run-dir", str(run_dir)])

    with pytest.raises(SystemExit) as ended:
        main()

    said, complained = capsys.readouterr()
    assert ended.value.code == 1
    assert said == ""
    assert complained.startswith("berth: nothing runs in")
    assert complained.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("a: [", "not YAML", id="not-yaml"),
        pytest.param("region: r", "vpc", id="no-vpc"),
        pytest.param(
            "{region: r, vpc: {id: vpc-a, cidr: 10.0.0.0/16}, subnets: [{id: subnet-a, cidr:"
            " 10.0.1.0/24, zone: z}], instances: [{id: ins-a, zone: z, subnet: subnet-a}]}",
            "pods need at least one subnet of their own",
            id="no-subnet-for-pods",
        ),
    ],
)
def test_a_topology_that_cannot_be_used_is_named(text: str, named: str) -> None:
    with pytest.raises(InvalidInput, match=named) as refused:
        parse(text, source="topology x.yaml")

    assert str(refused.value).startswith("topology x.yaml")
    assert "\n" not in str(refused.value)
