"""ENIs of ours that no book knows: what leases name is kept, the rest goes; strangers stay.

An ENI is an orphan after two observations with a grace time between them, and goes after two
that show nothing on it which a lease names: one may miss what is there. Attached to an instance
that has a node, it is that node's observer's to take up; to any other, it is reported and left
alone. Once the cluster is disabled nobody is left to keep one for: there is no grace,
and those on instances without a node go too. One replica sweeps, under the term of a shard.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final

from services.eni_manager.domain.errands import Urgency, urgent
from services.eni_manager.domain.orphans import Found, Known, SweepMode, judge
from services.eni_manager.domain.ports import EniStore, UnclaimedBook
from services.eni_manager.domain.records import Unclaimed, UnclaimedEni
from services.eni_manager.eni_tags import TAG_CLUSTER, TAG_NODE, unclaimed
from services.eni_manager.kept_sweep import KeptSweep
from services.eni_manager.tools import Tools
from shared.cloud.errors import CloudNotFound
from shared.cloud.port import ADDRESSES_PER_CALL_MAX
from shared.cloud.words import Eni, EniState
from shared.errors import EpochLost
from shared.ids import EniId, InstanceId, NodeName
from shared.telemetry.metrics import ORPHANS

log = logging.getLogger(__name__)


_TOLD: Final = {Found.STRAY: Unclaimed.STRAY, Found.ORPHAN: Unclaimed.ORPHAN}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPolicy:
    mode: SweepMode
    grace_s: float  # between the first observation of an orphan and its end


class _Spell:
    """How long something has been so."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def has_lasted(self, grace_s: float, *, now_s: float, is_so: bool) -> bool:
        """Over two looks or more; asked at each."""
        before_s = self._since_s if is_so else None
        self._since_s = now_s if is_so and before_s is None else before_s
        return before_s is not None and now_s - before_s >= grace_s


@dataclass(slots=True)
class _Seen:
    """What looks showed of an orphan."""

    addresses: set[IPv4Address] = field(default_factory=set)
    is_orphan: _Spell = field(default_factory=_Spell)
    is_free: _Spell = field(default_factory=_Spell)  # of what leases name


