"""Whatever is done to the node's stock, an address is in one state and none is lost."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.node_agent.domain.stock import Holding, Stock
from shared.addresses import AddressState
from shared.ids import EniId

ENIS = (EniId("eni-a"), EniId("eni-b"))
COOLING = timedelta(seconds=130)
ADDRESSES = [IPv4Address("10.0.3.0") + number for number in range(1, 25)]


class StockMachine(RuleBasedStateMachine):
    """A plain dictionary of what every address should be, beside the real thing."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.stock = Stock()
        self.model: dict[IPv4Address, AddressState] = {}
        self.struck: set[IPv4Address] = set()

    def of(self, state: AddressState) -> list[IPv4Address]:
        return sorted(address for address, known in self.model.items() if known is state)

    @rule(address=st.sampled_from(ADDRESSES), eni=st.sampled_from(ENIS))
    def offer(self, address: IPv4Address, eni: EniId) -> None:
        held = self.stock.get(address)
        accepted = self.stock.accept(address, eni, self.now)

        if held is None:
            assert accepted
            self.model[address] = AddressState.STOCK
        else:
            is_fixed = held.state is AddressState.BOUND_FIXED
            assert accepted == (not is_fixed and held.eni == eni)

    @rule(
        usable=st.sets(st.sampled_from(ENIS)),
        least=st.sampled_from([timedelta(0), timedelta(seconds=60)]),
    )
    def rest_early(self, usable: set[EniId], least: timedelta) -> None:
        chosen = self.stock.longest_cooling(2, usable, by=self.now - least)
        ready = sorted(
            each.since
            for each in self.stock
            if each.state is AddressState.COOLING
            and each.eni in usable
            and each.since <= self.now - least
        )

        assert [each.since for each in chosen] == ready[:2]
        for each in chosen:
            self.model[each.address] = self.stock.rest_early(each.address, self.now).state

    @rule(is_fixed=st.booleans(), usable=st.sets(st.sampled_from(ENIS)))
    def allocate(self, is_fixed: bool, usable: set[EniId]) -> None:
        chosen = self.stock.choose(usable)
        idle = [each for each in self.stock if each.state is AddressState.STOCK]
        assert (chosen is None) == (not any(each.eni in usable for each in idle))
        if chosen is None:
            return

        assert chosen.eni in usable
        assert self.model[chosen.address] is AddressState.STOCK
        oldest = min(each.since for each in idle if each.eni == chosen.eni)
        assert chosen.since == oldest
        step = self.stock.promise if is_fixed else self.stock.bind
        self.model[chosen.address] = step(chosen.address, self.now).state

    @precondition(lambda self: self.of(AddressState.PROMISED))
    @rule(data=st.data(), is_taken=st.booleans())
    def answer(self, data: st.DataObject, is_taken: bool) -> None:
        address = data.draw(st.sampled_from(self.of(AddressState.PROMISED)))
        held = self.stock.get(address)
        assert held is not None
        if is_taken:
            self.model[address] = self.stock.fix(address, held.eni, self.now).state
        else:
            self.model[address] = self.stock.withdraw(address, self.now).state

    @precondition(lambda self: self.of(AddressState.BOUND_IMMEDIATE))
    @rule(data=st.data())
    def end_immediate(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(self.of(AddressState.BOUND_IMMEDIATE)))
        self.model[address] = self.stock.cool(address, self.now).state

    @precondition(lambda self: self.of(AddressState.BOUND_FIXED))
    @rule(data=st.data())
    def end_fixed(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(self.of(AddressState.BOUND_FIXED)))
        self.stock.retain(address)
        del self.model[address]

    @rule(seconds=st.integers(min_value=1, max_value=200))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        for holding in self.stock.rest(self.now, COOLING):
            assert self.model[holding.address] is AddressState.COOLING
            self.model[holding.address] = AddressState.STOCK

    @rule(count=st.integers(min_value=1, max_value=5), eni=st.sampled_from((None, *ENIS)))
    def recall(self, count: int, eni: EniId | None) -> None:
        struck = self.stock.recall(count, eni, self.now)

        assert len(struck) <= count
        for holding in struck:
            assert self.model.pop(holding.address) is AddressState.STOCK
            assert eni in (None, holding.eni)

    @invariant()
    def every_address_is_in_one_state(self) -> None:
        assert {each.address: each.state for each in self.stock} == self.model
        counts = Counter(self.model.values())
        assert all(self.stock.count(state) == counts[state] for state in AddressState)

    @invariant()
    def nothing_cools_longer_than_it_must(self) -> None:
        for holding in self.stock:
            if holding.state is AddressState.COOLING:
                assert self.now - holding.since <= COOLING + timedelta(seconds=200)

    @invariant()
    def the_book_read_back_is_the_same(self) -> None:
        again = Stock(list(self.stock))
        assert {each.address: each for each in again} == {
            each.address: each for each in self.stock
        }


StockMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestStock = StockMachine.TestCase


def test_the_fullest_eni_is_chosen_so_that_others_run_empty() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    stock = Stock(
        [
            Holding(address=ADDRESSES[0], eni=ENIS[0], state=AddressState.STOCK, since=now),
            Holding(address=ADDRESSES[1], eni=ENIS[1], state=AddressState.STOCK, since=now),
            Holding(
                address=ADDRESSES[2], eni=ENIS[0], state=AddressState.BOUND_IMMEDIATE, since=now
            ),
        ]
    )

    chosen = stock.choose(ENIS)

    assert chosen is not None
    assert chosen.eni == ENIS[0]
