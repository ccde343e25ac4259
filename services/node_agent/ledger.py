"""The node's book as the use cases see it: every change is on disk before it is in memory.

So a crash at any point leaves a book that is true or a step ahead of the kernel, never behind:
what it says is used may be unused (and is undone at start), never the other way round.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address

from shared.addresses import AddressState
from shared.annotations import NetworkMode
from shared.errors import TryLater
from shared.ids import AttachmentKey, EniId, Incarnation, PodUid, SubnetId

from .domain.attachments import Attachment, AttachmentIndex, Claim, ClaimPhase, Phase
from .domain.devices import Capacity
from .domain.enis import Eni
from .domain.ports import Book, Cooling, KnownPod, NodeRecord, User
from .domain.stock import Holding, Stock
from .rebuilding import FIXED_PHASES, claim_of, holdings, open_book

log = logging.getLogger(__name__)

RECALLS_MAX = 256
_WITHOUT_LEASE = (AddressState.BOUND_IMMEDIATE, AddressState.COOLING)


class Ledger:
    """Stock, attachments and claims of one node, and the book they are kept in."""

    def __init__(self, book: Book, now: datetime) -> None:
        self._book = book
        saved = open_book(book, now)
        self.node: NodeRecord = saved.node
        self._saved_node = saved.node
        self.capacity = saved.node.capacity
        self.claims: dict[AttachmentKey, Claim] = {c.key: c for c in saved.claims}
        self.attachments = AttachmentIndex(saved.attachments)
        self.pods: dict[PodUid, KnownPod] = {pod.uid: pod for pod in saved.pods}
        self.users: dict[IPv4Address, User] = {}
        self.stock = Stock(holdings(saved, now))
        for cooling in saved.cooling:
            self.users[cooling.holding.address] = cooling.user
        for attachment in saved.attachments:
            self.users[attachment.address] = _user(attachment)
        self.unreported: set[IPv4Address] = set()
        self.gone: set[IPv4Address] = set()
        self._is_run_lost = saved.is_run_lost

    @property
    def enis(self) -> dict[EniId, Eni]:
        return {eni.eni: eni for eni in self.node.enis}

    def open_keys(self) -> list[AttachmentKey]:
        """Of everything that a DEL would end."""
        known = [each.key for each in self.attachments]
        return list(dict.fromkeys([*known, *self.claims]))

    def states(self, mode: NetworkMode) -> Mapping[AddressState, int]:
        """How many addresses are in each state: those that share their ENI, or the others."""
        whole = self.exclusive_states()
        if mode is NetworkMode.EXCLUSIVE:
            return whole
        return {state: self.stock.count(state) - whole[state] for state in AddressState}

    def exclusive_states(self) -> Counter[AddressState]:
        """How many of the ENIs that one pod has, or may have, are in each state."""
        held = (
            self.stock.get(each.primary_address) for each in self.node.enis if each.is_exclusive
        )
        return Counter(each.state for each in held if each is not None)

    # Immediate pods

    def bind(self, attachment: Attachment, now: datetime) -> None:
        """Before the kernel: from here a crash is undone at the next start."""
        self._book.save_attachment(attachment)
        self.attachments.put(attachment)
        if attachment.generation is None:
            self.stock.bind(attachment.address, now)
            self.users[attachment.address] = _user(attachment)
            self.unreported.add(attachment.address)

    def wired(self, attachment: Attachment) -> Attachment:
        done = replace(attachment, phase=Phase.WIRED)
        self._book.save_attachment(done)
        self.attachments.put(done)
        return done

    def adopt(self, attachment: Attachment, now: datetime) -> None:
        """A wire that the kernel has and the book had lost: its address is in use."""
        address, held = attachment.address, self.stock.get(attachment.address)
        if held is not None and held.state is AddressState.COOLING:
            self.rest_early([address], now)
        if attachment.generation is None:
            self.stock.accept(address, attachment.eni, now)
            self.bind(attachment, now)
            return
        if attachment.key not in self.claims:
            claim = claim_of(attachment)
            self.stock.fix(address, attachment.eni, now)
            self.change_claim(claim)
        self._book.save_attachment(attachment)
        self.attachments.put(attachment)

    def make_whole(self, now: datetime) -> None:
        """After a lost folder's attachments are adopted: which addresses were resting in it
        is not known, so whatever is idle rests."""
        if self._is_run_lost:
            idle = [each for each in self.stock if each.state is AddressState.STOCK]
            log.warning("run folder lost: idle addresses rest", extra={"count": len(idle)})
            for held in idle:
                self.stock.bind(held.address, now)
                self._cool(held, User(pod=None, pod_uid=None, network=""), now)
        self._book.note_whole()

    def close(self, attachment: Attachment, now: datetime) -> None:
        """After the kernel: the attachment is unwired, and an Immediate address cools."""
        held = self.stock.get(attachment.address)
        if attachment.generation is None and held is not None:
            self._cool(held, _user(attachment), now)
        self._book.remove_attachment(attachment.key)
        self.attachments.remove(attachment.key)

    def _cool(self, held: Holding, user: User, now: datetime) -> None:
        rests = replace(held, state=AddressState.COOLING, since=now)
        self._book.save_cooling(Cooling(holding=rests, user=user))
        self.stock.cool(held.address, now)
        self.users[held.address] = user
        self.unreported.add(held.address)

    def rest(self, now: datetime, cooling: timedelta) -> int:
        """What cooled long enough is stock again; returns how many."""
        rested = self.stock.rest(now, cooling)
        for holding in rested:
            self._rested(holding.address)
        return len(rested)

    def rest_early(self, addresses: Iterable[IPv4Address], now: datetime) -> None:
        """Their connections are forgotten: they are stock again before their time."""
        for address in addresses:
            self.stock.rest_early(address, now)
            self._rested(address)

    def _rested(self, address: IPv4Address) -> None:
        self._book.remove_cooling(address)
        self.users.pop(address, None)
        self.unreported.add(address)

    # fixed leases

    def open_claim(self, claim: Claim, now: datetime) -> None:
        """Before the question is sent: its candidate is neither stock nor recallable."""
        self._book.save_claim(claim)
        self.claims[claim.key] = claim
        if claim.candidate is not None:
            self.stock.promise(claim.candidate.address, now)
            self.unreported.discard(claim.candidate.address)

    def idle(self, address: IPv4Address) -> Holding | None:
        held = self.stock.get(address)
        return held if held is not None and held.state is AddressState.STOCK else None

    def used_of(self, claim: Claim) -> Holding | None:
        """The address that its pod nominates, if a pod without a lease has it here, or had."""
        held = None if claim.nominated is None else self.stock.get(claim.nominated)
        return held if held is not None and held.state in _WITHOUT_LEASE else None

    def change_claim(self, claim: Claim) -> Claim:
        self._book.save_claim(claim)
        self.claims[claim.key] = claim
        return claim

    def fix(self, claim: Claim, *, is_candidate_taken: bool, now: datetime) -> None:
        """The definite answer: `claim` names the address; a candidate not taken goes back."""
        assert claim.address is not None, "a fixed claim names its address"
        assert claim.eni is not None, "a fixed claim names its ENI"
        self.stock.fix(claim.address, claim.eni, now)
        self.change_claim(claim)
        self.unreported.discard(claim.address)
        self.gone.add(claim.address)  # from the reports of Immediate addresses
        for older in self._others_on(claim):
            self._forget(older)  # the pod's former sandbox: the lease went to this one
        if claim.candidate is not None and not is_candidate_taken:
            self.withdraw(claim.candidate.address, now)
        if claim.nominated is not None and claim.nominated != claim.address:
            self.withdraw(claim.nominated, now)

    def is_superseded(self, claim: Claim) -> bool:
        """Whether a later sandbox of its pod has the lease: answers come in any order."""
        assert claim.generation is not None, "a fixed claim names its generation"
        return any((it.generation or 0) > claim.generation for it in self._others_on(claim))

    def _others_on(self, claim: Claim) -> list[Claim]:
        return [
            other
            for other in self.claims.values()
            if other.address == claim.address and other.key != claim.key
        ]

    def withdraw(self, candidate: IPv4Address, now: datetime) -> None:
        held = self.stock.get(candidate)
        if held is not None and held.state is AddressState.PROMISED:
            self.stock.withdraw(candidate, now)
            self.unreported.add(candidate)

    def lose_candidate(self, candidate: IPv4Address) -> None:
        """It became a lease that this node does not hold."""
        held = self.stock.get(candidate)
        if held is not None and held.state is AddressState.PROMISED:
            self.evict(candidate)

    def drop_claim(self, claim: Claim, now: datetime) -> None:
        """Refused for good, and no copy of the question can act any more."""
        if claim.candidate is not None:
            self.withdraw(claim.candidate.address, now)
        if claim.nominated is not None:
            self.withdraw(claim.nominated, now)
        self._forget(claim)

    def released(self, claim: Claim) -> None:
        """The allocator knows that the pod is gone: the address is no more the node's."""
        assert claim.address is not None, "only a bound claim is released"
        held = self.stock.get(claim.address)
        heirs = [c for c in self.claims.values() if c.address == claim.address]
        if heirs == [claim] and held is not None and held.state is AddressState.BOUND_FIXED:
            # Before the claim goes: else a crash would find the candidate owned again.
            if any(address == claim.address for address, _ in self.node.owned):
                owned = tuple(each for each in self.node.owned if each[0] != claim.address)
                self.save_node(replace(self.node, owned=owned))
            self.stock.retain(claim.address)
        self._forget(claim)

    def claim_on(self, address: IPv4Address) -> Claim | None:
        """Whose fixed lease, or whose candidate, an address is."""
        for claim in self.claims.values():
            if claim.address == address or (
                claim.address is None
                and claim.candidate is not None
                and claim.candidate.address == address
            ):
                return claim
        return None

    def has_unsettled_before(self, claim: Claim) -> bool:
        """Whether an earlier attachment of this identity is not settled with the allocator:
        asked together, the lease could end up with the one that has ended."""
        return any(
            earlier.identity == claim.identity
            and earlier.phase is not ClaimPhase.BOUND
            and (earlier.since, str(earlier.key)) < (claim.since, str(claim.key))
            for earlier in self.claims.values()
        )

    def _forget(self, claim: Claim) -> None:
        self._book.remove_claim(claim.key)
        self.claims.pop(claim.key, None)

    # orders

    def save_node(self, record: NodeRecord) -> None:
        self._book.save_node(record)
        self.node = self._saved_node = record

    def learn_capacity(self, capacity: Capacity) -> None:
        """What kubelet is shown: the maxima also after a restart with the bus away."""
        self.capacity = capacity
        kept = capacity.with_nothing_free()
        if self.node.capacity != kept:
            self.save_node(replace(self.node, capacity=kept))

    def registered(self, incarnation: Incarnation) -> None:
        self.save_node(replace(self.node, incarnation=incarnation))

    def obey(self, term: int, sequence: int) -> None:
        """Note an order's place in the row; saved with what the order changes."""
        self.node = replace(self.node, term=term, sequence=sequence)

    def accept(
        self,
        enis: Iterable[Eni],
        addresses: Iterable[tuple[IPv4Address, EniId]],
        now: datetime,
    ) -> tuple[list[IPv4Address], list[IPv4Address]]:
        """Own what is offered, durably, before it is said. Returns accepted and refused."""
        known = {eni.eni: eni for eni in enis}
        accepted: list[tuple[IPv4Address, EniId]] = []
        refused: list[tuple[IPv4Address, EniId]] = []
        for address, eni in addresses:
            held = self.stock.get(address)
            is_ours = eni in known and (
                held is None or (held.state is not AddressState.BOUND_FIXED and held.eni == eni)
            )
            (accepted if is_ours else refused).append((address, eni))
        owned = dict(self.node.owned) | dict(accepted)
        record = replace(self.node, enis=tuple(known.values()), owned=tuple(owned.items()))
        if record != self._saved_node:
            self.save_node(record)
        for address, eni in accepted:
            if self.stock.get(address) is None:
                self.unreported.add(address)
                self.gone.discard(address)
            self.stock.accept(address, eni, now)
            if self.idle(address) is not None and self._is_nominated(address):
                self.stock.promise(address, now)  # its question is on the way: for nobody else
                self.unreported.discard(address)
        return [address for address, _ in accepted], [address for address, _ in refused]

    def recall(
        self,
        recall: str,
        count: int,
        eni: EniId | None,
        settled: Iterable[str],
        now: datetime,
        *,
        is_exclusive: bool = False,
    ) -> tuple[tuple[IPv4Address, EniId], ...]:
        """Strike idle addresses off; the answer is kept until it is settled."""
        answers = {key: kept for key, kept in self.node.recalls.items() if key not in settled}
        if recall in answers:
            return answers[recall]
        if len(answers) >= RECALLS_MAX:
            raise TryLater(f"{len(answers)} recalls are unsettled; settle some first")
        others = {each.eni for each in self.node.enis if each.is_exclusive != is_exclusive}
        struck = self.stock.recall(count, eni, now, besides=others)
        answers[recall] = tuple((holding.address, holding.eni) for holding in struck)
        gone = {holding.address for holding in struck}
        owned = tuple(each for each in self.node.owned if each[0] not in gone)
        try:
            self.save_node(replace(self.node, owned=owned, recalls=answers))
        except TryLater:
            for holding in struck:  # not on disk: still ours
                self.stock.accept(holding.address, holding.eni, now)
            raise
        self.gone |= gone
        self.unreported -= gone
        return answers[recall]

    def _is_nominated(self, address: IPv4Address) -> bool:
        return any(
            claim.nominated == address and claim.phase not in FIXED_PHASES
            for claim in self.claims.values()
        )

    def evict(self, address: IPv4Address) -> None:
        """The cloud moved it away, and whoever used it is unwired: struck off."""
        owned = tuple(each for each in self.node.owned if each[0] != address)
        self.save_node(replace(self.node, owned=owned))
        self.stock.evict(address)
        self._book.remove_cooling(address)
        self.users.pop(address, None)
        self.gone.add(address)
        self.unreported.discard(address)

    def strike_lost(self, address: IPv4Address) -> bool:
        """The cloud has it no more: whether it was free, and is struck off. A pod that has it
        keeps it to its end: to take it away would mend nothing."""
        held = self.stock.get(address)
        is_free = held is not None and held.state in (AddressState.STOCK, AddressState.COOLING)
        if is_free:
            self.evict(address)
        return is_free

    def know_pod(self, pod: KnownPod) -> None:
        if self.pods.get(pod.uid) != pod:
            self._book.save_pod(pod)
            self.pods[pod.uid] = pod

    def forget_pod(self, uid: PodUid) -> None:
        if self.pods.pop(uid, None) is not None:
            self._book.remove_pod(uid)

    def choose(
        self, usable: Container[EniId], subnets: Container[SubnetId] = ()
    ) -> Holding | None:
        """The next idle address; of a pod that names subnets, one of those."""
        return self.stock.choose(self._of(usable, subnets) if subnets else usable)

    def idle_in(self, usable: Container[EniId], subnets: Container[SubnetId]) -> int:
        return self.stock.idle(self._of(usable, subnets))

    def _of(self, usable: Container[EniId], subnets: Container[SubnetId]) -> frozenset[EniId]:
        enis = (each for each in self.node.enis if each.subnet in subnets)
        return frozenset(each.eni for each in enis if each.eni in usable)


def _user(attachment: Attachment) -> User:
    return User(pod=attachment.pod, pod_uid=attachment.pod_uid, network=attachment.key.network)
