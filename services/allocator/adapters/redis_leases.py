"""Implements LeaseStore and EpochStore on Redis: one script a step, one flush for many steps.

Here are the steps that agents ask for; `redis_ends` has those that end a lease, `redis_epochs`
the recovery, `redis_formats` the way back to an older release, `redis_books` the keys.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from services.allocator.domain.leases import (
    NOMINATION_KEPT,
    AcquireStatus,
    ArriveStatus,
    Claim,
    FencedBy,
    Pool,
    RetainStatus,
    Step,
    TakeOverStatus,
)
from services.allocator.domain.ports import ReportedView
from shared.ids import EniId, Generation, Identity, Incarnation, NodeName, encode_token
from shared.policies import LeasePolicy
from shared.store.lease_records import pack_attachment, pack_workload

from .lease_codec import decode_lease
from .redis_backups import RedisBackups
from .redis_books import read_step, stored_policy, text_of
from .redis_ends import RedisEnds
from .redis_epochs import RedisEpochs
from .redis_formats import RedisFormats


class RedisLeases(RedisEnds, RedisEpochs, RedisBackups, RedisFormats):
    """The leases of one cluster."""

    async def register(self, node: NodeName, *, last: Incarnation, nonce: str) -> Incarnation:
        reply = await self._step(
            "register",
            [self._epoch, self._mark(node), self._nodes],
            [encode_token(node), last, nonce],
            fence=None,
        )
        return Incarnation(int(reply[1]))

    async def acquire(self, claim: Claim) -> Step[AcquireStatus]:
        candidate = claim.candidate
        expires, named = claim.expires_after, claim.nomination
        reply = await self._step(
            "acquire",
            [
                self._epoch,
                self._mark(claim.fence.node),
                self._fixed,
                self._addresses,
                self._unjournaled,
                self._expiries,
            ],
            [
                *_fence(claim.fence),
                claim.identity.token,
                pack_attachment(str(claim.attachment), claim.identity),
                claim.pod_uid,
                claim.fence.node,
                *(
                    (str(candidate.address), candidate.eni, candidate.subnet)
                    if candidate is not None
                    else ("", "", "")
                ),
                round(expires.total_seconds()) if expires is not None else "",
                _pool(claim.pool) if claim.pool is not None else "",
                pack_workload(claim.workload.local) if claim.workload is not None else "",
                "1" if claim.is_exclusive else "0",
                stored_policy(claim.policy),
                *((str(named.address), named.subnet) if named is not None else ("", "")),
                round(NOMINATION_KEPT.total_seconds()),
            ],
            fence=claim.fence,
        )
        token, ended_token, ended = (bytes(part) for part in reply[3:])
        step = read_step(AcquireStatus, Identity.from_token(token.decode()), reply[:3])
        return replace(step, ended=decode_lease(ended_token, ended)) if ended else step

    async def arrive(
        self, identity: Identity, generation: Generation, node: NodeName, eni: EniId
    ) -> Step[ArriveStatus]:
        reply = await self._step(
            "arrive",
            [self._epoch, self._fixed, self._unjournaled, self._expiries, self._mark(node)],
            [identity.token, str(generation), node, eni],
            fence=None,
        )
        return read_step(ArriveStatus, identity, reply)

    async def parked(self, identity: Identity, generation: Generation) -> Step[ArriveStatus]:
        reply = await self._step(
            "parked",
            [self._epoch, self._fixed, self._unjournaled, self._expiries],
            [identity.token, str(generation)],
            fence=None,
        )
        return read_step(ArriveStatus, identity, reply)

    async def retain(
        self,
        fence: FencedBy,
        identity: Identity,
        attachment: str,
        generation: Generation,
        *,
        policy: LeasePolicy = LeasePolicy.NEVER,
    ) -> Step[RetainStatus]:
        reply = await self._step(
            "retain",
            [
                self._epoch,
                self._mark(fence.node),
                self._fixed,
                self._unjournaled,
                self._expiries,
            ],
            [
                *_fence(fence),
                identity.token,
                pack_attachment(attachment, identity),
                str(generation),
                stored_policy(policy),
            ],
            fence=fence,
        )
        return read_step(RetainStatus, identity, reply)

    async def take_over(
        self, identity: Identity, generation: Generation, claim: Claim
    ) -> Step[TakeOverStatus]:
        reply = await self._step(
            "take_over",
            [self._epoch, self._fixed, self._unjournaled, self._expiries],
            [
                identity.token,
                str(generation),
                claim.fence.node,
                claim.pod_uid if claim.pool is not None else "",
            ],
            fence=None,
        )
        return read_step(TakeOverStatus, identity, reply)

    async def report(
        self,
        fence: FencedBy,
        views: Sequence[ReportedView],
        gone: Sequence[IPv4Address],
        candidates: Sequence[IPv4Address] = (),
        *,
        is_whole: bool,
    ) -> list[IPv4Address]:
        pairs = [part for view in views for part in (str(view.address), view.body)]
        told = await self._step(
            "report",
            [
                self._epoch,
                self._mark(fence.node),
                self._reported(fence.node),
                self._addresses,
            ],
            [
                *_fence(fence),
                "1" if is_whole else "0",
                len(views),
                len(gone),
                *pairs,
                *(str(address) for address in (*gone, *candidates)),
            ],
            fence=fence,
        )
        return [IPv4Address(text_of(address)) for address in told[1:]]


def _fence(fence: FencedBy) -> tuple[int, int, int]:
    return fence.incarnation, fence.sequence, fence.lowest_unsettled


def _pool(pool: Pool) -> str:
    """As slots.lua reads it: what stands around a slot's number in its token."""
    first = Identity.of_slot(pool.workload, 0, pool.network).token
    before, mark, after = first.partition("%230")
    assert mark, "a slot's number follows the first '#' of its token"
    return json.dumps(
        {
            "p": before + "%23",
            "q": after,
            "n": pool.size,
            "s": dict.fromkeys(sorted(pool.subnets), True),
        }
    )
