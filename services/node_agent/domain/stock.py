"""The book of the node: every address that is the agent's, or a fixed lease's here (pure).

An address stands in it once, in one state of shared/addresses.py, and moves only by the steps
of that table. Choosing costs the same with two thousand addresses as with none.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from itertools import islice

from shared.addresses import AddressState, Step, after
from shared.errors import LeaseInUse
from shared.ids import EniId


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One address of the node."""

    address: IPv4Address
    eni: EniId
    state: AddressState
    since: datetime


class Stock:
    """Holdings by address, the idle ones also by ENI in the order they came to rest."""

    def __init__(self, holdings: Iterable[Holding] = ()) -> None:
        self._holdings: dict[IPv4Address, Holding] = {}
        self._idle: dict[EniId, OrderedDict[IPv4Address, None]] = {}
        self._cooling: OrderedDict[IPv4Address, None] = OrderedDict()
        self._busy: Counter[EniId] = Counter()  # per ENI, what is neither idle nor cooling
        self._states: Counter[AddressState] = Counter()
        for holding in sorted(holdings, key=lambda each: each.since):
            assert holding.address not in self._holdings, f"{holding.address} is booked twice"
            self._put(holding)

    def __iter__(self) -> Iterator[Holding]:
        return iter(self._holdings.values())

    def __len__(self) -> int:
        return len(self._holdings)

    def get(self, address: IPv4Address) -> Holding | None:
        return self._holdings.get(address)

    def count(self, state: AddressState) -> int:
        return self._states[state]

    def idle(self, enis: Container[EniId]) -> int:
        """How many addresses are idle on these ENIs."""
        return sum(len(idle) for eni, idle in self._idle.items() if eni in enis)

    def accept(self, address: IPv4Address, eni: EniId, now: datetime) -> bool:
        """Own an offered address. Repeated: still true. A fixed lease's: refused."""
        held = self._holdings.get(address)
        if held is None:
            state = after(AddressState.ASSIGNING, Step.OFFER_ACCEPTED)
            self._put(Holding(address=address, eni=eni, state=state, since=now))
            return True
        return held.state is not AddressState.BOUND_FIXED and held.eni == eni

    def choose(self, usable: Container[EniId]) -> Holding | None:
        """The next idle address: of the fullest ENI, so that others run empty and can go;
        there the one that rested longest, so that late packets find nobody."""
        candidates = [eni for eni, idle in self._idle.items() if idle and eni in usable]
        if not candidates:
            return None
        fullest = max(candidates, key=lambda eni: (self._busy[eni], eni))
        return self._holdings[next(iter(self._idle[fullest]))]

    def bind(self, address: IPv4Address, now: datetime) -> Holding:
        return self._step(address, Step.BIND_IMMEDIATE, now)

    def promise(self, address: IPv4Address, now: datetime) -> Holding:
        return self._step(address, Step.PROMISE, now)

    def withdraw(self, address: IPv4Address, now: datetime) -> Holding:
        return self._step(address, Step.WITHDRAW, now)

    def fix(self, address: IPv4Address, eni: EniId, now: datetime) -> Holding:
        """The address is a fixed lease's, bound here: the candidate's, or one that came."""
        held = self._holdings.get(address)
        if held is None:
            state = after(AddressState.RETAINED, Step.REBIND)
            return self._put(Holding(address=address, eni=eni, state=state, since=now))
        if held.state is AddressState.BOUND_FIXED:  # its next sandbox, or the answer repeated
            return self._put(replace(held, eni=eni, since=now))
        if held.state is AddressState.STOCK:  # the lease decides: stock was the older word
            held = self._step(address, Step.PROMISE, now)
        if held.state is not AddressState.PROMISED:
            raise LeaseInUse(f"{address} is {held.state} on this node: its lease must wait")
        self._step(address, Step.FIX, now)
        return self._put(replace(self._holdings[address], eni=eni))

    def retain(self, address: IPv4Address) -> None:
        """The fixed lease's pod is gone and the allocator knows: no more the node's affair."""
        held = self._holdings[address]
        after(held.state, Step.RETAIN)
        self._take(held)

    def cool(self, address: IPv4Address, now: datetime) -> Holding:
        return self._step(address, Step.COOL, now)

    def rest(self, now: datetime, cooling: timedelta) -> list[Holding]:
        """What has cooled long enough becomes stock again."""
        rested = []
        for address in list(self._cooling):
            since = self._holdings[address].since
            if since + cooling > now >= since:  # a clock that stepped back ends the wait
                break
            rested.append(self._step(address, Step.REST, now))
        return rested

    def longest_cooling(
        self, count: int, usable: Container[EniId], *, by: datetime
    ) -> list[Holding]:
        """Up to `count` that cool since `by` or longer, longest first."""
        cooling = (self._holdings[address] for address in self._cooling)
        ready = (each for each in cooling if each.since <= by and each.eni in usable)
        return list(islice(ready, count))

    def rest_early(self, address: IPv4Address, now: datetime) -> Holding:
        return self._step(address, Step.REST, now)

    def recall(
        self, count: int, eni: EniId | None, now: datetime, *, besides: Container[EniId] = ()
    ) -> list[Holding]:
        """Strike up to `count` idle addresses off, longest rested first; where no ENI is
        named, none of those `besides`."""
        if eni is None:
            of_choice = (each for each in self._idle if each not in besides)
            enis = sorted(of_choice, key=lambda each: self._busy[each])
        else:
            enis = [eni]
        struck: list[Holding] = []
        for each in enis:  # the emptiest ENI first: it may be the one that can go
            for address in list(self._idle.get(each, ()))[: count - len(struck)]:
                struck.append(self._step(address, Step.RECALL, now))
                self._take(struck[-1])
        return struck

    def evict(self, address: IPv4Address) -> None:
        """The cloud gave the address to another ENI: nothing here may use it any more."""
        held = self._holdings.get(address)
        if held is not None:
            self._take(held)

    def _step(self, address: IPv4Address, step: Step, now: datetime) -> Holding:
        held = self._holdings[address]
        return self._put(replace(held, state=after(held.state, step), since=now))

    def _put(self, holding: Holding) -> Holding:
        old = self._holdings.get(holding.address)
        if old is not None:
            self._take(old)
        self._holdings[holding.address] = holding
        self._states[holding.state] += 1
        if holding.state is AddressState.STOCK:
            self._idle.setdefault(holding.eni, OrderedDict())[holding.address] = None
        elif holding.state is AddressState.COOLING:
            self._cooling[holding.address] = None
        else:
            self._busy[holding.eni] += 1
        return holding

    def _take(self, holding: Holding) -> None:
        old = self._holdings.pop(holding.address)
        self._states[old.state] -= 1
        if old.state is AddressState.STOCK:
            del self._idle[old.eni][old.address]
        elif old.state is AddressState.COOLING:
            del self._cooling[old.address]
        else:
            self._busy[old.eni] -= 1
