"""A cluster in miniature: agents, the eni_manager and the cloud around a store of leases.

It says by the design's words, not by the store's, who owns each address and what was promised
to whom: a small pure model. The store under it is asked through two adapters at once. Messages
wait in a row, from which a test delivers them late, twice, in any order; answers may be lost,
and an allocator may stall between the store's step and the journal.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address

from services.allocator.domain.leases import (
    AcquireStatus,
    Claim,
    Lease,
    RetainStatus,
    StockCandidate,
)
from shared.addresses import AddressState
from shared.ids import (
    AttachmentKey,
    EniId,
    Generation,
    Identity,
    Incarnation,
    NodeName,
    PodUid,
    SubnetId,
)
from tests.support.lease_requests import NodeVoice

SUBNET = SubnetId("subnet-a")
GRANTED = (AcquireStatus.BOUND, AcquireStatus.HELD)
HELD_BY_A_LEASE = frozenset(
    {
        AddressState.BOUND_FIXED,
        AddressState.RETAINED,
        AddressState.MOVING,
        AddressState.PARKED,
    }
)


class Phase(StrEnum):
    ASKING = "asking"
    REFUSED = "refused"  # its candidate stays promised until the store has heard so
    BOUND = "bound"
    RELEASING = "releasing"


@dataclass(slots=True)
class Attachment:
    """One sandbox of one pod, as its agent's book has it."""

    key: AttachmentKey
    identity: Identity
    uid: PodUid
    phase: Phase
    sequence: int
    candidate: IPv4Address | None
    address: IPv4Address | None = None
    generation: Generation | None = None
    is_ended: bool = False  # the pod is gone, whatever the question's answer will be


@dataclass(slots=True)
class Agent:
    """A node's book: its own addresses, and what it has asked."""

    node: NodeName
    voice: NodeVoice
    sequence: int = 0
    idle: set[IPv4Address] = field(default_factory=set)
    promised: set[IPv4Address] = field(default_factory=set)
    cooling: set[IPv4Address] = field(default_factory=set)
    attachments: dict[AttachmentKey, Attachment] = field(default_factory=dict)

    @property
    def own(self) -> set[IPv4Address]:
        return self.idle | self.promised | self.cooling

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence

    def lowest_unsettled(self, sequence: int) -> int:
        asking = [it.sequence for it in self.attachments.values() if it.phase is Phase.ASKING]
        return min([sequence, *asking])

    def live(self) -> list[Attachment]:
        return [
            each
            for each in self.attachments.values()
            if each.phase is Phase.BOUND and not each.is_ended
        ]


@dataclass(frozen=True, slots=True)
class Message:
    """A question on its way; it may arrive any number of times."""

    node: NodeName
    incarnation: Incarnation
    sequence: int
    lowest: int
    key: AttachmentKey | None = None  # None: a report, which only settles
    claim: Claim | None = None  # an acquire
    release: tuple[Identity, Generation] | None = None
    dying: tuple[AttachmentKey, ...] = ()  # a report: whose questions it makes end for good
    withdrawn: tuple[IPv4Address, ...] = ()  # and what they would give back


