"""The pods of one node: set up, retried, probed, torn down, as kubelet has its runtime do.

A failed set-up is followed by a DEL, its sandbox is thrown away and a new one tried, with a
longer wait each time, for as long as the reason may pass and the caller's deadline allows.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import Final

from shared.errors import BerthError, InvalidInput, NotFound, Refused, TryLater, Unavailable
from shared.ids import PodName, PodUid
from shared.runtime.backoff import backoff_s

from .messages import (
    AskHeard,
    Checked,
    CheckPod,
    Heard,
    PodKey,
    PodRemoved,
    PodRunning,
    PodsListed,
    Probed,
    RemovePod,
    RunPod,
    RunProbe,
    SendForged,
    Waiting,
)
from .networks import PodNetworkResult, PodNetworks
from .plugins import Attachment, PluginFailed
from .process import Request as ProbeRequest
from .process import probe
from .sandbox import Sandbox

log = logging.getLogger(__name__)

IFNAME: Final = "eth0"
PODS_MAX: Final = 256
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 5.0
_LEAST_WAIT_S: Final = 0.1

Report = Callable[[Waiting], None]


@dataclass(slots=True, kw_only=True)
class _Pod:
    """A pod that has a sandbox; `running` once its network stands."""

    attachment: Attachment
    sandbox: Sandbox
    running: PodRunning | None = None


class NodePods:
    """Implements every request of a runner. One operation a pod at a time, pods in parallel."""

    def __init__(self, networks: PodNetworks, rng: random.Random) -> None:
        self._networks = networks
        self._rng = rng
        self._pods: dict[PodName, _Pod] = {}
        self._locks: dict[PodName, asyncio.Lock] = {}

    async def run(self, request: RunPod, report: Report) -> PodRunning:
        """Raises Refused for a reason that stays, TryLater when the time is up."""
        name = _name(request.pod)
        async with self._lock(name):
            if name in self._pods:
                raise Refused(f"pod {name} runs here already: remove it first")
            if len(self._pods) >= PODS_MAX:
                raise Refused(f"{PODS_MAX} pods run here: no more are allowed")
            return await self._attempts(name, request, report)

    async def _attempts(self, name: PodName, request: RunPod, report: Report) -> PodRunning:
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + request.timeout_s
        waits = backoff_s(self._rng, first_s=_FIRST_WAIT_S, longest_s=_LONGEST_WAIT_S)
        attempt = 1
        while True:
            try:
                return await self._set_up(name, request, attempt, began)
            except PluginFailed as error:
                reason = str(error)
                if not error.is_transient:
                    raise Refused(reason) from error
            except TryLater as error:
                reason = str(error)
            wait_s = max(_LEAST_WAIT_S, next(waits))
            if loop.time() + wait_s > deadline:
                raise TryLater(f"{reason}; given up after {attempt} attempts")
            report(Waiting(attempt=attempt, reason=reason, next_in_s=wait_s))
            await asyncio.sleep(wait_s)
            attempt += 1

    async def _set_up(
        self, name: PodName, request: RunPod, attempt: int, began: float
    ) -> PodRunning:
        loop = asyncio.get_running_loop()
        sandbox = await Sandbox.start()
        attachment = Attachment(
            container_id=f"{self._rng.getrandbits(256):064x}",
            ifname=IFNAME,
            netns_path=sandbox.netns_path,
            pod=name,
            pod_uid=PodUid(request.uid),
        )
        pod = _Pod(attachment=attachment, sandbox=sandbox)
        self._pods[name] = pod
        add_began = loop.time()
        try:
            result = await self._networks.add(attachment)
        except BaseException:
            await asyncio.shield(self._abandon(name, pod))
            raise
        pod.running = _running(request, pod, result, attempt, add_began, began)
        return pod.running

    async def _abandon(self, name: PodName, pod: _Pod) -> None:
        """After a failed ADD: what it may have made is undone, and the sandbox goes."""
        try:
            await self._networks.delete(pod.attachment)
        except BerthError as error:
            log.warning("network of a failed pod not torn down", extra={"error": str(error)})
        await pod.sandbox.stop()
        self._pods.pop(name, None)

    async def remove(self, request: RemovePod) -> PodRemoved:
        """DEL first, then the process, as runtimes do; a DEL that fails is tried again."""
        name = _name(request.pod)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with self._lock(name):
            pod = self._pods.get(name)
            if pod is not None:
                await self._tear_down(pod, deadline=began + request.timeout_s)
                await pod.sandbox.stop()
                del self._pods[name]
        return PodRemoved(was_there=pod is not None, seconds=loop.time() - began)

    async def _tear_down(self, pod: _Pod, *, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        waits = backoff_s(self._rng, first_s=_FIRST_WAIT_S, longest_s=_LONGEST_WAIT_S)
        while True:
            try:
                return await self._networks.delete(pod.attachment)
            except PluginFailed as error:
                wait_s = max(_LEAST_WAIT_S, next(waits))
                if loop.time() + wait_s > deadline:
                    raise Unavailable(f"pod {pod.attachment.pod}: {error}") from error
            await asyncio.sleep(wait_s)

    async def probe(self, request: RunProbe) -> Probed:
        asked: ProbeRequest = {
            "do": request.do,
            "destination": str(request.destination),
            "port": request.port,
            "attempts": request.attempts,
            "timeout_s": request.timeout_s,
        }
        if request.pod is None:
            return Probed.model_validate(asdict(await probe(asked)))
        timeout_s = request.attempts * request.timeout_s
        answer = await self._known(request.pod).sandbox.ask({**asked}, timeout_s=timeout_s)
        return Probed.model_validate(answer)

    async def send_forged(self, request: SendForged) -> Probed:
        answer = await self._known(request.pod).sandbox.ask(
            {
                "do": "forge",
                "source": str(request.source),
                "destination": str(request.destination),
                "token": request.token,
            },
            timeout_s=1.0,
        )
        return Probed.model_validate(answer)

    async def heard(self, request: AskHeard) -> Heard:
        asked = self._known(request.pod).sandbox.ask(
            {"do": "heard", "token": request.token}, timeout_s=1.0
        )
        return Heard.model_validate(await asked)

    async def check(self, request: CheckPod) -> Checked:
        await self._networks.check(self._known(request.pod).attachment)
        return Checked()

    def listed(self) -> PodsListed:
        found = (pod.running for pod in self._pods.values())
        return PodsListed(pods=tuple(each for each in found if each is not None))

    async def stop(self, *, timeout_s: float) -> None:
        """Remove every pod, in the order given up to the time limit; then end what is left."""
        removals = [
            self.remove(RemovePod(pod=_key(name), timeout_s=timeout_s)) for name in self._pods
        ]
        results = await asyncio.gather(*removals, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                log.warning("pod not removed in order", extra={"error": str(result)})
        await self.kill()

    async def kill(self) -> None:
        """End every pod's process and leave the network to whoever collects it."""
        pods = list(self._pods.values())
        self._pods.clear()
        await asyncio.gather(*(pod.sandbox.stop() for pod in pods))

    def _known(self, key: PodKey) -> _Pod:
        pod = self._pods.get(_name(key))
        if pod is None or pod.running is None:
            raise NotFound(f"pod {_name(key)} does not run on this node")
        return pod

    def _lock(self, name: PodName) -> asyncio.Lock:
        if len(self._locks) > 4 * PODS_MAX:
            raise InvalidInput("more pod names than a runner keeps apart in its life")
        return self._locks.setdefault(name, asyncio.Lock())


def _running(
    request: RunPod,
    pod: _Pod,
    result: PodNetworkResult,
    attempt: int,
    add_began: float,
    began: float,
) -> PodRunning:
    now = asyncio.get_running_loop().time()
    address: IPv4Address = result.address
    return PodRunning(
        pod=request.pod,
        uid=request.uid,
        address=address,
        container_id=pod.attachment.container_id,
        host_ifname=result.host_ifname,
        process=pod.sandbox.pid,
        attempts=attempt,
        add_s=now - add_began,
        seconds=now - began,
    )


def _name(key: PodKey) -> PodName:
    return PodName(key.namespace, key.name)


def _key(name: PodName) -> PodKey:
    return PodKey(namespace=name.namespace, name=name.name)
