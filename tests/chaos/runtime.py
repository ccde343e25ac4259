"""What kubelet and its runtime do for a workload: sandboxes made and unmade, all recorded."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.errors import BerthError, Refused, Unavailable
from shared.ids import PodName
from shared.messages.base import IdentityFields
from shared.messages.leases import (
    LEASE_FORGET,
    LEASE_GET,
    LeaseForgetRequest,
    LeaseGetRequest,
)
from tests.chaos.history import (
    ADD_LIMIT_S,
    ANSWER_SLACK_S,
    BUG,
    DEL_LIMIT_S,
    Operation,
    Outcome,
    Verb,
)
from tests.chaos.nodes import ChaosNode, Killed
from tests.chaos.world import World
from tests.support.wireless_nodes import NETWORK

_ASK_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A pod's sandbox with its address."""

    node: ChaosNode
    sandbox: str
    pod: PodName | None
    address: str


class Runtime:
    """The one hand that starts and ends pods, for one workload."""

    def __init__(
        self,
        world: World,
        workload: str,
        rng: random.Random,
        *,
        expires_after_s: float | None = None,
    ) -> None:
        self.world = world
        self.rng = rng
        self._history = world.history
        self._workload = workload
        self._expires_after_s = expires_after_s
        self.is_stopping = False

    async def start(self, node: ChaosNode, pod: PodName | None = None) -> Running | None:
        """One attempt; a sandbox that got no address is deleted, as the runtime does."""
        if node.is_gone:
            return None
        sandbox, uid = self._id(), self._id()
        if pod is not None:
            node.write_pod(pod, uid)
        operation = await self._add(node, sandbox, pod, uid)
        self._history.add(operation)
        if operation.outcome is Outcome.OK and not node.is_gone:
            assert operation.address is not None, "an ADD that succeeded names the address"
            return Running(node=node, sandbox=sandbox, pod=pod, address=operation.address)
        await self._delete(node, sandbox, pod)
        return None

    async def stop(self, running: Running) -> None:
        """DEL until it succeeds, then the Pod object goes."""
        await self._delete(running.node, running.sandbox, running.pod)

    async def until_started(self, node: ChaosNode, pod: PodName | None) -> Running | None:
        """Attempt after attempt, as kubelet does; None when the workload ends before."""
        while not self.is_stopping and not node.is_gone:
            running = await self.start(node, pod)
            if running is not None:
                return running
            await asyncio.sleep(self.rng.uniform(0.1, 0.4))
        return None

    async def release(self, pod: PodName) -> None:
        """An operator ends the lease of a pod that is away."""
        began_s = time.monotonic()
        outcome, error = Outcome.OK, None
        identity = IdentityFields(namespace=pod.namespace, name=pod.name, network=NETWORK)
        asked = False
        try:
            found = await self.world.bus.call(
                LEASE_GET, LeaseGetRequest(identity=identity, deadline=_soon())
            )
            asked = True
            request = LeaseForgetRequest(
                identity=identity,
                generation=found.lease.generation or 1,
                by="chaos",
                deadline=_soon(),
            )
            await self.world.bus.call(LEASE_FORGET, request)
        except BerthError as refused:
            maybe = asked and not isinstance(refused, Refused)
            outcome = Outcome.INFO if maybe else Outcome.FAIL
            error = _said(refused)
        self._history.add(
            Operation(
                verb=Verb.RELEASE,
                workload=self._workload,
                pod=str(pod),
                began_s=began_s,
                ended_s=time.monotonic(),
                limit_s=2 * _ASK_S,
                outcome=outcome,
                error=error,
            )
        )

    async def _add(
        self, node: ChaosNode, sandbox: str, pod: PodName | None, uid: str
    ) -> Operation:
        began_s = time.monotonic()
        address, generation, error, is_answered = None, None, None, True
        outcome = Outcome.OK
        asked = asyncio.ensure_future(
            node.add(sandbox, pod, uid if pod is not None else None, ADD_LIMIT_S)
        )
        died = asyncio.ensure_future(node.life_ended().wait())
        try:
            async with asyncio.timeout(ADD_LIMIT_S + 2 * ANSWER_SLACK_S):
                await asyncio.wait({asked, died}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done() or asked.cancelled():
                raise Killed("the agent died meanwhile")
            found, generation = asked.result()
            address = str(found)
        except TimeoutError:
            outcome, is_answered, error = Outcome.INFO, False, "no answer"
        except BerthError as refused:
            outcome = Outcome.INFO if isinstance(refused, Unavailable) else Outcome.FAIL
            error = _said(refused)
        except Killed as killed:
            outcome, error = Outcome.INFO, str(killed)
        except Exception as bug:  # a real agent's server would answer it; checkers tell of it
            outcome, error = Outcome.INFO, f"{BUG}: {bug!r}"
        finally:
            for each in (asked, died):
                each.cancel()
            await asyncio.gather(asked, died, return_exceptions=True)
        return Operation(
            verb=Verb.ADD,
            workload=self._workload,
            node=node.name,
            pod=str(pod) if pod is not None else "",
            sandbox=sandbox,
            is_fixed=pod is not None,
            expires_after_s=self._expires_after_s,
            began_s=began_s,
            ended_s=time.monotonic(),
            outcome=outcome,
            is_answered=is_answered,
            address=address,
            generation=generation,
            error=error,
        )

    async def _delete(self, node: ChaosNode, sandbox: str, pod: PodName | None) -> None:
        while not node.is_gone:
            began_s = time.monotonic()
            outcome, error, is_answered = Outcome.OK, None, True
            try:
                await self._deleted(node, sandbox)
            except TimeoutError:
                outcome, error, is_answered = Outcome.INFO, "no answer", False
            except (BerthError, Killed) as refused:
                outcome, error = Outcome.INFO, _said(refused)
            except Exception as bug:
                outcome, error = Outcome.INFO, f"{BUG}: {bug!r}"
            self._history.add(
                Operation(
                    verb=Verb.DEL,
                    workload=self._workload,
                    node=node.name,
                    pod=str(pod) if pod is not None else "",
                    sandbox=sandbox,
                    is_fixed=pod is not None,
                    began_s=began_s,
                    ended_s=time.monotonic(),
                    limit_s=DEL_LIMIT_S,
                    outcome=outcome,
                    is_answered=is_answered,
                    error=error,
                )
            )
            if outcome is Outcome.OK or (error or "").startswith(BUG):
                break
            await asyncio.sleep(0.1)
        if pod is not None:
            node.remove_pod(pod)

    async def _deleted(self, node: ChaosNode, sandbox: str) -> None:
        """In a task of its own: an agent that dies takes it along, but not who asked."""
        asked = asyncio.ensure_future(node.delete(sandbox))
        try:
            async with asyncio.timeout(DEL_LIMIT_S + 2 * ANSWER_SLACK_S):
                await asyncio.wait({asked})
            if asked.cancelled():
                raise Killed("the agent died meanwhile")
            asked.result()
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    def _id(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))


async def to_its_end(actor: Awaitable[None]) -> None:
    """Raises RuntimeError where what the actor called was cancelled: a TaskGroup would miss one
    that goes away like this without a word."""
    task = asyncio.current_task()
    try:
        await actor
    except asyncio.CancelledError as cancelled:
        if task is not None and not task.cancelling():
            raise RuntimeError("an actor ended before it was told to") from cancelled
        raise


def _said(error: Exception) -> str:
    code = error.code if isinstance(error, BerthError) else type(error).__name__
    return f"{code}: {error}"


def _soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=_ASK_S)
