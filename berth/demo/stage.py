"""The pods of the demo on the nodes of the playground: started, deleted, probed.

A pod's JSON is written for the agent of its node before the pod starts, and taken away once it
has ended, as the API server would show it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from berth.manifests.pods import PodSpec, file_name, owner_files, pod_json
from berth.playground.state import NodeState, PlaygroundState
from berth.pods.client import OnWaiting, Runner, RunnerProcess
from berth.pods.messages import PodRunning, Waiting
from berth.pods.runner import RunnerOptions
from shared.errors import BerthError
from shared.ids import NodeName, PodName

from .placement import Place

NETWORK_TIMEOUT_S: Final = 60.0
PLUGIN_TIMEOUT_S: Final = 30.0
RUN_TIMEOUT_S: Final = 60.0
REMOVE_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A pod that runs."""

    spec: PodSpec
    place: Place
    running: PodRunning

    @property
    def name(self) -> PodName:
        return self.spec.name

    @property
    def address(self) -> IPv4Address:
        return self.running.address


class Stage:
    """Every node's runner, and who plays on it."""

    def __init__(self, nodes: Sequence[NodeState], runners: dict[NodeName, Runner]) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._runners = runners

    @classmethod
    async def open(cls, state: PlaygroundState, stack: AsyncExitStack, *, stays: bool) -> Stage:
        """A runner on every node; they end with the stack, unless all of it is to stay up."""
        runners: dict[NodeName, Runner] = {}
        async with AsyncExitStack() as started:

            async def start(node: NodeState) -> None:
                process = await _start_runner(state, node)
                started.push_async_callback(process.stop)
                runners[node.name] = process.runner

            async with asyncio.TaskGroup() as group:
                for node in state.nodes:
                    group.create_task(start(node), name=f"pod runner of {node.name}")
            whole = started.pop_all()
        if not stays:
            stack.push_async_callback(whole.aclose)
        return cls(state.nodes, runners)

    @property
    def places(self) -> list[Place]:
        return [Place(node=node.name, zone=node.zone) for node in self._nodes.values()]

    def runner(self, node: NodeName) -> Runner:
        return self._runners[node]

    async def start(self, spec: PodSpec, place: Place, on_waiting: OnWaiting) -> Actor:
        """Raises the BerthError that names why the pod has no address."""
        folder = self._nodes[place.node].pod_dir
        self._announce(spec, place, folder)
        try:
            running = await self._runners[place.node].run(
                spec.name, spec.uid, timeout_s=RUN_TIMEOUT_S, on_waiting=on_waiting
            )
        except BerthError as error:
            (folder / file_name(spec.name)).unlink(missing_ok=True)
            raise type(error)(f"pod {spec.name} on {place.node}: {error}") from error
        return Actor(spec=spec, place=place, running=running)

    async def delete(self, actor: Actor) -> None:
        """DEL, the end of its process, then the end of its Pod object."""
        node = actor.place.node
        await self._runners[node].remove(actor.name, timeout_s=REMOVE_TIMEOUT_S)
        (self._nodes[node].pod_dir / file_name(actor.name)).unlink(missing_ok=True)

    def _announce(self, spec: PodSpec, place: Place, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        files = owner_files(spec) | {file_name(spec.name): pod_json(spec, place.node)}
        for name, body in files.items():
            partial = (folder / name).with_suffix(".partial")
            partial.write_text(json.dumps(body), encoding="utf-8")
            partial.replace(folder / name)


def why_waiting(spec: PodSpec, waiting: Waiting) -> str:
    return (
        f"{spec.name.name} waits (attempt {waiting.attempt}): {waiting.reason}; "
        f"again in {waiting.next_in_s:.1f} s"
    )


async def _start_runner(state: PlaygroundState, node: NodeState) -> RunnerProcess:
    options = RunnerOptions(
        socket=node.run_dir / "pods.sock",
        conf_dir=node.cni_conf_dir,
        bin_dir=node.cni_bin_dir,
        kept_dir=node.run_dir / "cni-results",
        until_pid=state.supervisor_pid,
        network_timeout_s=NETWORK_TIMEOUT_S,
        plugin_timeout_s=PLUGIN_TIMEOUT_S,
    )
    log_file = state.run_dir / "logs" / f"pods-{node.name}.log"
    return await RunnerProcess.start(node.enter, options, log_file=log_file)
