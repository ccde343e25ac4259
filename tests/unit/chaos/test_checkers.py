"""The checkers on hand-written histories: each wrong is seen, each right one passes."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from tests.chaos import checkers
from tests.chaos.books import AgentAttachment, AgentHolding, Books, CloudAddress, StoredLease
from tests.chaos.checkers import Violation
from tests.chaos.history import Fault, History, Operation, Outcome, Verb


def add(
    sandbox: str,
    address: str | None,
    *,
    began: float,
    ended: float | None = None,
    pod: str = "",
    node: str = "node-1",
    generation: int | None = None,
    outcome: Outcome = Outcome.OK,
    expires_after_s: float | None = None,
) -> Operation:
    return Operation(
        verb=Verb.ADD,
        workload="test",
        node=node,
        pod=pod,
        sandbox=sandbox,
        is_fixed=bool(pod),
        expires_after_s=expires_after_s,
        began_s=began,
        ended_s=began if ended is None else ended,
        outcome=outcome,
        address=address,
        generation=generation,
    )


def delete(sandbox: str, *, began: float, ended: float | None = None) -> Operation:
    return Operation(
        verb=Verb.DEL,
        workload="test",
        sandbox=sandbox,
        began_s=began,
        ended_s=began if ended is None else ended,
        outcome=Outcome.OK,
    )


def end(node: str, *, at: float) -> Operation:
    return Operation(
        verb=Verb.END, workload="test", node=node, began_s=at, ended_s=at, outcome=Outcome.OK
    )


def release(pod: str, *, at: float, outcome: Outcome = Outcome.OK) -> Operation:
    return Operation(
        verb=Verb.RELEASE, workload="test", pod=pod, began_s=at, ended_s=at, outcome=outcome
    )


def fault(*, began: float, ended: float, touched: int = 1) -> Fault:
    return Fault(nemesis="n", what="w", began_s=began, ended_s=ended, touched=touched)


def names(found: list[Violation]) -> list[str]:
    return [each.checker for each in found]


# P1


def test_two_holders_at_once_are_seen() -> None:
    history = History([add("a", "10.0.0.1", began=1), add("b", "10.0.0.1", began=2)])

    assert names(checkers.double_holders(history)) == ["P1 one holder"]


def test_a_second_holder_is_seen_behind_a_short_one() -> None:
    history = History(
        [
            add("a", "10.0.0.1", began=1),
            add("b", "10.0.0.1", began=2),
            delete("b", began=2.5),
            add("c", "10.0.0.1", began=3),
        ]
    )

    assert len(checkers.double_holders(history)) == 2


def test_one_holder_after_another_is_fine() -> None:
    history = History(
        [add("a", "10.0.0.1", began=1), delete("a", began=2), add("b", "10.0.0.1", began=3)]
    )

    assert checkers.double_holders(history) == []


def test_a_hold_ends_when_its_deletion_is_asked_for_and_not_before() -> None:
    history = History(
        [
            add("a", "10.0.0.1", began=1),
            add("b", "10.0.0.1", began=2, ended=3),
            delete("a", began=3.5, ended=4),
        ]
    )

    assert names(checkers.double_holders(history)) == ["P1 one holder"]


def test_a_pod_that_ended_with_its_node_holds_nothing() -> None:
    history = History(
        [
            add("a", "10.0.0.1", began=1, node="node-1"),
            end("node-1", at=2),
            add("b", "10.0.0.1", began=3, node="node-2"),
        ]
    )

    assert checkers.double_holders(history) == []


def test_the_end_of_a_node_says_nothing_of_others() -> None:
    history = History(
        [
            add("a", "10.0.0.1", began=1, node="node-1"),
            end("node-3", at=2),
            add("b", "10.0.0.1", began=3, node="node-2"),
        ]
    )

    assert len(checkers.double_holders(history)) == 1


def test_the_same_sandbox_asked_again_is_one_holder() -> None:
    history = History([add("a", "10.0.0.1", began=1), add("a", "10.0.0.1", began=2)])

    assert checkers.double_holders(history) == []


def test_an_add_without_an_answer_holds_nothing() -> None:
    history = History(
        [
            add("a", None, began=1, outcome=Outcome.INFO),
            add("b", "10.0.0.1", began=2),
        ]
    )

    assert checkers.double_holders(history) == []


# P2


def test_an_identity_that_changes_its_address_is_seen() -> None:
    history = History(
        [
            add("a", "10.0.0.1", began=1, pod="ns/db-0"),
            delete("a", began=2),
            add("b", "10.0.0.2", began=3, pod="ns/db-0"),
        ]
    )

    assert names(checkers.wandering_identities(history)) == ["P2 fixed is fixed"]


def test_an_identity_on_another_node_with_its_address_is_fine() -> None:
    history = History(
        [
            add("a", "10.0.0.1", began=1, pod="ns/db-0"),
            delete("a", began=2),
            add("b", "10.0.0.1", began=3, pod="ns/db-0", node="node-2"),
        ]
    )

    assert checkers.wandering_identities(history) == []


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.INFO])
def test_an_identity_whose_lease_may_have_been_released_may_change(outcome: Outcome) -> None:
    history = History(
        [
            add("a", "10.0.0.1", began=1, pod="ns/db-0"),
            release("ns/db-0", at=2, outcome=outcome),
            add("b", "10.0.0.2", began=3, pod="ns/db-0"),
        ]
    )

    assert checkers.wandering_identities(history) == []


@pytest.mark.parametrize(
    "excuse",
    [
        pytest.param(release("ns/db-1", at=2), id="of another identity"),
        pytest.param(release("ns/db-0", at=2, outcome=Outcome.FAIL), id="refused"),
        pytest.param(release("ns/db-0", at=0.5), id="too early"),
        pytest.param(release("ns/db-0", at=4), id="too late"),
    ],
)
def test_other_releases_are_no_excuse(excuse: Operation) -> None:
    history = History(
        [
            add("a", "10.0.0.1", began=1, pod="ns/db-0"),
            excuse,
            add("b", "10.0.0.2", began=3, pod="ns/db-0"),
        ]
    )

    assert len(checkers.wandering_identities(history)) == 1


@pytest.mark.parametrize(("back_at", "wrongs"), [(5.0, 1), (12.0, 0)])
def test_only_a_lease_that_has_expired_lets_its_identity_change(
    back_at: float, wrongs: int
) -> None:
    history = History(
        [
            add("a", "10.0.0.1", began=1, pod="ns/db-0", expires_after_s=10),
            delete("a", began=2),
            add("b", "10.0.0.2", began=back_at, pod="ns/db-0", expires_after_s=10),
        ]
    )

    assert len(checkers.wandering_identities(history)) == wrongs


def test_pods_of_no_fixed_address_may_have_any() -> None:
    history = History([add("a", "10.0.0.1", began=1), add("b", "10.0.0.2", began=2)])

    assert checkers.wandering_identities(history) == []


# P3


GOOD = Books(
    cloud={
        "10.0.0.1": CloudAddress(eni="eni-1", node="node-1"),
        "10.0.0.2": CloudAddress(eni="eni-1", node="node-1"),
        "10.0.0.3": CloudAddress(eni="eni-2", node=None),
        "10.0.0.4": CloudAddress(eni="eni-1", node="node-1"),
    },
    leases=(
        StoredLease(
            identity="ns/db-0",
            address="10.0.0.2",
            state="bound_fixed",
            node="node-1",
            eni="eni-1",
            generation=7,
        ),
        StoredLease(
            identity="ns/db-1",
            address="10.0.0.3",
            state="parked",
            node=None,
            eni="eni-2",
            generation=8,
        ),
    ),
    holdings=(
        ("10.0.0.1", AgentHolding(node="node-1", eni="eni-1", state="stock")),
        ("10.0.0.2", AgentHolding(node="node-1", eni="eni-1", state="bound_fixed")),
    ),
    attachments=(AgentAttachment(node="node-1", sandbox="a", address="10.0.0.2"),),
    held={"10.0.0.4": "quarantined: nobody knows it"},
    nodes=frozenset({"node-1"}),
)
LIFE = History([add("a", "10.0.0.2", began=1, pod="ns/db-0", generation=7)])


def test_books_that_agree_pass() -> None:
    assert checkers.of_books(LIFE, GOOD, now_s=9) == []


def test_an_address_that_nobody_owns_is_seen() -> None:
    leaked = replace(GOOD, held={})

    [found] = checkers.unowned_addresses(leaked)

    assert found.checker == "P3 no leak"
    assert "10.0.0.4 has 0 owners" in found.detail


def test_an_address_with_two_owners_is_seen() -> None:
    twice = replace(
        GOOD,
        holdings=(
            *GOOD.holdings,
            ("10.0.0.3", AgentHolding(node="node-1", eni="eni-2", state="stock")),
        ),
    )

    assert "10.0.0.3 has 2 owners" in checkers.unowned_addresses(twice)[0].detail


def test_an_address_that_the_cloud_has_not_is_seen() -> None:
    gone = replace(GOOD, cloud={k: v for k, v in GOOD.cloud.items() if k != "10.0.0.1"})

    assert "10.0.0.1" in checkers.unowned_addresses(gone)[0].detail


def test_a_reserved_address_of_a_lease_is_fine() -> None:
    cloud = {k: v for k, v in GOOD.cloud.items() if k != "10.0.0.3"}

    assert (
        checkers.unowned_addresses(replace(GOOD, cloud=cloud, reserved=frozenset({"10.0.0.3"})))
        == []
    )


def test_a_rule_of_the_cloud_that_is_broken_is_seen() -> None:
    assert len(checkers.unowned_addresses(replace(GOOD, broken_rules=("an ENI twice",)))) == 1


@pytest.mark.parametrize(
    "place",
    [CloudAddress(eni="eni-1", node="node-2"), CloudAddress(eni="eni-9", node="node-1")],
)
def test_an_address_that_is_elsewhere_at_the_cloud_is_seen(place: CloudAddress) -> None:
    elsewhere = replace(GOOD, cloud=GOOD.cloud | {"10.0.0.2": place})

    assert {each.checker for each in checkers.misplaced_addresses(elsewhere)} == {
        "P3 books agree"
    }


def test_work_that_does_not_end_is_seen() -> None:
    assert len(checkers.unfinished_work(replace(GOOD, unfinished=("node-1: assign",)))) == 1
    assert len(checkers.unfinished_work(replace(GOOD, wires=("node-1: a rule",)))) == 1


def test_a_pod_that_its_agent_has_lost_is_seen() -> None:
    found = checkers.lost_pods(LIFE, replace(GOOD, attachments=()))

    assert "runs, and its agent has it not" in found[0].detail


def test_a_pod_that_is_gone_and_still_booked_is_seen() -> None:
    history = History([*LIFE.operations, delete("a", began=5)])

    found = checkers.lost_pods(history, GOOD)

    assert "it does not run" in found[0].detail
    assert "where no pod has it" in found[1].detail


def test_a_pod_of_a_node_that_has_ended_is_missed_by_nobody() -> None:
    history = History([*LIFE.operations, end("node-1", at=5)])

    assert checkers.lost_pods(history, Books()) == []


# P4


@pytest.mark.parametrize(
    "leases",
    [(), (replace(GOOD.leases[0], address="10.0.0.9"),)],
    ids=["none", "another address"],
)
def test_an_acknowledged_lease_that_is_lost_is_seen(leases: tuple[StoredLease, ...]) -> None:
    found = checkers.lost_leases(LIFE, replace(GOOD, leases=leases), now_s=9)

    assert names(found) == ["P4 acknowledged is durable"]


def test_a_lease_of_a_pod_that_is_away_is_still_owed() -> None:
    history = History([*LIFE.operations, delete("a", began=5)])

    assert len(checkers.lost_leases(history, replace(GOOD, leases=()), now_s=9)) == 1


def test_a_released_lease_is_owed_no_more() -> None:
    history = History([*LIFE.operations, delete("a", began=5), release("ns/db-0", at=6)])

    assert checkers.lost_leases(history, replace(GOOD, leases=()), now_s=9) == []


def test_an_unanswered_acquire_is_owed_nothing() -> None:
    history = History([add("a", None, began=1, pod="ns/db-0", outcome=Outcome.INFO)])

    assert checkers.lost_leases(history, Books(), now_s=9) == []


# generations


@pytest.mark.parametrize("later", [6, 7, None])
def test_a_generation_that_does_not_rise_is_seen(later: int | None) -> None:
    history = History(
        [
            add("a", "10.0.0.1", began=1, pod="ns/db-0", generation=7),
            add("b", "10.0.0.1", began=3, pod="ns/db-0", generation=later),
        ]
    )

    assert {each.checker for each in checkers.unrisen_generations(history)} == {
        "generations rise"
    }


def test_an_address_of_another_identity_has_a_later_generation() -> None:
    operations = [
        add("a", "10.0.0.1", began=1, pod="ns/db-0", generation=7),
        add("b", "10.0.0.1", began=3, pod="ns/db-1", generation=6),
    ]

    assert len(checkers.unrisen_generations(History(operations))) == 1


def test_generations_that_rise_are_fine_and_a_repeat_has_the_same() -> None:
    history = History(
        [
            add("a", "10.0.0.1", began=1, pod="ns/db-0", generation=7),
            add("a", "10.0.0.1", began=2, pod="ns/db-0", generation=7),
            add("b", "10.0.0.1", began=3, pod="ns/db-0", generation=9),
        ]
    )

    assert checkers.unrisen_generations(history) == []


# answers, rest, proof


def test_an_answer_that_is_late_or_never_comes_is_seen() -> None:
    in_time = add("a", "10.0.0.1", began=1, ended=2)
    late = add("b", "10.0.0.2", began=1, ended=40)
    never = replace(in_time, is_answered=False, outcome=Outcome.INFO)

    assert checkers.late_answers(History([in_time])) == []
    assert len(checkers.late_answers(History([late, never]))) == 2


def test_an_operation_that_ended_in_a_bug_is_seen() -> None:
    asked = add("a", None, began=1, outcome=Outcome.INFO)

    assert checkers.bugs(History([replace(asked, error="unavailable: later")])) == []
    assert len(checkers.bugs(History([replace(asked, error="bug: KeyError(7)")]))) == 1


def test_books_that_go_on_changing_are_seen() -> None:
    leases = (replace(GOOD.leases[0], generation=8), *GOOD.leases[1:])

    assert checkers.unrest(GOOD, GOOD) == []
    assert "leases" in checkers.unrest(GOOD, replace(GOOD, leases=leases))[0].detail


BUSY = [add(f"s{n}", f"10.0.0.{n}", began=n) for n in range(20)]


def test_a_run_with_faults_that_bit_and_enough_done_proves_something() -> None:
    assert checkers.proved_nothing(History(BUSY, [fault(began=3, ended=5)])) == []


@pytest.mark.parametrize(
    ("history", "why"),
    [
        (History(BUSY, []), "nothing was broken"),
        (History(BUSY, [fault(began=3, ended=5, touched=0)]), "none of 1 faults"),
        (History(BUSY, [fault(began=90, ended=95)]), "none of 1 faults"),
        (History(BUSY[:3], [fault(began=1, ended=2)]), "only 3 operations"),
        (History([*BUSY, delete("s1", began=40)], [fault(began=30, ended=50)]), "no ADD"),
    ],
)
def test_a_run_in_which_nothing_happened_proves_nothing(history: History, why: str) -> None:
    [found] = checkers.proved_nothing(history)

    assert found.checker == "proved nothing"
    assert why in found.detail


FIXED = [replace(each, is_fixed=True) for each in BUSY]


@pytest.mark.parametrize("pods", [BUSY, FIXED], ids=["of_stock", "fixed"])
def test_pods_that_start_again_once_all_is_healed_pass(pods: list[Operation]) -> None:
    assert checkers.standstill(History(pods), healed_s=10) == []


@pytest.mark.parametrize(
    "history",
    [
        History([*BUSY, *(delete(each.sandbox, began=40) for each in BUSY)]),
        History([replace(each, ended_s=40) for each in BUSY]),
        History([*BUSY, *(replace(each, began_s=40, outcome=Outcome.FAIL) for each in BUSY)]),
        History([replace(FIXED[0], outcome=Outcome.INFO), *BUSY, *BUSY]),
    ],
    ids=["only_deleted", "asked_before", "refused", "fixed_ones_wait"],
)
def test_pods_that_do_not_start_again_are_seen(history: History) -> None:
    [found] = checkers.standstill(history, healed_s=11)

    assert found.checker == "starts again"


def test_the_next_answer_is_that_of_a_fixed_pod_where_one_was_asked_for() -> None:
    asked = replace(FIXED[0], began_s=4, ended_s=9)
    broken = [fault(began=3, ended=5)]

    assert History(BUSY, broken).next_answer_s() == 0
    assert History([*BUSY, asked], broken).next_answer_s() == 6
    assert History([*BUSY, replace(asked, outcome=Outcome.FAIL)], broken).next_answer_s() == inf


def test_a_fault_bites_only_while_something_is_asked() -> None:
    history = History(BUSY, [fault(began=3, ended=5), fault(began=90, ended=95)])

    assert history.bites() == 1