@dataclass(slots=True)
class Books:
    """Everything outside the store: the cloud, the agents, the eni_manager and the journal."""

    agents: dict[NodeName, Agent] = field(default_factory=dict)
    assigned: dict[IPv4Address, NodeName] = field(default_factory=dict)  # at the cloud
    taken_back: set[IPv4Address] = field(default_factory=set)  # the eni_manager's
    quarantined: set[IPv4Address] = field(default_factory=set)
    journal: dict[Identity, Lease | None] = field(default_factory=dict)  # None: a tombstone
    ranks: dict[Identity, Generation] = field(default_factory=dict)
    acknowledged: dict[Identity, Lease] = field(default_factory=dict)
    row: list[Message] = field(default_factory=list)

    def write_journal(self, lease: Lease) -> None:
        """Compare-and-set: an older step changes nothing."""
        if lease.generation > self.ranks.get(lease.identity, Generation(0)):
            self.journal[lease.identity] = lease
            self.ranks[lease.identity] = lease.generation

    def bury(self, lease: Lease) -> None:
        if lease.generation >= self.ranks.get(lease.identity, Generation(0)):
            self.journal[lease.identity] = None
            self.ranks[lease.identity] = lease.generation
            self.acknowledged.pop(lease.identity, None)

    def acknowledge(self, lease: Lease) -> None:
        """Somebody was told. From here on it is promised: P2 and P4."""
        before = self.acknowledged.get(lease.identity)
        if before is None or lease.generation >= before.generation:
            self.acknowledged[lease.identity] = lease

    def problems(self, leases: dict[Identity, Lease]) -> list[str]:
        """What of P1, P2, P3 and P4 is broken now; empty when nothing is."""
        return [
            *self.problems_between_agents(),
            *self._unconserved(leases),
            *self._broken_promises(leases),
        ]

    def problems_between_agents(self) -> list[str]:
        """An address under pods of two; for this no store need be open."""
        holders: dict[IPv4Address, set[tuple[NodeName, PodUid]]] = {}
        for agent in self.agents.values():
            for each in agent.live():
                assert each.address is not None, "a bound attachment has an address"
                holders.setdefault(each.address, set()).add((agent.node, each.uid))
        return [f"{it} has {found}" for it, found in holders.items() if len(found) > 1]

    def _unconserved(self, leases: dict[Identity, Lease]) -> list[str]:
        leased = {it.address for it in leases.values() if it.state in HELD_BY_A_LEASE}
        ending = {it.address for it in leases.values() if it.state is AddressState.EXPIRED}
        stock = set().union(*(agent.idle | agent.cooling for agent in self.agents.values()))
        promised = set().union(*(agent.promised for agent in self.agents.values()))
        kept = ending | self.taken_back | self.quarantined
        found = stock | promised | leased | kept
        problems = []
        if found != set(self.assigned):
            problems.append(
                f"lost {set(self.assigned) - found}, from nowhere {found - set(self.assigned)}"
            )
        # A promise is in doubt until it is answered: only there two books may name one address.
        for one, other in ((stock, promised), (stock, leased), (stock, kept), (leased, kept)):
            if one & other:
                problems.append(f"{one & other} have two owners")
        for agent in self.agents.values():
            strays = {it for it in agent.own if self.assigned.get(it) != agent.node}
            if strays:
                problems.append(f"{agent.node} has {strays}, which are elsewhere")
        return problems

    def _broken_promises(self, leases: dict[Identity, Lease]) -> list[str]:
        problems = []
        for identity, told in self.acknowledged.items():
            now, kept = leases.get(identity), self.journal.get(identity)
            if now is None or now.address != told.address:
                problems.append(f"{identity} was told {told.address}, has {now}")
            elif now.generation < told.generation:
                problems.append(f"{identity} went back to an older step")
            if kept is None or kept.generation < told.generation:
                problems.append(f"{identity} was told what is not journaled")
        return problems


def ask(
    agent: Agent, who: Identity, key: AttachmentKey, uid: PodUid, *, is_bare: bool = False
) -> Message | None:
    """A sandbox asks for its identity's address; None while an earlier one is unsettled."""
    mine = [it for it in agent.attachments.values() if it.identity == who]
    if any(it.phase is not Phase.BOUND for it in mine):
        return None
    candidate = min(agent.idle) if agent.idle and not is_bare else None
    attachment = Attachment(
        key=key,
        identity=who,
        uid=mine[0].uid if mine else uid,  # the pod's next sandbox
        phase=Phase.ASKING,
        sequence=agent.next_sequence(),
        candidate=candidate,
    )
    if candidate is not None:
        agent.idle.remove(candidate)
        agent.promised.add(candidate)
    agent.attachments[key] = attachment
    return acquire_message(agent, attachment)


def end(attachment: Attachment) -> None:
    """Its pod is gone: what is bound is to be released, what is asked is awaited first."""
    attachment.is_ended = True
    if attachment.phase is Phase.BOUND:
        attachment.phase = Phase.RELEASING


