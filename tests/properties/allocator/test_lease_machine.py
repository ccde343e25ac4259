"""The scripts against the model: whatever is asked, late, twice or out of order, both agree."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from services.allocator.adapters.memory_leases import MemoryLeases
from services.allocator.adapters.redis_leases import RedisLeases
from services.allocator.domain.leases import (
    AcquireStatus,
    ArriveStatus,
    Claim,
    ExpireStatus,
    GiveUpStatus,
    Lease,
    PolicyStatus,
    RetainStatus,
    Step,
)
from services.allocator.durability import WriteGate
from shared.errors import BerthError
from shared.ids import ClusterName, EniId, Incarnation, NodeName
from tests.support.lease_requests import NodeVoice, attachment
from tests.support.servers import RedisServer

NODES = ("node-1", "10.0.0.2")
PODS = st.sampled_from(["web-0", "web-1", "web-2"])
UIDS = st.sampled_from(["uid-1", "uid-2"])
SANDBOXES = st.sampled_from(["s1", "s2"])
CANDIDATES = st.sampled_from([None, "10.0.0.9", "10.0.0.10", "10.0.0.11"])
ANY_NODE = st.sampled_from(NODES)
SPANS = st.sampled_from([None, timedelta(minutes=5), timedelta(hours=1)])
# So far apart that the moments at which the two stores took a step make no difference.
AHEAD = st.sampled_from([timedelta(0), timedelta(minutes=30), timedelta(days=1)])
_THEN = datetime(2026, 1, 1, tzinfo=UTC)

Store = MemoryLeases | RedisLeases
Ask = Callable[[Store], Coroutine[Any, Any, object]]
_GRANTED = frozenset(
    {
        AcquireStatus.BOUND,
        AcquireStatus.HELD,
        AcquireStatus.MUST_MOVE,
        ArriveStatus.ARRIVED,
        RetainStatus.RETAINED,
        ExpireStatus.EXPIRED,
        GiveUpStatus.EXPIRED,
        PolicyStatus.SET,
    }
)


class LeaseMachine(RuleBasedStateMachine):
    """Every rule asks both stores the same and compares what they say."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.redis = Redis.from_url(self.url)
        self.model = MemoryLeases()
        self.real = RedisLeases(self.redis, ClusterName("test"), WriteGate())
        self.number = 0
        self.voices: dict[str, NodeVoice] = {}
        self.claims: list[Claim] = []
        self.leases: list[Lease] = []
        self.starts = 0

    def teardown(self) -> None:
        self.loop.run(self.redis.aclose())
        self.loop.close()

    def ask(self, ask: Ask) -> object:
        model, real = (
            self.loop.run(_said(ask, self.model)),
            self.loop.run(_said(ask, self.real)),
        )
        assert _comparable(real) == _comparable(model)
        if isinstance(model, Step) and model.lease is not None:
            self.leases.append(model.lease)
        return model

    @initialize()
    def begin(self) -> None:
        self.loop.run(_empty(self.redis))
        self.open_next_epoch(is_rebuild=False)
        for node in NODES:
            self.register(node=node)

    @rule(node=ANY_NODE)
    def register(self, node: str) -> None:
        self.starts += 1
        nonce, name = f"start-{self.starts}", NodeName(node)
        last = self.voices[node].incarnation if node in self.voices else Incarnation(0)
        incarnation = self.ask(lambda store: store.register(name, last=last, nonce=nonce))
        assert isinstance(incarnation, int)
        self.voices[node] = NodeVoice(node, Incarnation(incarnation))

    @rule(
        node=ANY_NODE, pod=PODS, uid=UIDS, sandbox=SANDBOXES, candidate=CANDIDATES,
        is_settled=st.booleans(), span=SPANS,
    )  # fmt: skip
    def acquire(
        self,
        node: str,
        pod: str,
        uid: str,
        sandbox: str,
        candidate: str | None,
        is_settled: bool,
        span: timedelta | None,
    ) -> None:
        voice = self.voices[node]
        fence = voice.fence(lowest_unsettled=None if is_settled else 1)
        claim = voice.claim(
            pod,
            candidate=candidate,
            uid=uid,
            sandbox=sandbox,
            fence=fence,
            expires_after=span,
        )
        self.claims.append(claim)
        self.ask(lambda store: store.acquire(claim))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def repeat_a_claim(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.ask(lambda store: store.acquire(claim))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), node=ANY_NODE, sandbox=SANDBOXES)
    def release(self, data: st.DataObject, node: str, sandbox: str) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        fence, ended = self.voices[node].fence(), str(attachment(sandbox))
        self.ask(lambda store: store.retain(fence, lease.identity, ended, lease.generation))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), node=ANY_NODE)
    def arrive(self, data: st.DataObject, node: str) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        there, eni = NodeName(node), EniId(f"eni-{node}")
        self.ask(lambda store: store.arrive(lease.identity, lease.generation, there, eni))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), ahead=AHEAD)
    def expire(self, data: st.DataObject, ahead: timedelta) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        by = datetime.now(UTC) + ahead
        self.ask(lambda store: store.expire(lease.identity, by))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), force=st.booleans())
    def give_up(self, data: st.DataObject, force: bool) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        self.ask(lambda store: store.give_up(lease.identity, lease.generation, force=force))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), span=SPANS)
    def set_policy(self, data: st.DataObject, span: timedelta | None) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        self.ask(lambda store: store.set_policy(lease.identity, span))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        self.ask(lambda store: store.forget(lease.identity, lease.generation))

    @rule(ahead=AHEAD, is_put_off=st.booleans())
    def take_due(self, ahead: timedelta, is_put_off: bool) -> None:
        by = datetime.now(UTC) + ahead
        retry = timedelta(hours=3) if is_put_off else timedelta(0)
        taken = [
            {
                lease.identity
                for lease in self.loop.run(store.take_due(by, limit=9, retry=retry, look=retry))
            }
            for store in (self.model, self.real)
        ]
        assert taken[0] == taken[1]

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def journal(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        self.ask(lambda store: store.journaled([lease]))

    @rule(is_rebuild=st.booleans())
    def open_next_epoch(self, is_rebuild: bool) -> None:
        self.number += 1
        for store in (self.model, self.real):
            self.loop.run(_recover(store, self.number, is_rebuild=is_rebuild))

    @rule(node=ANY_NODE, pod=PODS)
    def ask_under_an_old_epoch(self, node: str, pod: str) -> None:
        claim = self.voices[node].claim(pod, candidate="10.0.0.12")
        self.model.use_epoch(self.number - 1)
        self.real.use_epoch(self.number - 1)
        self.ask(lambda store: store.acquire(claim))
        self.model.use_epoch(self.number)
        self.real.use_epoch(self.number)

    @invariant()
    def both_hold_the_same_leases(self) -> None:
        if self.number == 0:
            return
        model = {lease.identity: _timeless(lease) for lease in self.loop.run(_all(self.model))}
        real = {lease.identity: _timeless(lease) for lease in self.loop.run(_all(self.real))}
        assert real == model
        addresses = [lease.address for lease in real.values()]
        assert len(set(addresses)) == len(addresses), "an address belongs to two identities"

    @invariant()
    def both_owe_the_journal_the_same(self) -> None:
        marked = [
            {
                (lease.identity, lease.generation)
                for lease in self.loop.run(store.unjournaled(99))
            }
            for store in (self.model, self.real)
        ]
        assert marked[0] == marked[1]


async def _empty(redis: Redis) -> None:
    await redis.flushall()


async def _said(ask: Ask, store: Store) -> object:
    try:
        return await ask(store)
    except BerthError as error:
        return error


async def _all(store: Store) -> list[Lease]:
    return (await store.leases(0, 1000))[1]


async def _recover(store: Store, number: int, *, is_rebuild: bool) -> None:
    leases = await _all(store)
    assert await store.claim(number, empty=is_rebuild)
    if is_rebuild:
        assert await store.restore(number, leases)
    assert await store.open(number)
    store.use_epoch(number)


def _comparable(said: object) -> object:
    if isinstance(said, BerthError):
        return type(said)
    if isinstance(said, Step):
        if said.lease is None:
            return said.status
        # What is refused is not answered with the lease, so nobody asks whether it is durable.
        is_journaled = said.is_journaled if said.status in _GRANTED else None
        return said.status, is_journaled, _timeless(said.lease)
    return said


def _timeless(lease: Lease) -> Lease:
    return replace(lease, since=_THEN)


def test_the_scripts_do_what_the_model_does(redis_server: RedisServer) -> None:
    machine = type("Machine", (LeaseMachine,), {"url": redis_server.url})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
