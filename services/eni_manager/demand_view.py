"""What a node's agent last said of its addresses, corrected by what was exchanged since."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from services.eni_manager.domain.errands import Urgency
from services.eni_manager.domain.records import Demand
from shared.ids import SubnetId


class DemandView:
    def __init__(self, demand: Demand) -> None:
        self.demand = demand
        self.heard = 0  # wants so far
        # Nothing is planned upon it while it is in doubt: the next want tells. What an earlier
        # owner of the node had stored does not know what that owner gave and took afterwards.
        self.is_doubtful = True

    def hear(self, demand: Demand) -> None:
        self.demand = demand
        self.heard += 1
        self.is_doubtful = False

    def offered(self, taken_in: Counter[SubnetId], *, heard_before: int) -> None:
        """The agent took as many addresses of each subnet."""
        taken = taken_in.total()
        if self.heard == heard_before:
            self.demand = replace(
                self.demand,
                idle=self.demand.idle + taken,
                waiting_in=tuple(
                    replace(it, idle=it.idle + sum(taken_in[each] for each in it.subnets))
                    for it in self.demand.waiting_in
                ),
            )
        elif taken:
            # A want that crossed the offer counts the addresses, or does not.
            self.is_doubtful = True

    def recalled(self, count: int) -> None:
        self.demand = replace(self.demand, idle=max(0, self.demand.idle - count))

    def urgency(self) -> Urgency:
        if self.demand.has_waiting:
            return Urgency.POD
        has_any = self.demand.idle or self.demand.bound
        return Urgency.WARMTH if has_any else Urgency.JOIN
