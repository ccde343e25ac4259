"""What ends a lease whose pod went: its span, its workload, and never a guess."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest

from services.allocator.domain.leases import Lease
from services.allocator.domain.retention import (
    Presence,
    Sights,
    Verdict,
    WorkloadSight,
    judge,
    questions_of,
)
from shared.addresses import AddressState
from shared.ids import EniId, Generation, Identity, NodeName, PodName, SubnetId, WorkloadName
from shared.policies import LeasePolicy

WENT = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = timedelta(minutes=5)
WEB = WorkloadName("shop", "StatefulSet", "web")
API = WorkloadName("shop", "Deployment", "api")
POD = PodName("shop", "web-2")
IS, IS_NOT, WHO_KNOWS = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN


def lease(
    policy: LeasePolicy,
    *,
    span: timedelta | None = None,
    identity: Identity | None = None,
    workload: str | None = WEB.local,
) -> Lease:
    return Lease(
        identity=identity or Identity("shop", "web-2", "berth"),
        address=IPv4Address("10.0.0.9"),
        state=AddressState.RETAINED,
        generation=Generation(1),
        subnet=SubnetId("subnet-a"),
        node=NodeName("node-1"),
        eni=EniId("eni-1"),
        moving_to=None,
        pod_uid=None,
        attachment=None,
        since=WENT,
        expires_after=span,
        policy=policy,
        workload=workload,
    )


def verdict(
    found: Lease,
    *,
    pod: Presence = IS_NOT,
    workload: Presence = IS,
    ordinals: range | None = range(3),
    pods_max: int | None = 3,
    by: datetime = WENT + SPAN,
) -> Verdict:
    sight = WorkloadSight(presence=workload, ordinals=ordinals, pods_max=pods_max)
    sights = Sights(pods={POD: pod}, workloads={WEB: sight, API: sight})
    return judge(found, by, sights).verdict


@pytest.mark.parametrize(
    ("pod", "expected"),
    [(IS_NOT, Verdict.EXPIRE), (IS, Verdict.KEEP), (WHO_KNOWS, Verdict.UNKNOWN)],
)
def test_a_span_that_is_over_ends_it_only_when_no_pod_of_the_name_exists(
    pod: Presence, expected: Verdict
) -> None:
    assert verdict(lease(LeasePolicy.NEVER, span=SPAN), pod=pod) is expected


def test_immediate_ends_with_its_pod_whoever_comes_next() -> None:
    ends = lease(LeasePolicy.IMMEDIATE, span=timedelta(0))

    assert verdict(ends, pod=IS) is Verdict.EXPIRE
    assert questions_of([ends], WENT) == (set(), set())


def test_never_asks_no_workload_and_is_kept() -> None:
    kept = lease(LeasePolicy.NEVER)

    assert verdict(kept, workload=IS_NOT) is Verdict.KEEP
    assert questions_of([kept], WENT) == ({POD}, set())


@pytest.mark.parametrize("policy", [LeasePolicy.CASCADE, LeasePolicy.SCALE_DOWN])
@pytest.mark.parametrize(
    ("pod", "workload", "expected"),
    [
        (IS_NOT, IS, Verdict.KEEP),
        (IS_NOT, IS_NOT, Verdict.END),
        (IS_NOT, WHO_KNOWS, Verdict.UNKNOWN),
        (IS, IS_NOT, Verdict.KEEP),
        (WHO_KNOWS, IS_NOT, Verdict.UNKNOWN),
    ],
)
def test_a_workloads_end_ends_it_once_the_pod_is_gone_too(
    policy: LeasePolicy, pod: Presence, workload: Presence, expected: Verdict
) -> None:
    assert verdict(lease(policy), pod=pod, workload=workload) is expected


@pytest.mark.parametrize(
    ("policy", "ordinals", "expected"),
    [
        (LeasePolicy.SCALE_DOWN, range(2), Verdict.END),
        (LeasePolicy.SCALE_DOWN, range(3), Verdict.KEEP),
        (LeasePolicy.SCALE_DOWN, range(3, 5), Verdict.END),
        (LeasePolicy.SCALE_DOWN, None, Verdict.KEEP),
        (LeasePolicy.CASCADE, range(2), Verdict.KEEP),
    ],
)
def test_scaling_below_the_ordinal_ends_it(
    policy: LeasePolicy, ordinals: range | None, expected: Verdict
) -> None:
    assert verdict(lease(policy), ordinals=ordinals) is expected


@pytest.mark.parametrize(("number", "expected"), [(2, Verdict.KEEP), (3, Verdict.END)])
def test_a_slot_ends_when_there_may_no_longer_be_so_many_pods(
    number: int, expected: Verdict
) -> None:
    slot = lease(
        LeasePolicy.SCALE_DOWN, identity=Identity.of_slot(API, number, "berth"), workload=None
    )

    assert verdict(slot, pods_max=3) is expected
    assert questions_of([slot], WENT) == (set(), {API})


def test_a_pod_that_nobody_owns_follows_no_workload() -> None:
    assert verdict(lease(LeasePolicy.CASCADE, workload=None), workload=IS_NOT) is Verdict.KEEP
