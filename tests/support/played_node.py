"""One node of a playground with a pod runner of its own: for tests that cut its power."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final

from berth.demo.placement import Place
from berth.demo.stage import NETWORK_TIMEOUT_S, PLUGIN_TIMEOUT_S, Actor, Stage
from berth.demo.world import until
from berth.manifests.pods import PodSpec, pods_of
from berth.manifests.reader import parse_manifest
from berth.playground.playground import Playground
from berth.playground.state import NodeState
from berth.pods.client import RunnerProcess
from berth.pods.runner import RunnerOptions
from services.node_agent.adapters.cni_socket import SOCKET_NAME
from services.node_agent.domain.attachments import is_pod_link
from services.node_agent.domain.wiring import PROTOCOL
from shared.kernel.addresses import delete_address, link_addresses
from shared.kernel.conversation import Conversation
from shared.kernel.links import links
from shared.kernel.netns import open_netns
from shared.kernel.routes import delete_route, delete_rule, routes, rules

_FIXED: Final = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  replicas: 1
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata:
      labels: {app: db}
      annotations:
        tke.cloud.tencent.com/networks: tke-route-eni
        tke.cloud.tencent.com/vpc-ip-claim-delete-policy: Never
    spec:
      containers:
        - name: db
          image: busybox
          resources: {limits: {tke.cloud.tencent.com/eni-ip: "1"}}
"""
_FROZEN: Final = ("allocator-1", "allocator-2", "eni-manager", "simulator")
_GONE_S: Final = 30.0


@dataclass(slots=True)
class PlayedNode:
    """Its agent is the playground's; its runner is started anew with each boot."""

    playground: Playground
    node: NodeState
    stage: Stage
    _runner: RunnerProcess
    _boots: Iterator[int]

    @classmethod
    async def boot(cls, playground: Playground, name: str) -> PlayedNode:
        node, boots = playground.state.node(name), count(1)
        runner = await _start_runner(playground, node, next(boots))
        stage = Stage([node], {node.name: runner.runner})
        return cls(playground, node, stage, runner, boots)

    @contextmanager
    def kernel(self) -> Iterator[Conversation]:
        assert self.node.netns_path is not None, "a node with a network"
        netns = open_netns(self.node.netns_path)
        try:
            with Conversation(netns) as conversation:
                yield conversation
        finally:
            os.close(netns)

    async def start(self, spec: PodSpec) -> Actor:
        place = Place(node=self.node.name, zone=self.node.zone)
        return await self.stage.start(spec, place, lambda waiting: None)

    async def cut_power(self, *, also: Callable[[], None] = lambda: None) -> None:
        """Agent, pods, tmpfs and the kernel's settings end at once; the state folder stays.
        The playground starts the agent again, as the boot does, after what is done `also`."""
        agent = self.playground.process(f"agent-{self.node.name}")
        assert agent.pid is not None
        os.kill(agent.pid, signal.SIGSTOP)
        os.kill(self._runner.pid, signal.SIGKILL)
        await self._runner.stop()
        _, are_gone = await until(self._pod_links, lambda names: not names, timeout_s=_GONE_S)
        assert are_gone, "pods ended with their runner"
        shutil.rmtree(self.node.run_dir / "book")
        (self.node.state_dir / "boot").unlink()  # of a boot that is over
        (self.node.run_dir / SOCKET_NAME).unlink()
        self._clear_kernel()
        also()
        await agent.kill()

    async def power_on(self) -> None:
        self._runner = await _start_runner(self.playground, self.node, next(self._boots))
        self.stage = Stage([self.node], {self.node.name: self._runner.runner})

    async def stop(self) -> None:
        await self._runner.stop()

    async def _pod_links(self) -> list[str]:
        with self.kernel() as kernel:
            return [link.name for link in links(kernel) if is_pod_link(link.name)]

    def _clear_kernel(self) -> None:
        with self.kernel() as kernel:
            kernel.do(
                [
                    *(delete_rule(each) for each in rules(kernel) if each.protocol == PROTOCOL),
                    *(
                        delete_route(each)
                        for each in routes(kernel)
                        if each.protocol == PROTOCOL
                    ),
                    *(
                        delete_address(each.index, each.address)
                        for each in link_addresses(kernel)
                        if each.address.network.prefixlen == each.address.max_prefixlen
                    ),
                ]
            )


def fixed_pod(rng: random.Random) -> PodSpec:
    """One under `Never` that shares its ENI."""
    return pods_of(parse_manifest(_FIXED), rng)[0]


@asynccontextmanager
async def all_others_down(playground: Playground) -> AsyncIterator[None]:
    """Bus and store are stopped; allocators, eni_manager and cloud answer nothing."""
    servers = [playground.process(name) for name in ("nats", "valkey")]
    pids = [pid for name in _FROZEN if (pid := playground.process(name).pid) is not None]
    assert len(pids) == len(_FROZEN), "all of them ran"
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for each in servers:
            await each.stop()
        yield
    finally:
        for each in servers:
            if not each.is_running:
                await each.start()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def _start_runner(playground: Playground, node: NodeState, boot: int) -> RunnerProcess:
    options = RunnerOptions(
        socket=node.run_dir / f"pods-{boot}.sock",
        conf_dir=node.cni_conf_dir,
        bin_dir=node.cni_bin_dir,
        kept_dir=node.run_dir / f"cni-results-{boot}",
        until_pid=playground.state.supervisor_pid,
        network_timeout_s=NETWORK_TIMEOUT_S,
        plugin_timeout_s=PLUGIN_TIMEOUT_S,
    )
    log_file = playground.state.run_dir / "logs" / f"pods-{node.name}-{boot}.log"
    return await RunnerProcess.start(node.enter, options, log_file=log_file)
