"""The scripts against the model: whatever is asked, late, twice or out of order, both agree."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from redis.asyncio import Redis

from services.allocator.adapters.memory_leases import MemoryLeases
from services.allocator.adapters.redis_leases import RedisLeases
from services.allocator.domain.leases import (
    Claim,
    Lease,
    Step,
)
from services.allocator.durability import WriteGate
from shared.ids import ClusterName, EniId, Incarnation, NodeName, WorkloadName
from shared.policies import LeasePolicy
from tests.support.lease_requests import SUBNET, NodeVoice, attachment
from tests.support.lease_twins import Ask, all_of, comparable, empty, recover, said, timeless
from tests.support.servers import RedisServer
from tests.support.state_machines import run_machine

NODES = ("node-1", "10.0.0.2")
PODS = st.sampled_from(["web-0", "web-1", "web-2"])
UIDS = st.sampled_from(["uid-1", "uid-2"])
SANDBOXES = st.sampled_from(["s1", "s2"])
CANDIDATES = st.sampled_from([None, "10.0.0.9", "10.0.0.10", "10.0.0.11"])
POLICIES = st.sampled_from(LeasePolicy)
SET, WEB = (WorkloadName("default", kind, "web") for kind in ("StatefulSet", "Deployment"))
ANY_NODE = st.sampled_from(NODES)
SPANS = st.sampled_from([None, timedelta(minutes=5), timedelta(hours=1)])
# So far apart that the moments at which the two stores took a step make no difference.
AHEAD = st.sampled_from([timedelta(0), timedelta(minutes=30), timedelta(days=1)])


class LeaseMachine(RuleBasedStateMachine):
    """Every rule asks both stores the same and compares what they say."""

    url: ClassVar[str]
    asked: ClassVar[int]

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
        type(self).asked += 1
        model, real = (
            self.loop.run(said(ask, self.model)),
            self.loop.run(said(ask, self.real)),
        )
        assert comparable(real) == comparable(model)
        if isinstance(model, Step) and model.lease is not None:
            self.leases.append(model.lease)
        return model

    @initialize()
    def begin(self) -> None:
        self.loop.run(empty(self.redis))
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
        is_settled=st.booleans(), span=SPANS, made_by=st.sampled_from([None, SET]),
        is_exclusive=st.sampled_from([False, False, False, True]), nominated=CANDIDATES,
        policy=st.sampled_from([LeasePolicy.NEVER, LeasePolicy.IMMEDIATE]),
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
        made_by: WorkloadName | None,
        is_exclusive: bool,
        nominated: str | None,
        policy: LeasePolicy,
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
            made_by=made_by,
            is_exclusive=is_exclusive,
            nominated=nominated,
            policy=policy,
        )
        self.claims.append(claim)
        self.ask(lambda store: store.acquire(claim))

    @rule(
        node=ANY_NODE, uid=UIDS, sandbox=SANDBOXES, candidate=CANDIDATES,
        size=st.sampled_from([1, 2]), is_near=st.booleans(),
    )  # fmt: skip
    def acquire_a_slot(
        self,
        node: str,
        uid: str,
        sandbox: str,
        candidate: str | None,
        size: int,
        is_near: bool,
    ) -> None:
        claim = self.voices[node].claim(
            f"web-{uid}",
            candidate=candidate,
            uid=uid,
            sandbox=sandbox,
            pool_of=WEB,
            size=size,
            subnets=frozenset({SUBNET}) if is_near else frozenset(),
        )
        self.claims.append(claim)
        self.ask(lambda store: store.acquire(claim))

    @precondition(lambda self: self.leases and self.claims)
    @rule(data=st.data())
    def take_over(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        claim = data.draw(st.sampled_from(self.claims))
        self.ask(lambda store: store.take_over(lease.identity, lease.generation, claim))

    @rule(node=ANY_NODE)
    def leave(self, node: str) -> None:
        self.ask(lambda store: store.leave(NodeName(node)))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), node=ANY_NODE, policy=POLICIES)
    def vacate(self, data: st.DataObject, node: str, policy: LeasePolicy) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        self.ask(
            lambda store: store.vacate(
                lease.identity, lease.generation, NodeName(node), policy=policy
            )
        )

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), ahead=AHEAD)
    def park(self, data: st.DataObject, ahead: timedelta) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        until = datetime.now(UTC) + ahead
        self.ask(lambda store: store.park(lease.identity, until))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def parked(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        self.ask(lambda store: store.parked(lease.identity, lease.generation))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def repeat_a_claim(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.ask(lambda store: store.acquire(claim))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), node=ANY_NODE, sandbox=SANDBOXES, policy=POLICIES)
    def release(
        self, data: st.DataObject, node: str, sandbox: str, policy: LeasePolicy
    ) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        fence, ended = self.voices[node].fence(), str(attachment(sandbox))
        self.ask(
            lambda store: store.retain(
                fence, lease.identity, ended, lease.generation, policy=policy
            )
        )

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
    @rule(data=st.data(), force=st.booleans(), is_called_off=st.booleans())
    def give_up(self, data: st.DataObject, force: bool, is_called_off: bool) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        self.ask(
            lambda store: store.give_up(
                lease.identity, lease.generation, force=force, is_called_off=is_called_off
            )
        )

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), span=SPANS, policy=POLICIES)
    def set_policy(
        self, data: st.DataObject, span: timedelta | None, policy: LeasePolicy
    ) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        self.ask(lambda store: store.set_policy(lease.identity, span, policy=policy))

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
            self.loop.run(recover(store, self.number, is_rebuild=is_rebuild))

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
        model = {lease.identity: timeless(lease) for lease in self.loop.run(all_of(self.model))}
        real = {lease.identity: timeless(lease) for lease in self.loop.run(all_of(self.real))}
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


def _compare(url: str, *, examples: int, steps: int) -> int:
    """Runs the machine; how many steps both stores were asked."""

    class Machine(LeaseMachine):
        pass

    Machine.url, Machine.asked = url, 0
    run_machine(Machine, examples=examples, steps=steps)
    return Machine.asked


def test_the_scripts_do_what_the_model_does(redis_server: RedisServer) -> None:
    assert _compare(redis_server.url, examples=60, steps=40) > 1_000


@pytest.mark.long
@pytest.mark.timeout(240)
def test_the_scripts_do_what_the_model_does_for_long(
    redis_server: RedisServer,
) -> None:
    assert _compare(redis_server.url, examples=150, steps=60) >= 6_000
