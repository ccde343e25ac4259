"""``cluster.vacancies``: what nodes could still take, as a message."""

from __future__ import annotations

from typing import Any

from services.eni_manager.domain.vacancies import Vacancy
from services.eni_manager.vacancies import OpenSubnet, VacancyViews
from shared.bus.server import Handler
from shared.messages.base import Endpoint
from shared.messages.vacancies import (
    PROBLEM_CHARACTERS_MAX,
    VACANCIES,
    EnisInSubnet,
    NodeVacancy,
    SubnetVacancy,
    VacanciesRequest,
    VacanciesTold,
)


class VacancyEndpoints:
    def __init__(self, views: VacancyViews) -> None:
        self._views = views

    def handlers(self) -> dict[Endpoint[Any, Any], Handler[Any, Any]]:
        return {VACANCIES: self._tell}

    async def _tell(self, request: VacanciesRequest) -> VacanciesTold:
        page, is_anew = await self._views.page(
            after=request.after, since=request.since, limit=request.limit
        )
        return VacanciesTold(
            revision=page.revision,
            newest=page.newest,
            is_last=page.is_last,
            is_anew=is_anew,
            nodes=tuple(_vacancy(each) for each in page.nodes),
            subnets=tuple(_subnet(each) for each in self._views.subnets()),
        )


def _vacancy(vacancy: Vacancy) -> NodeVacancy:
    return NodeVacancy(
        node=vacancy.node,
        zone=vacancy.zone,
        enis=vacancy.enis,
        enis_max=vacancy.enis_max,
        addresses=vacancy.addresses,
        addresses_max=vacancy.addresses_max,
        idle=vacancy.idle,
        whole_idle=vacancy.whole_idle,
        within=tuple(
            EnisInSubnet(
                subnet=each.subnet,
                enis=each.enis,
                addresses=each.addresses,
                addresses_max=each.addresses_max,
            )
            for each in vacancy.within
        ),
        problem=vacancy.problem[:PROBLEM_CHARACTERS_MAX] if vacancy.problem else None,
    )


def _subnet(subnet: OpenSubnet) -> SubnetVacancy:
    return SubnetVacancy(
        subnet=subnet.subnet,
        zone=subnet.zone,
        cidr=subnet.cidr,
        free=subnet.free,
        total=subnet.total,
        state=subnet.state,
    )
