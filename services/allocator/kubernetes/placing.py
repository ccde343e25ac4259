"""Which nodes a pod can be placed on, how well, and why not on the others (pure).

Asked for thousands of nodes at once: what does not depend on the pod is worked out when a node
is told of, and what does not depend on the node once for each zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from services.allocator.domain.leases import Lease
from shared.clusters import SubnetState
from shared.ids import NodeName, SubnetId
from shared.messages.vacancies import NodeVacancy, SubnetVacancy


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


class Misfit(NamedTuple):
    reason: str
    is_for_good: bool  # removing pods from the node would not help


class Place:
    """A node as far as no pod matters."""

    __slots__ = ("has_idle", "has_idle_eni", "has_more", "has_slot", "used", "within", "zone")

    def __init__(self, node: NodeVacancy) -> None:
        self.zone = node.zone
        self.has_slot = node.enis < node.enis_max
        self.has_more = node.addresses < node.addresses_max
        self.has_idle = node.idle > 0
        self.has_idle_eni = node.whole_idle > 0
        self.within = {  # by subnet with an ENI: whether another address fits there
            SubnetId(each.subnet): each.addresses < each.addresses_max for each in node.within
        }
        there = ", ".join(
            f"{each.enis} in {each.subnet} with {each.addresses}/{each.addresses_max}"
            for each in node.within
        )
        self.used = (
            f"ENIs {node.enis}/{node.enis_max} used{f' ({there})' if there else ''}, addresses"
            f" {max(0, node.addresses - node.idle)}/{node.addresses_max} used"
            f"{f'; {node.problem}' if node.problem else ''}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Zone:
    """What a zone has for the pod."""

    gives: tuple[SubnetId, ...]  # subnets that have an address left
    has_any_eni: bool  # one of them has enough for a new ENI
    subnets: frozenset[SubnetId]
    no_address: str
    misfit: Misfit | None  # why no node of it suits


class Placing:
    """One pod's question, for one node after the other."""

    def __init__(self, need: Need, subnets: Mapping[SubnetId, SubnetVacancy]) -> None:
        self._lease = need.lease
        self._is_exclusive = need.is_exclusive
        self._nominated = need.nominated
        self._subnets = subnets
        self._home = None if need.lease is None else subnets.get(need.lease.subnet)
        self._holders = () if need.lease is None else (need.lease.node, need.lease.moving_to)
        self._zones: dict[str | None, _Zone] = {}

    def judge(self, name: NodeName, node: Place | None) -> Score | Misfit:
        if name in self._holders:
            return Score.HOLDS_LEASE
        if node is None:
            return _UNKNOWN_NODE
        zone = self._zones.get(node.zone) or self._look_at(node.zone)
        if zone.misfit is not None:
            return zone.misfit
        if self._lease is not None:
            return self._bring(self._lease, node, zone)
        if self._is_exclusive:
            if node.has_idle_eni:
                return Score.HAS_ROOM
            if node.has_slot and zone.has_any_eni:
                return Score.NEEDS_ENI
            return Misfit(zone.no_address + node.used, False)
        return self._fresh(node, zone)

    def _bring(self, lease: Lease, node: Place, zone: _Zone) -> Score | Misfit:
        """The lease's address, from wherever it is."""
        if self._home is None:
            return Score.UNKNOWN  # ADD says what is the matter with it
        if self._is_exclusive:
            if node.has_slot:
                return Score.HAS_ROOM
            if node.has_idle_eni:
                return Score.MAKES_ROOM
        elif lease.subnet in node.within:
            if node.within[lease.subnet]:
                return Score.HAS_ROOM
            if node.has_idle:
                return Score.MAKES_ROOM
        if node.has_slot and zone.has_any_eni:
            return Score.NEEDS_ENI
        return Misfit(zone.no_address + node.used, False)

    def _fresh(self, node: Place, zone: _Zone) -> Score | Misfit:
        """A new address on a shared ENI."""
        if node.has_idle:
            if not self._nominated:
                return Score.HAS_ROOM
            if not zone.subnets.isdisjoint(node.within):
                return Score.MAKES_ROOM  # maybe of another subnet: the agent knows
        if node.has_more:
            for subnet in zone.gives:
                if node.within.get(subnet):
                    return Score.MAKES_ROOM
            if node.has_slot and zone.has_any_eni:
                return Score.NEEDS_ENI
        return Misfit(zone.no_address + node.used, False)

    def _look_at(self, zone: str | None) -> _Zone:
        chosen = [each for each in self._subnets.values() if self._suits(each, zone)]
        # Of an address that there is, the ENI takes one more at most: its own.
        least = 1 if self._is_exclusive or self._lease is not None else 2
        open_ = [each for each in chosen if each.state is SubnetState.OPEN]
        found = self._zones[zone] = _Zone(
            gives=tuple(SubnetId(each.subnet) for each in open_ if each.free),
            has_any_eni=any(each.free >= least for each in open_),
            subnets=frozenset(SubnetId(each.subnet) for each in chosen),
            no_address=self._no_address(chosen),
            misfit=self._zone_misfit(zone, has_any=bool(chosen)),
        )
        return found

    def _suits(self, subnet: SubnetVacancy, zone: str | None) -> bool:
        if subnet.zone != zone:
            return False
        if self._lease is not None:
            return subnet.subnet == self._lease.subnet
        return not self._nominated or subnet.subnet in self._nominated

    def _zone_misfit(self, zone: str | None, *, has_any: bool) -> Misfit | None:
        if self._lease is not None:
            if self._home is None or zone == self._home.zone:
                return None
            reason = (
                f"the pod's address {self._lease.address} is of {_told(self._home)}, and no ENI"
                f" in {zone or 'an unknown zone'} can be; add nodes in {self._home.zone}, or"
                " berth lease release"
            )
        elif has_any:
            return None
        elif zone is None:
            reason = "the node's zone is not known yet: see berth node list"
        elif self._nominated:
            wanted = ", ".join(
                _told(self._subnets[each]) if each in self._subnets else f"{each} (not ours)"
                for each in self._nominated
            )
            reason = f"zone {zone} has none of the subnets that the pod nominates: {wanted}"
        else:
            reason = f"zone {zone} has no container subnet: berth subnet add one"
        return Misfit(reason, True)

    def _no_address(self, chosen: list[SubnetVacancy]) -> str:
        """Up to what the node has used."""
        told = ", ".join(_told(each) for each in chosen)
        if self._lease is not None:
            return (
                f"no ENI for the pod's address {self._lease.address} of {told}; remove pods or"
                " add nodes: "
            )
        wanted = "an ENI of its own" if self._is_exclusive else "an address"
        return f"no room for {wanted} of {told}; remove pods, add nodes or a subnet: "


_UNKNOWN_NODE: Final = Misfit(
    "Berth does not know the node: its agent has not registered yet; see the pod of"
    " berth-node-agent there",
    True,
)


def _told(subnet: SubnetVacancy) -> str:
    closed = "" if subnet.state is SubnetState.OPEN else f", {subnet.state}"
    return f"{subnet.subnet} ({subnet.zone}, {subnet.free} of {subnet.total} free{closed})"