def say(agent: Agent, each: Attachment | None) -> Message:
    """What is unsettled about an attachment, anew; a report where nothing is."""
    if each is not None and each.phase is Phase.ASKING:
        return acquire_message(agent, each)
    sequence = agent.next_sequence()
    lowest = agent.lowest_unsettled(sequence)
    if each is not None:
        assert each.generation is not None, "a bound attachment has a generation"
        return Message(
            node=agent.node,
            incarnation=agent.voice.incarnation,
            sequence=sequence,
            lowest=lowest,
            key=each.key,
            release=(each.identity, each.generation),
        )
    dying = [
        it
        for it in agent.attachments.values()
        if it.phase is Phase.REFUSED and it.sequence < lowest
    ]
    return Message(
        node=agent.node,
        incarnation=agent.voice.incarnation,
        sequence=sequence,
        lowest=lowest,
        dying=tuple(it.key for it in dying),
        withdrawn=tuple(it.candidate for it in dying if it.candidate is not None),
    )


def live_again(agent: Agent, incarnation: Incarnation) -> list[Message]:
    """Its next life: its book is as it was, its open questions are asked anew."""
    agent.voice, agent.sequence = NodeVoice(agent.node, incarnation), 0
    asked = []
    for each in list(agent.attachments.values()):
        if each.phase is Phase.REFUSED:  # that whole life is dead to the store
            each.sequence = 0
        elif each.phase is Phase.ASKING:
            each.sequence, each.is_ended = agent.next_sequence(), True
            asked.append(acquire_message(agent, each))
    return asked


def acquire_message(agent: Agent, each: Attachment) -> Message:
    """The question of an attachment: asked again it is the same, word for word."""
    lowest = agent.lowest_unsettled(each.sequence)
    candidate = each.candidate
    fence = replace(
        agent.voice.fence(), sequence=each.sequence, lowest_unsettled=min(lowest, each.sequence)
    )
    return Message(
        node=agent.node,
        incarnation=agent.voice.incarnation,
        sequence=each.sequence,
        lowest=fence.lowest_unsettled,
        key=each.key,
        claim=Claim(
            fence=fence,
            identity=each.identity,
            attachment=each.key,
            pod_uid=each.uid,
            expires_after=None,
            candidate=None
            if candidate is None
            else StockCandidate(
                address=candidate, eni=EniId(f"eni-{agent.node}"), subnet=SUBNET
            ),
        ),
    )


def hear_acquired(
    agent: Agent, message: Message, status: AcquireStatus, lease: Lease | None
) -> None:
    """The answer to a question that is still open; any other answer comes too late."""
    each = agent.attachments.get(message.key) if message.key is not None else None
    is_open = each is not None and each.phase is Phase.ASKING
    if each is None or not is_open or each.sequence != message.sequence:
        return
    if status not in GRANTED or lease is None:
        each.phase = Phase.REFUSED
        return
    for older in list(agent.attachments.values()):
        if older.address == lease.address and older.key != each.key:
            del agent.attachments[older.key]  # the pod's former sandbox
    if each.candidate is not None:
        agent.promised.discard(each.candidate)
        if each.candidate != lease.address:
            agent.idle.add(each.candidate)
    agent.idle.discard(lease.address)
    each.phase = Phase.RELEASING if each.is_ended else Phase.BOUND
    each.address, each.generation = lease.address, lease.release_generation


def hear_released(agent: Agent, message: Message, status: RetainStatus) -> None:
    """Every answer to a release is definite: the attachment is settled."""
    each = agent.attachments.get(message.key) if message.key is not None else None
    if each is None or each.phase is not Phase.RELEASING or message.release is None:
        return
    if each.generation == message.release[1]:
        del agent.attachments[each.key]


def hear_reported(agent: Agent, message: Message, leased: Collection[IPv4Address]) -> None:
    """The store knows the report's low-water mark: what it named as dying acts no more. A
    candidate that is a lease's by now is not the node's any more."""
    for key in message.dying:
        each = agent.attachments.get(key)
        if each is None or each.phase is not Phase.REFUSED:
            continue
        if each.candidate is not None:
            agent.promised.discard(each.candidate)
            if each.candidate not in leased:
                agent.idle.add(each.candidate)
        del agent.attachments[key]
