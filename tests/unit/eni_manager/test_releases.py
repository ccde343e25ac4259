"""What a node gives back, and which ENI may go."""

from __future__ import annotations

from services.eni_manager.domain.breakers import Breaker
from services.eni_manager.domain.releases import EniLoad, drain_order, unneeded
from shared.ids import EniId


def load(name: str, count: int, *, room: int = 0) -> EniLoad:
    return EniLoad(eni=EniId(name), count=count, room=room)


def test_the_emptiest_eni_is_drained_first() -> None:
    order = drain_order([load("eni-full", 9), load("eni-few", 3), load("eni-none", 0)])

    assert [each.eni for each in order] == ["eni-few", "eni-full"]


def test_an_empty_eni_goes_when_the_others_have_room_up_to_the_maximum() -> None:
    enis = [load("eni-empty", 0, room=9), load("eni-used", 4, room=5)]

    assert unneeded(enis, ready=3, warm_max=8) == "eni-empty"


def test_an_empty_eni_stays_while_the_others_lack_room_for_the_maximum() -> None:
    enis = [load("eni-empty", 0, room=9), load("eni-used", 5, room=4)]

    assert unneeded(enis, ready=3, warm_max=8) is None


def test_the_last_eni_stays_while_anything_is_to_be_kept_warm() -> None:
    assert unneeded([load("eni-empty", 0, room=9)], ready=0, warm_max=1) is None


def test_the_last_eni_goes_when_nothing_is_to_be_kept_warm() -> None:
    assert unneeded([load("eni-empty", 0, room=9)], ready=0, warm_max=0) == "eni-empty"


def test_an_eni_with_an_address_never_goes() -> None:
    assert unneeded([load("eni-used", 1, room=8)], ready=9, warm_max=0) is None


def test_a_subnet_that_refuses_three_times_is_left_alone_for_longer_each_time() -> None:
    breaker, waits = Breaker(), []
    for _ in range(12):
        breaker = breaker.failed(100.0, "full")
        waits.append(breaker.closed_at_s - 100.0)

    assert waits[:5] == [0, 0, 5, 10, 20]
    assert waits[-1] == 300
    assert breaker.is_open(399.0)
    assert not breaker.is_open(400.0)
