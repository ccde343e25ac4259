"""How many addresses a node is given, and how many are taken back."""

from __future__ import annotations

import pytest

from services.eni_manager.domain.records import Demand
from services.eni_manager.domain.watermarks import Watermarks, excess, lacking

MARKS = Watermarks(warm_min=3, warm_max=8)


def test_an_empty_node_gets_the_warm_minimum() -> None:
    assert lacking(Demand(), coming=0, held=0, marks=MARKS) == 3


def test_a_node_with_waiting_pods_gets_them_and_the_minimum_in_one_shot() -> None:
    assert lacking(Demand(waiting=20), coming=0, held=0, marks=MARKS) == 23


def test_what_is_coming_is_not_asked_for_again() -> None:
    assert lacking(Demand(waiting=2), coming=5, held=5, marks=MARKS) == 0


def test_cooling_addresses_count_towards_the_minimum() -> None:
    assert lacking(Demand(cooling=3), coming=0, held=3, marks=MARKS) == 0


def test_cooling_addresses_do_not_serve_pods_that_wait() -> None:
    assert lacking(Demand(cooling=9, waiting=2), coming=0, held=9, marks=MARKS) == 2


@pytest.mark.parametrize(("held", "wanted"), [(0, 3), (8, 2), (10, 0), (12, 0)])
def test_a_node_never_gets_more_than_its_pod_maximum(held: int, wanted: int) -> None:
    marks = Watermarks(warm_min=3, warm_max=8, pods_max=10)

    assert lacking(Demand(), coming=0, held=held, marks=marks) == wanted


def test_a_minimum_of_zero_keeps_nothing_warm() -> None:
    marks = Watermarks(warm_min=0, warm_max=0)

    assert lacking(Demand(), coming=0, held=0, marks=marks) == 0
    assert excess(Demand(idle=2), coming=0, marks=marks) == 2


@pytest.mark.parametrize(("idle", "taken_back"), [(0, 0), (8, 0), (9, 1), (20, 12)])
def test_idle_addresses_above_the_maximum_are_taken_back(idle: int, taken_back: int) -> None:
    assert excess(Demand(idle=idle), coming=0, marks=MARKS) == taken_back


def test_nothing_is_taken_back_while_pods_wait_or_addresses_come() -> None:
    assert excess(Demand(idle=20, waiting=1), coming=0, marks=MARKS) == 0
    assert excess(Demand(idle=20), coming=1, marks=MARKS) == 0


@pytest.mark.parametrize("idle", range(20))
def test_growing_never_leads_to_taking_back(idle: int) -> None:
    grown = idle + lacking(Demand(idle=idle), coming=0, held=idle, marks=MARKS)

    assert idle > 8 or excess(Demand(idle=grown), coming=0, marks=MARKS) == 0
