"""Which nodes a pod can be placed on, how well, and why not on the others (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Final

from services.allocator.domain.leases import Lease
from shared.clusters import SubnetState
from shared.ids import NodeName, SubnetId
from shared.messages.vacancies import EnisInSubnet, NodeVacancy, SubnetVacancy


class Score(IntEnum):
    """How well a node suits: 0 to 10, as the scheduler wants them."""

    HOLDS_LEASE = 10
    HAS_ROOM = 7  # an address is idle there, or fits on an ENI in the right subnet
    MAKES_ROOM = 5  # by taking an idle address back, or assigning one
    NEEDS_ENI = 2
    UNKNOWN = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a pod wants of its node."""

    is_exclusive: bool  # a whole ENI
    lease: Lease | None = None  # the address it comes back to
    nominated: tuple[SubnetId, ...] = ()  # its address is to be of one of these; (): of any


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    reason: str
    is_for_good: bool  # removing pods from the node would not help


class Placing:
    """One pod's question, for one node after the other."""

    def __init__(self, need: Need, subnets: Mapping[SubnetId, SubnetVacancy]) -> None:
        self._need = need
        self._subnets = subnets
        self._by_zone: dict[str | None, list[SubnetVacancy]] = {}

    def judge(self, name: NodeName, node: NodeVacancy | None) -> Score | Misfit:
        lease = self._need.lease
        if lease is not None and name in (lease.node, lease.moving_to):
            return Score.HOLDS_LEASE
        if node is None:
            return _UNKNOWN_NODE
        if lease is not None:
            return self._bring(lease, node)
        return self._fresh_whole(node) if self._need.is_exclusive else self._fresh(node)

    def _bring(self, lease: Lease, node: NodeVacancy) -> Score | Misfit:
        """The lease's address, from wherever it is."""
        home = self._home
        if home is None:
            return Score.UNKNOWN  # ADD says what is the matter with it
        if node.zone != home.zone:
            return self._wrong_zone(node)
        has_slot = node.enis < node.enis_max
        if self._need.is_exclusive:
            if has_slot:
                return Score.HAS_ROOM
            return Score.MAKES_ROOM if node.whole_idle else self._no_place(node, home)
        within = _within(node, lease.subnet)
        if within is not None and within.addresses < within.addresses_max:
            return Score.HAS_ROOM
        if within is not None and node.idle:
            return Score.MAKES_ROOM
        if has_slot and _gives(home, 1):
            return Score.NEEDS_ENI
        return self._no_place(node, home)

    def _fresh(self, node: NodeVacancy) -> Score | Misfit:
        """A new address on a shared ENI."""
        if node.idle and not self._need.nominated:
            return Score.HAS_ROOM
        subnets = self._in_zone(node.zone)
        if not subnets:
            return self._no_subnet(node)
        within = {each.subnet: each for each in node.within}
        if node.idle and any(each.subnet in within for each in subnets):
            return Score.MAKES_ROOM  # maybe of another subnet: the agent knows
        if node.addresses < node.addresses_max:
            for each in subnets:
                there = within.get(each.subnet)
                if there and there.addresses < there.addresses_max and _gives(each, 1):
                    return Score.MAKES_ROOM
            # The ENI's own address, and one for the pod.
            if node.enis < node.enis_max and any(_gives(each, 2) for each in subnets):
                return Score.NEEDS_ENI
        return self._no_address(node, subnets)

    def _fresh_whole(self, node: NodeVacancy) -> Score | Misfit:
        """A new ENI, or one that waits."""
        if node.whole_idle:
            return Score.HAS_ROOM
        subnets = self._in_zone(node.zone)
        if not subnets:
            return self._no_subnet(node)
        if node.enis < node.enis_max and any(_gives(each, 1) for each in subnets):
            return Score.NEEDS_ENI
        return self._no_address(node, subnets)

    @cached_property
    def _home(self) -> SubnetVacancy | None:
        lease = self._need.lease
        return None if lease is None else self._subnets.get(lease.subnet)

    def _in_zone(self, zone: str | None) -> list[SubnetVacancy]:
        if zone not in self._by_zone:
            nominated = self._need.nominated
            self._by_zone[zone] = [
                each
                for each in self._subnets.values()
                if each.zone == zone and (not nominated or each.subnet in nominated)
            ]
        return self._by_zone[zone]

    def _wrong_zone(self, node: NodeVacancy) -> Misfit:
        lease, home = self._need.lease, self._home
        assert lease is not None, "only an address that there is has a zone"
        assert home is not None, "only an address that there is has a zone"
        return Misfit(
            reason=f"the pod's address {lease.address} is of {_told(home)}, a node of zone"
            f" {node.zone or '(not known)'} can have no ENI there: add nodes in {home.zone}, or"
            " end the lease (berth lease release)",
            is_for_good=True,
        )

    def _no_place(self, node: NodeVacancy, home: SubnetVacancy) -> Misfit:
        lease = self._need.lease
        assert lease is not None, "only an address that there is has a place"
        within = _within(node, lease.subnet)
        there = (
            "no ENI in it"
            if within is None
            else f"{within.enis} ENIs in it with {within.addresses}/{within.addresses_max}"
            " addresses"
        )
        return Misfit(
            reason=f"no place for the pod's address {lease.address} of {_told(home)}: {there};"
            f" {_used(node)}; remove pods from the node, or add nodes in {home.zone}"
            f"{_problem(node)}",
            is_for_good=False,
        )

    def _no_subnet(self, node: NodeVacancy) -> Misfit:
        if node.zone is None:
            return Misfit(
                reason=f"the node's zone is not known yet: see berth node list{_problem(node)}",
                is_for_good=True,
            )
        wanted = ", ".join(
            _told(self._subnets[each]) if each in self._subnets else f"{each} (not ours)"
            for each in self._need.nominated
        )
        return Misfit(
            reason=f"zone {node.zone} has none of the subnets that the pod nominates: {wanted}"
            if wanted
            else f"zone {node.zone} has no container subnet: berth subnet add one",
            is_for_good=True,
        )

    def _no_address(self, node: NodeVacancy, subnets: Sequence[SubnetVacancy]) -> Misfit:
        kind = "ENI of its own" if self._need.is_exclusive else "address"
        told = ", ".join(_told(each) for each in subnets)
        return Misfit(
            reason=f"no {kind} to be had for the pod: {told}; {_used(node)}; add a subnet to"
            f" the zone, remove pods from the node, or add nodes{_problem(node)}",
            is_for_good=False,
        )


_UNKNOWN_NODE: Final = Misfit(
    reason="Berth does not know the node: its agent has not registered yet; see the pod of"
    " berth-node-agent there",
    is_for_good=True,
)


def _within(node: NodeVacancy, subnet: SubnetId) -> EnisInSubnet | None:
    for each in node.within:
        if each.subnet == subnet:
            return each
    return None


def _gives(subnet: SubnetVacancy, count: int) -> bool:
    return subnet.state is SubnetState.OPEN and subnet.free >= count


def _told(subnet: SubnetVacancy) -> str:
    closed = "" if subnet.state is SubnetState.OPEN else f", {subnet.state}"
    return f"{subnet.subnet} ({subnet.zone}, {subnet.free} of {subnet.total} free{closed})"


def _used(node: NodeVacancy) -> str:
    return (
        f"ENIs {node.enis}/{node.enis_max} used, addresses"
        f" {max(0, node.addresses - node.idle)}/{node.addresses_max} used"
    )


def _problem(node: NodeVacancy) -> str:
    return f"; last: {node.problem}" if node.problem else ""
