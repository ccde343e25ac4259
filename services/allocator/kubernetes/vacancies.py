"""What every node could still take, by the eni_managers' word, kept in memory with its age."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from shared.bus.client import BusClient
from shared.clock import Clock
from shared.errors import Unavailable
from shared.ids import NodeName, SubnetId
from shared.messages.vacancies import (
    VACANCIES,
    SubnetVacancy,
    VacanciesRequest,
    VacanciesTold,
)
from shared.telemetry.metrics import VACANCIES_AGE_SECONDS

from .placing import Place

_PAGES_MAX: Final = 256  # of one round


class FollowedVacancies:
    """`refresh` is called again and again; what was heard stays known while nobody answers."""

    def __init__(self, bus: BusClient, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._after = 0
        self._since = 0
        self._asked_at_s = -math.inf
        self.nodes: Mapping[NodeName, Place] = {}
        self.subnets: Mapping[SubnetId, SubnetVacancy] = {}

    @property
    def age_s(self) -> float:
        """Since when what is known may have changed; infinite before the first answer."""
        return self._clock.monotonic_s() - self._asked_at_s

    @property
    def knows_any(self) -> bool:
        return bool(self.nodes) and bool(self.subnets)

    async def refresh(self) -> None:
        """Raises Unavailable."""
        VACANCIES_AGE_SECONDS.set(self.age_s)
        asked_at_s = self._clock.monotonic_s()
        nodes, after, since = dict(self.nodes), self._after, self._since
        for _ in range(_PAGES_MAX):
            told = await self._ask(after, since)
            if told.is_anew:
                nodes, since = {}, told.newest
            nodes.update({NodeName(each.node): Place(each) for each in told.nodes})
            after = told.revision
            if told.is_last:
                break
        else:
            raise Unavailable("nodes change faster than they can be asked for")
        self.nodes, self._after, self._since = nodes, after, told.newest
        self.subnets = {SubnetId(each.subnet): each for each in told.subnets}
        self._asked_at_s = asked_at_s
        VACANCIES_AGE_SECONDS.set(self.age_s)

    async def _ask(self, after: int, since: int) -> VacanciesTold:
        deadline = self._clock.now() + timedelta(seconds=VACANCIES.timeout_s)
        request = VacanciesRequest(deadline=deadline, after=after, since=since)
        return await self._bus.call(VACANCIES, request)
