"""ADD, DEL, CHECK, STATUS and GC: the runtime's verbs against stock, claims and kernel.

Order of every ADD: book before kernel, kernel before reply; what fails is undone. Order of
every DEL: kernel before book, so that an address rests only once nothing answers for it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import Final

from shared.annotations import DeletePolicy, NetworkMode, check_nomination
from shared.clock import Clock
from shared.errors import (
    BerthError,
    Busy,
    LeaseInUse,
    NotFound,
    PodUnknown,
    StockEmpty,
    Unavailable,
)
from shared.ids import AttachmentKey, EniId, Identity

from .bus import Signals
from .domain.attachments import (
    Attachment,
    Claim,
    ClaimPhase,
    Phase,
    host_ifname,
)
from .domain.ports import Kernel, KnownPod, PodSource, Randomness
from .domain.requests import POD_GATEWAY, Add, Check, PodsCutOff, SecondLink, Wired
from .domain.wiring import MAC_PREFIX
from .failures import Failures, Wish
from .fixed import FixedLeases
from .ledger import Ledger
from .links import NodeLinks
from .unlinking import Unlinker

log = logging.getLogger(__name__)

_ANSWER_S: Final = 0.2  # kept back of a deadline, so that the refusal still arrives
_ANY: Final = Wish(mode=NetworkMode.SHARED)
_ASK_AGAIN_S: Final = 1.0  # whether what a choosy pod waits for can come at all


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """An ADD under way; a DEL of its key ends it at its next step."""

    is_deleted: bool = False
    wish: Wish = _ANY


class NodeAgent:
    """The use cases of one node."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        kernel: Kernel,
        links: NodeLinks,
        pods: PodSource,
        fixed: FixedLeases,
        failures: Failures,
        unlinker: Unlinker,
        clock: Clock,
        rng: Randomness,
        signals: Signals,
        tells_exhausted: bool = False,
    ) -> None:
        self._ledger = ledger
        self._kernel = kernel
        self._links = links
        self._pods = pods
        self._fixed = fixed
        self._failures = failures
        self._unlinker = unlinker
        self._clock = clock
        self._rng = rng
        self._signals = signals
        self._tells_exhausted = tells_exhausted
        self._attempts: dict[AttachmentKey, _Attempt] = {}

    async def add(self, request: Add) -> Wired:
        """Allocate and wire. The same key again: the same answer, the kernel looked at."""
        with self._attempt(request.key) as attempt:
            try:
                wired = await self._add(request, attempt)
            except BerthError as error:
                if request.pod is not None:
                    self._failures.note(request.pod, request.key.network, error, attempt.wish)
                raise
        if request.pod is not None:
            self._failures.forget(request.pod, request.key.network)
        return wired

    async def delete(self, key: AttachmentKey) -> None:
        """Unwire and give back. Unknown, repeated and late keys succeed."""
        attempt = self._attempts.get(key)
        if attempt is not None:
            attempt.is_deleted = True
            self._signals.stock_changed.give()
        attachment = self._ledger.attachments.get(key)
        if attachment is not None:
            self._take_down(attachment)
            if attachment.pod_uid is not None:
                self._ledger.forget_pod(attachment.pod_uid)
            await self._links.wait_back(attachment)
        claim = self._ledger.claims.get(key)
        if claim is not None:
            self._fixed.abandon(claim)

    async def check(self, request: Check) -> None:
        """Raise when link, address, route, rule or lease is missing or wrong."""
        attachment = self._ledger.attachments.get(request.key)
        if attachment is None:
            raise NotFound(f"{request.key}: this node has no such attachment")
        if request.address is not None and request.address != attachment.address:
            raise NotFound(
                f"{request.key}: has {attachment.address}, prevResult says {request.address}"
            )
        wrong = self._wrong(attachment, request.netns_fd)
        if wrong:
            raise NotFound(f"{request.key}: {'; '.join(wrong)}")

    async def status(self) -> None:
        """Raise when an ADD could not be served."""
        if not self._links.names and len(self._ledger.attachments):
            raise PodsCutOff(
                f"no ENI of this node carries pods: {len(self._ledger.attachments)} attachments"
                " have lost theirs"
            )
        if not self._links.names:
            raise Unavailable("no ENI of this node carries pods yet")
        if self._tells_exhausted and self._ledger.choose(self._links) is None:
            raise StockEmpty("no idle address on this node; more were asked for")

    def is_being_added(self, key: AttachmentKey) -> bool:
        return key in self._attempts

    async def collect(self, network: str, valid: frozenset[AttachmentKey]) -> None:
        """Unwire every attachment of this network that is not among the valid ones.

        One that cannot be unwired keeps no other from it; it is told at the end.
        """
        failed: list[str] = []
        for key in self._ledger.open_keys():
            if key.network != network or key in valid or self.is_being_added(key):
                continue
            try:
                await self.delete(key)
            except BerthError as error:
                failed.append(f"{key}: {error}")
        if failed:
            raise Unavailable(f"{len(failed)} not collected; the first is {failed[0]}")

    @contextmanager
    def _attempt(self, key: AttachmentKey) -> Iterator[_Attempt]:
        if key in self._attempts:
            raise Busy(f"{key}: an ADD of this attachment is under way")
        attempt = self._attempts[key] = _Attempt()
        try:
            yield attempt
        finally:
            del self._attempts[key]

    async def _add(self, request: Add, attempt: _Attempt) -> Wired:
        deadline = request.deadline - timedelta(seconds=_ANSWER_S)
        held = self._ledger.attachments.get(request.key)
        if held is not None:
            return self._again(held, request)
        pod = await self._find_pod(request)
        attempt.wish = _wish(request, pod)
        if pod is not None and _wants_lease(pod):
            attachment = await self._fixed_attachment(request, pod, attempt.wish, deadline)
        else:
            attachment = await self._immediate_attachment(request, pod, attempt, deadline)
        if attempt.is_deleted:  # the DEL has settled the claim; nothing else was made yet
            raise Busy(f"{request.key}: deleted while it was added")
        return self._wire(attachment, request.netns_fd)

    async def _find_pod(self, request: Add) -> KnownPod | None:
        if not request.is_pod_known:
            return None
        if request.pod is None:
            raise PodUnknown("the runtime names no pod, and the network asks for known pods")
        cached = self._ledger.pods.get(request.pod_uid) if request.pod_uid else None
        if cached is not None and cached.name == request.pod:
            return cached
        pod = await self._pods.find(request.pod, request.pod_uid)
        self._ledger.know_pod(pod)
        return pod

    async def _immediate_attachment(
        self, request: Add, pod: KnownPod | None, attempt: _Attempt, deadline: datetime
    ) -> Attachment:
        wish = attempt.wish
        usable = self._usable(wish.mode)
        with self._failures.wait(wish) as waiting:
            while (chosen := self._ledger.choose(usable, wish.subnets)) is None:
                waiting.begin()
                self._signals.want.set()
                left_s = (deadline - self._clock.now()).total_seconds()
                if left_s <= 0:
                    raise self._failures.no_address(wish)
                wait_s = min(left_s, _ASK_AGAIN_S) if wish.subnets else left_s
                await self._signals.stock_changed.wait(wait_s)
                if attempt.is_deleted:
                    raise Busy(f"{request.key}: deleted while it waited for an address")
        return self._attachment(request, pod, wish.mode, chosen.address, chosen.eni)

    async def _fixed_attachment(
        self, request: Add, pod: KnownPod, wish: Wish, deadline: datetime
    ) -> Attachment:
        mode = wish.mode
        identity = Identity(pod.name.namespace, pod.name.name, request.key.network)
        claim = await self._fixed.acquire(
            Claim(
                key=request.key,
                identity=identity,
                pod_uid=pod.uid,
                expires_after=pod.network.expires_after,
                phase=ClaimPhase.ACQUIRING,
                candidate=None,
                mode=mode,
                subnets=wish.subnets,
                since=self._clock.now(),
                workload=None if pod.owner is None else pod.owner.workload,
                pods_max=None if pod.owner is None else pod.owner.pods_max,
                policy=pod.network.policy,
                nominated=pod.network.nominated,
            ),
            deadline,
        )
        if claim.phase is not ClaimPhase.BOUND:
            raise Busy(f"{request.key}: deleted while its address was acquired")
        assert claim.address is not None, "a bound claim names its address"
        assert claim.eni is not None, "a bound claim names its ENI"
        link = await self._links.wait(claim.eni, deadline)
        if link.eni.is_exclusive is not (mode is NetworkMode.EXCLUSIVE):
            raise LeaseInUse(
                f"{request.key}: {claim.address} came on {claim.eni}, which is not an ENI for"
                f" {mode}"
            )
        attachment = self._attachment(request, pod, mode, claim.address, claim.eni)
        return replace(
            attachment,
            policy=DeletePolicy.NEVER,
            generation=claim.generation,
            identity=claim.identity,
        )

    def _usable(self, mode: NetworkMode) -> Container[EniId]:
        return self._links if mode is NetworkMode.SHARED else self._links.exclusive

    def _attachment(
        self,
        request: Add,
        pod: KnownPod | None,
        mode: NetworkMode,
        address: IPv4Address,
        eni: EniId,
    ) -> Attachment:
        """One from stock; of a fixed lease, what is not the lease's."""
        link = self._links.get(eni)
        assert link is not None, "only ENIs that are set up are used"
        is_whole = mode is NetworkMode.EXCLUSIVE
        mac = self._new_mac()
        return Attachment(
            key=request.key,
            pod=request.pod,
            pod_uid=request.pod_uid if pod is None else pod.uid,
            mode=mode,
            policy=DeletePolicy.IMMEDIATE,
            address=address,
            eni=eni,
            generation=None,
            host_ifname=host_ifname(request.key, request.pod, mode),
            host_mac=self._new_mac(),
            mac=link.eni.mac if is_whole else mac,
            mtu=link.mtu,
            netns_path=request.netns_path,
            netns_inode=os.fstat(request.netns_fd).st_ino,
            phase=Phase.WIRING,
            since=self._clock.now(),
            own_eni=self._links.own_eni(link, request.key.ifname, mac) if is_whole else None,
        )

    def _wire(self, attachment: Attachment, netns_fd: int) -> Wired:
        """From here to the answer nothing waits, so nothing can come in between."""
        older = self._ledger.attachments.of_link(attachment.host_ifname)
        if older is not None:  # the pod's former sandbox: the new one takes over
            self._take_down(older)
        self._ledger.bind(attachment, self._clock.now())
        self._signals.tell()
        try:
            self._make(attachment, netns_fd)
        except BerthError:
            self._take_down(attachment)
            claim = self._ledger.claims.get(attachment.key)
            if claim is not None:
                self._fixed.abandon(claim)
            raise
        return _answer(self._ledger.wired(attachment))

    def _again(self, held: Attachment, request: Add) -> Wired:
        """The key is known: what the kernel lacks is made anew, with the same answer."""
        if held.phase is not Phase.WIRED or self._wrong(held, request.netns_fd):
            self._links.unwire(held)
            inode = os.fstat(request.netns_fd).st_ino
            held = replace(held, netns_path=request.netns_path, netns_inode=inode)
            self._make(held, request.netns_fd)
            held = self._ledger.wired(held)
        return _answer(held)

    def _take_down(self, attachment: Attachment) -> None:
        """Kernel before book. The link itself may go later: nothing leads to it any more."""
        self._links.unwire(attachment)
        self._unlinker.later(attachment.host_ifname, attachment.host_mac)
        self._ledger.close(attachment, self._clock.now())
        self._signals.tell()

    def _make(self, attachment: Attachment, netns_fd: int) -> None:
        """The veth, and after it an ENI of the pod's own: its routes need both."""
        self._kernel.wire_pod(self._links.wire_of(attachment), netns_fd)
        if attachment.own_eni is not None:
            self._links.take_in(attachment, netns_fd)

    def _wrong(self, attachment: Attachment, netns_fd: int) -> tuple[str, ...]:
        wrong = self._kernel.check_pod(self._links.wire_of(attachment), netns_fd)
        if attachment.own_eni is None:
            return wrong
        return wrong + self._links.wrong_in_sandbox(attachment, netns_fd)

    def _new_mac(self) -> str:
        return MAC_PREFIX + self._rng.randbytes(4).hex(":")


def _wants_lease(pod: KnownPod) -> bool:
    """Whether its address is a lease's; others come from stock."""
    network = pod.network
    return network.policy is DeletePolicy.NEVER or network.nominated is not None


def _wish(request: Add, pod: KnownPod | None) -> Wish:
    """Raises InvalidInput where an ENI of its own is to have what the pod names."""
    mode = request.mode or (pod and pod.network.mode) or NetworkMode.SHARED
    if pod is None:
        return Wish(mode=mode)
    check_nomination(pod.network, mode)
    return Wish(mode=mode, subnets=pod.network.nominated_subnets)


def _answer(attachment: Attachment) -> Wired:
    own = attachment.own_eni
    return Wired(
        host_ifname=attachment.host_ifname,
        host_mac=attachment.host_mac,
        ifname=attachment.key.ifname,
        mac=attachment.mac,
        mtu=attachment.mtu,
        address=attachment.address,
        gateway=POD_GATEWAY if own is None else own.gateway,
        prefix_length=32 if own is None else own.subnet_cidr.prefixlen,
        second=None
        if own is None
        else SecondLink(ifname=own.veth_ifname, mac=own.veth_mac, mtu=attachment.mtu),
    )
