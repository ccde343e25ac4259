"""Quotas, tokens, task records, latencies, rates, faults: each keeps its promise alone."""

from __future__ import annotations

import random
import statistics

import pytest

from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.quotas import InstanceQuota, default_quota
from services.vpc_simulator.model.tasks import TaskLog
from services.vpc_simulator.model.tokens import ClientTokens, TokenKey
from services.vpc_simulator.weather import Fault, FaultKind, Faults, Latencies, Latency, Rates
from tests.support.small_cloud import SmallCloud


@pytest.mark.parametrize(
    ("instance_type", "cores", "enis", "addresses"),
    [
        ("S5.SMALL1", 1, 2, 6),
        ("S5.MEDIUM2", 2, 4, 10),
        ("SA1.MEDIUM4", 2, 2, 10),
        ("S5.LARGE8", 4, 4, 10),
        ("S5se.LARGE8", 4, 4, 20),
        ("S5.2XLARGE16", 8, 6, 20),
        ("S5.3XLARGE24", 12, 8, 30),
        ("S5.16XLARGE256", 64, 8, 30),
    ],
)
def test_quotas_follow_the_public_table(
    instance_type: str, cores: int, enis: int, addresses: int
) -> None:
    quota = default_quota(instance_type, cores)

    assert quota == InstanceQuota(enis=enis, addresses_per_eni=addresses)


def key(action: str, token: str, account: str = "1") -> TokenKey:
    return TokenKey(account=account, action=action, token=token)


def test_a_token_is_an_accounts_own() -> None:
    tokens = ClientTokens[int](kept_max=10)
    tokens.once(key("Create", "t", "1"), "{}", lambda: 1)

    assert tokens.once(key("Create", "t", "2"), "{}", lambda: 2) == 2


def test_a_repeat_of_a_call_that_is_being_served_is_told_so() -> None:
    tokens = ClientTokens[int](kept_max=10)

    with tokens.serving(key("Create", "t")):
        with pytest.raises(ApiFailure) as caught, tokens.serving(key("Create", "t")):
            raise AssertionError("two calls with one token were served at once")
        with tokens.serving(key("Create", "other")), tokens.serving(None):
            pass

    assert caught.value.code is Code.IDEMPOTENT_PROCESSING
    with tokens.serving(key("Create", "t")):
        assert tokens.once(key("Create", "t"), "{}", lambda: 3) == 3


def test_a_repeated_token_gets_the_first_answer() -> None:
    tokens = ClientTokens[int](kept_max=10)
    numbers = iter(range(10))

    first = tokens.once(key("Create", "t"), "{}", lambda: next(numbers))
    again = tokens.once(key("Create", "t"), "{}", lambda: next(numbers))
    other_action = tokens.once(key("Assign", "t"), "{}", lambda: next(numbers))

    assert (first, again, other_action) == (0, 0, 1)


def test_a_token_with_other_parameters_is_refused() -> None:
    tokens = ClientTokens[int](kept_max=10)
    tokens.once(key("Create", "t"), "{}", lambda: 0)

    with pytest.raises(ApiFailure) as caught:
        tokens.once(key("Create", "t"), '{"a":1}', lambda: 1)

    assert caught.value.code is Code.IDEMPOTENT_MISMATCH


def test_a_refused_call_may_be_repeated_with_its_token() -> None:
    tokens = ClientTokens[int](kept_max=10)

    def refuse() -> int:
        raise ApiFailure(Code.MUTEX, "busy")

    with pytest.raises(ApiFailure):
        tokens.once(key("Assign", "t"), "{}", refuse)

    assert tokens.once(key("Assign", "t"), "{}", lambda: 3) == 3


def test_only_the_latest_tokens_are_kept() -> None:
    tokens = ClientTokens[int](kept_max=1)
    tokens.once(key("Create", "old"), "{}", lambda: 1)
    tokens.once(key("Create", "new"), "{}", lambda: 2)

    assert tokens.once(key("Create", "old"), "{}", lambda: 3) == 3


def test_task_records_are_bounded_but_running_tasks_are_kept() -> None:
    small = SmallCloud()
    small.cloud.tasks = TaskLog(kept_max=2)
    eni, running = small.create()

    ended = []
    for _ in range(3):
        _, task = small.create()
        small.settle(task)
        ended.append(task)

    assert small.cloud.tasks.get(running) is not None
    small.settle(running)
    small.settle(small.attach(eni))
    assert len(small.cloud.tasks) == 2


def test_a_log_normal_latency_has_the_median_it_names() -> None:
    latency = Latency(median_s=2.0, sigma=0.5)
    rng = random.Random(1)

    draws = [latency.draw(rng) for _ in range(2001)]

    assert statistics.median(draws) == pytest.approx(2.0, rel=0.1)
    assert len(set(draws)) > 1000


def test_a_seed_repeats_latencies() -> None:
    default = Latency(median_s=1.0, sigma=0.3)
    one, other = (Latencies(default, {}, rng=random.Random(5)) for _ in range(2))

    assert [one.draw("A") for _ in range(5)] == [other.draw("A") for _ in range(5)]


def test_an_actions_own_latency_beats_the_default() -> None:
    latencies = Latencies(Latency(median_s=1.0), {}, rng=random.Random(1))

    latencies.set(None, {"A": Latency(median_s=7.0)})

    assert (latencies.draw("A"), latencies.draw("B")) == (7.0, 1.0)


def test_calls_over_the_rate_are_refused_until_time_has_passed() -> None:
    rates = Rates({"A": 2.0})

    at_once = [rates.allows("me", "A", now_s=10.0) for _ in range(3)]
    another = rates.allows("you", "A", now_s=10.0)
    later = rates.allows("me", "A", now_s=10.5)

    assert (at_once, another, later) == ([True, True, False], True, True)


def test_a_rate_can_be_changed_for_one_account_or_for_all() -> None:
    rates = Rates({"A": 1.0})

    rates.set({"A": 3.0}, account=None)
    rates.set({"A": 1.0}, account="you")

    assert [rates.allows("me", "A", now_s=10.0) for _ in range(4)] == [True, True, True, False]
    assert [rates.allows("you", "A", now_s=10.0) for _ in range(2)] == [True, False]


def test_a_fault_strikes_as_often_as_asked() -> None:
    faults = Faults(waiting_max=10)
    fault = Fault(kind=FaultKind.THROTTLE, hold_s=0, code=Code.REQUEST_LIMIT_EXCEEDED)

    waiting = faults.add("A", fault, count=2)

    assert waiting == 2
    assert [faults.take("A"), faults.take("B")] == [fault, None]
    assert [faults.take("A"), faults.take("A")] == [fault, None]


def test_no_more_faults_wait_than_fit() -> None:
    faults = Faults(waiting_max=3)
    fault = Fault(kind=FaultKind.DELAY, hold_s=0, code=Code.REQUEST_LIMIT_EXCEEDED)

    assert faults.add("A", fault, count=50) == 3
