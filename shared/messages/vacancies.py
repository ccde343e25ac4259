"""``cluster.vacancies``: what each node has and could still take, for whoever places pods.

A reader asks for what has changed after the revision that it has seen, a page at a time, so a
quiet cluster costs it one small answer. It begins with every node, after revision 0, and again
when it is told to: what has left is not among the changes.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Final, Literal

from pydantic import Field

from shared.clusters import SubnetState

from .base import BATCH_MAX, Endpoint, Message, Name, Request, ServiceName

SUBNETS_PER_NODE_MAX: Final = 64
PROBLEM_CHARACTERS_MAX: Final = 300

Count = Annotated[int, Field(ge=0)]


class EnisInSubnet(Message):
    """One node's shared ENIs in one subnet."""

    subnet: Name
    enis: Count
    addresses: Count  # secondary ones on them
    addresses_max: Count  # that fit


class NodeVacancy(Message):
    """What one node has, and how much it may have."""

    node: Name
    zone: str | None  # None: not known yet
    enis: Count  # beside the instance's own, strangers' included
    enis_max: Count
    addresses: Count  # of shared ENIs: idle, or a pod's
    addresses_max: Count  # by quota and pod maximum
    idle: Count
    whole_idle: Count = 0  # ENIs that wait for a pod of their own
    within: Annotated[tuple[EnisInSubnet, ...], Field(max_length=SUBNETS_PER_NODE_MAX)] = ()
    problem: Annotated[str, Field(max_length=PROBLEM_CHARACTERS_MAX)] | None = None


class SubnetVacancy(Message):
    subnet: Name
    zone: Name
    cidr: IPv4Network
    free: Count
    total: Count
    state: SubnetState = SubnetState.OPEN


class VacanciesRequest(Request):
    type: Literal["berth.v1.vacancies_request"] = "berth.v1.vacancies_request"
    after: Count = 0  # of the last node that was told
    since: Count = 0  # `newest` of when the reader began anew, or was last up to date
    limit: Annotated[int, Field(ge=1, le=BATCH_MAX)] = BATCH_MAX


class VacanciesTold(Message):
    """The nodes that changed after the revision asked for, in the order of their changes."""

    type: Literal["berth.v1.vacancies_told"] = "berth.v1.vacancies_told"
    revision: Count  # of the last of these: ask for what comes after it next
    newest: Count  # revision of the newest change
    is_last: bool  # nothing has changed after these
    is_anew: bool  # these are the first of all nodes: forget what was known
    nodes: Annotated[tuple[NodeVacancy, ...], Field(max_length=BATCH_MAX)]
    subnets: Annotated[tuple[SubnetVacancy, ...], Field(max_length=BATCH_MAX)]


VACANCIES: Final = Endpoint(
    name="cluster.vacancies",
    server=ServiceName.ENI_MANAGER,
    request=VacanciesRequest,
    outcome=VacanciesTold,
    idempotency_key="none: it reads",
    on_timeout="ask again",
    timeout_s=5.0,
)
