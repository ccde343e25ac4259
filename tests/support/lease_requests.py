"""What a node's agent asks of a store of leases, with the noise left out."""

from __future__ import annotations

import itertools
from datetime import timedelta
from ipaddress import IPv4Address

from services.allocator.domain.leases import (
    Claim,
    FencedBy,
    Nomination,
    Pool,
    StockCandidate,
)
from shared.ids import (
    AttachmentKey,
    EniId,
    Identity,
    Incarnation,
    NodeName,
    PodUid,
    SubnetId,
    WorkloadName,
)
from shared.policies import LeasePolicy

SUBNET = SubnetId("subnet-a")


def identity(pod: str) -> Identity:
    return Identity("default", pod, "berth")


def attachment(sandbox: str) -> AttachmentKey:
    return AttachmentKey("berth", sandbox, "eth0")


class NodeVoice:
    """One life of a node's agent: its incarnation, and the next sequence."""

    def __init__(self, node: str, incarnation: Incarnation) -> None:
        self.node = NodeName(node)
        self.incarnation = incarnation
        self._sequence = itertools.count(1)

    def fence(self, *, lowest_unsettled: int | None = None) -> FencedBy:
        sequence = next(self._sequence)
        return FencedBy(
            node=self.node,
            incarnation=self.incarnation,
            sequence=sequence,
            lowest_unsettled=sequence if lowest_unsettled is None else lowest_unsettled,
        )

    def claim(
        self,
        pod: str,
        *,
        candidate: str | None = None,
        uid: str = "uid-1",
        sandbox: str = "s1",
        expires_after: timedelta | None = None,
        fence: FencedBy | None = None,
        made_by: WorkloadName | None = None,
        pool_of: WorkloadName | None = None,
        size: int = 1,
        subnets: frozenset[SubnetId] = frozenset({SUBNET}),
        is_exclusive: bool = False,
        nominated: str | None = None,
        policy: LeasePolicy = LeasePolicy.NEVER,
    ) -> Claim:
        return Claim(
            fence=fence or self.fence(),
            identity=identity(pod),
            attachment=attachment(sandbox),
            pod_uid=PodUid(uid),
            expires_after=expires_after,
            candidate=None
            if candidate is None
            else StockCandidate(
                address=IPv4Address(candidate), eni=EniId(f"eni-{self.node}"), subnet=SUBNET
            ),
            workload=made_by or pool_of,
            pool=None
            if pool_of is None
            else Pool(workload=pool_of, network="berth", size=size, subnets=subnets),
            is_exclusive=is_exclusive,
            policy=policy,
            nomination=None
            if nominated is None
            else Nomination(address=IPv4Address(nominated), subnet=SUBNET),
        )