class Sweeper:
    """`right` says whether this replica is the one that sweeps, and is asked at each call."""

    def __init__(
        self,
        store: EniStore,
        tools: Tools,
        policy: SweepPolicy,
        book: UnclaimedBook,
        right: Callable[[], Callable[[], None] | None],
    ) -> None:
        self._store = store
        self._tools = tools
        self._policy = policy
        self._book = book
        self._right = right
        self._kept = KeptSweep(tools)
        self._seen: dict[EniId, _Seen] = {}

    async def round(self) -> None:
        check = self._right()
        is_off = self._policy.mode is SweepMode.OFF or not self._tools.capacities.gives_back
        if is_off or check is None:
            self._seen.clear()
            if check is not None and await self._book.read():
                await self._book.write(())  # nobody looks any more
            return
        with urgent(Urgency.CLEAN_UP):
            await self._sweep(check)
            await self._kept.sweep(
                check,
                grace_s=self._grace_s(),
                is_dry_run=self._policy.mode is SweepMode.DRY_RUN,
            )

    async def _sweep(self, check: Callable[[], None]) -> None:
        # The cloud first, the books after it: an ENI is in a book, or its intent is, before
        # the cloud can show it.
        tags = {TAG_CLUSTER: self._tools.cluster}
        enis = await self._tools.call(check, lambda: self._tools.cloud.find_enis_tagged(tags))
        known = await self._known()
        judged = {each.eni: (each, judge(each, known)) for each in enis}
        counts = Counter(found for _, found in judged.values())
        for found in Found:
            ORPHANS.labels(found).set(counts[found])
        is_disabled = self._tools.record.is_disabled
        taken = {Found.ORPHAN, Found.STRAY} if is_disabled else {Found.ORPHAN}
        orphans = [each for each, found in judged.values() if found in taken]
        await self._tell(
            [unclaimed(each, _TOLD[found]) for each, found in judged.values() if found in _TOLD]
        )
        for each, found in judged.values():
            if found is Found.STRAY and not is_disabled:
                log.warning(
                    "ENI of ours is on an instance that has no node: left alone",
                    extra={"eni": each.eni, "instance": each.instance},
                )
        self._remember(
            orphans, {it.address: each.eni for each in enis for it in each.addresses}
        )
        try:
            leased = await self._tools.leases.leased_among(
                [it for seen in self._seen.values() for it in seen.addresses]
            )
        except EpochLost as error:
            log.info("leases cannot be asked", extra={"error": str(error)})
            return
        for each in orphans:
            await self._settle(check, each, self._seen[each.eni], leased)

    def _remember(self, orphans: Sequence[Eni], places: Mapping[IPv4Address, EniId]) -> None:
        """What an ENI was seen with is taken to be on it until another one is seen with it: a
        look may miss what is there, or show what was before."""
        before = self._seen
        self._seen = {}
        for each in orphans:
            seen = self._seen[each.eni] = before.get(each.eni) or _Seen()
            seen.addresses = {it for it in seen.addresses if places.get(it) in (None, each.eni)}
            seen.addresses |= {it.address for it in each.addresses}

    async def _settle(
        self,
        check: Callable[[], None],
        eni: Eni,
        seen: _Seen,
        leased: Collection[IPv4Address],
    ) -> None:
        is_held = any(each in leased for each in seen.addresses)
        now_s, grace_s = self._tools.clock.monotonic_s(), self._grace_s()
        is_free = seen.is_free.has_lasted(grace_s, now_s=now_s, is_so=not is_held)
        if not seen.is_orphan.has_lasted(grace_s, now_s=now_s, is_so=True):
            return
        idle = [it.address for it in eni.secondary if it.address not in leased]
        if self._policy.mode is SweepMode.DRY_RUN:
            self._tell_plan(eni, is_held=is_held, idle=len(idle))
        elif is_held:
            await self._free(check, eni, idle)
        elif is_free:
            await self._delete(check, eni)

    async def _known(self) -> Known:
        nodes = await self._store.load_nodes()
        images = [await self._store.load(node) for node in nodes]
        return Known(
            enis=frozenset(eni for image in images for eni in image.enis),
            intents=frozenset(each for image in images for each in image.intents),
            named=frozenset(
                each.eni
                for image in images
                for each in image.intents.values()
                if each.eni is not None
            ),
            instances=frozenset(node.instance for node in nodes),
        )

    def _grace_s(self) -> float:
        return 0.0 if self._tools.record.is_disabled else self._policy.grace_s

    async def _delete(self, check: Callable[[], None], eni: Eni) -> None:
        with suppress(CloudNotFound):
            if eni.instance is not None:
                await self._detach(check, eni.eni, eni.instance)
            await self._tools.call(check, lambda: self._tools.cloud.delete_eni(eni.eni))
        self._seen.pop(eni.eni, None)
        log.info("orphan deleted", extra={"eni": eni.eni})
        self._tools.events.eni("deleted", eni.eni, _node(eni), eni.subnet)

    async def _detach(
        self, check: Callable[[], None], eni: EniId, instance: InstanceId
    ) -> None:
        token = self._tools.new_id()
        await self._tools.call(
            check, lambda: self._tools.cloud.detach_eni(eni, instance, token=token)
        )
        await self._tools.follower.until(
            eni,
            lambda it: it is None or (it.instance is None and it.state is EniState.AVAILABLE),
            timeout_s=self._tools.limits.change_timeout_s,
        )

    async def _free(
        self, check: Callable[[], None], eni: Eni, idle: Sequence[IPv4Address]
    ) -> None:
        """What no lease names goes back to the subnet; the rest is held on this ENI."""
        for start in range(0, len(idle), ADDRESSES_PER_CALL_MAX):
            batch = idle[start : start + ADDRESSES_PER_CALL_MAX]
            await self._unassign(check, eni.eni, batch)

    async def _unassign(
        self, check: Callable[[], None], eni: EniId, batch: Sequence[IPv4Address]
    ) -> None:
        with suppress(CloudNotFound):
            await self._tools.call(check, lambda: self._tools.cloud.unassign(eni, batch))

    async def _tell(self, found: Sequence[UnclaimedEni]) -> None:
        """Each once, whichever replica leads."""
        before = await self._book.read()
        known = {(each.eni, each.found) for each in before}
        for each in found:
            if (each.eni, each.found) in known:
                continue
            log.warning("ENI of ours is in no book", extra={"eni": each.eni, "what": each.what})
            node = NodeName(each.node or "unknown")
            self._tools.events.eni(
                f"{each.found}_found", each.eni, node, each.subnet, each.what
            )
        if list(before) != list(found):
            await self._book.write(found)

    def _tell_plan(self, eni: Eni, *, is_held: bool, idle: int) -> None:
        log.warning(
            "orphan would be treated",
            extra={"eni": eni.eni, "delete": not is_held, "unassign": idle if is_held else 0},
        )


def _node(eni: Eni) -> NodeName:
    return NodeName(eni.tags.get(TAG_NODE, "unknown"))
