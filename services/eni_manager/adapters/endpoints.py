"""The eni_manager's subjects: messages in, domain words through, messages out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.eni_manager.adapters.bus_agents import eni_fields
from services.eni_manager.domain.moves import Move, Parking
from services.eni_manager.domain.placement import Capacity
from services.eni_manager.domain.reclaims import Reclaim
from services.eni_manager.domain.records import Demand, Hold, NodeImage, WaitingIn
from services.eni_manager.service import EniManager, NodeWarmth
from shared.bus.server import Handler
from shared.clock import Clock
from shared.cloud.words import InstanceState
from shared.ids import EniId, InstanceId, NodeName, SubnetId
from shared.messages.base import Endpoint
from shared.messages.clusters import (
    NODE_INSTANCE,
    NODE_LIST,
    NODE_LOOK,
    EniView,
    HeldBack,
    InstanceCondition,
    NodeInstance,
    NodeInstanceRequest,
    NodeListRequest,
    NodeLooked,
    NodeLookRequest,
    NodesListed,
    NodeView,
)
from shared.messages.departures import NODE_LEAVE, NodeLeaveRequest, NodeLeft
from shared.messages.moves import (
    ADDRESS_MOVE,
    ADDRESS_PARK,
    ADDRESS_RECLAIM,
    Moved,
    MoveRequest,
    Parked,
    ParkRequest,
    Reclaimed,
    ReclaimRequest,
)
from shared.messages.nodes import NODE_WANT, NodeCapacity, StockCounts, Wanted, WantRequest
from shared.messages.nodes import WaitingIn as WaitingInFields

_PROBLEM_CHARACTERS_MAX = 1024
_CONDITIONS = {
    InstanceState.STOPPED: InstanceCondition.STOPPED,
    InstanceState.TERMINATED: InstanceCondition.GONE,
}


class EniManagerEndpoints:
    def __init__(self, service: EniManager, clock: Clock) -> None:
        self._service = service
        self._clock = clock

    def handlers(self) -> dict[Endpoint[Any, Any], Handler[Any, Any]]:
        return {
            NODE_WANT: self._want,
            ADDRESS_MOVE: self._move,
            ADDRESS_PARK: self._park,
            ADDRESS_RECLAIM: self._reclaim,
            NODE_INSTANCE: self._instance,
            NODE_LIST: self._list_nodes,
            NODE_LOOK: self._look,
            NODE_LEAVE: self._leave,
        }

    async def _want(self, request: WantRequest) -> Wanted:
        heard = await self._service.want(
            NodeName(request.node),
            InstanceId(request.instance),
            request.incarnation,
            replace(_demand(request.counts), waiting_in=_waiting_in(request.waiting_in)),
            frozenset(request.enis),
            exclusive=_demand(request.exclusive),
            warmth=NodeWarmth(
                group=request.group,
                warm_min=request.warm_min,
                warm_max=request.warm_max,
            ),
            now=self._clock.now(),
        )
        return Wanted(
            problem=heard.problem[:_PROBLEM_CHARACTERS_MAX] if heard.problem else None,
            capacity=None if heard.capacity is None else _capacity(heard.capacity),
        )

    async def _move(self, request: MoveRequest) -> Moved:
        move = Move(
            identity=request.identity.to_identity(),
            address=request.address,
            subnet=SubnetId(request.subnet),
            from_eni=EniId(request.from_eni) if request.from_eni else None,
            to_node=NodeName(request.to_node),
            generation=request.generation,
        )
        arrived = await self._service.move(move)
        return Moved(address=move.address, eni=eni_fields(arrived), generation=move.generation)

    async def _park(self, request: ParkRequest) -> Parked:
        await self._service.park(
            Parking(
                identity=request.identity.to_identity(),
                address=request.address,
                eni=EniId(request.eni),
                node=NodeName(request.node),
                generation=request.generation,
            )
        )
        return Parked(address=request.address, generation=request.generation)

    async def _reclaim(self, request: ReclaimRequest) -> Reclaimed:
        await self._service.reclaim(
            Reclaim(
                identity=request.identity.to_identity(),
                address=request.address,
                node=NodeName(request.node) if request.node else None,
                generation=request.generation,
                eni=EniId(request.eni) if request.eni else None,
            )
        )
        return Reclaimed(address=request.address, generation=request.generation)

    async def _instance(self, request: NodeInstanceRequest) -> NodeInstance:
        instance, state = await self._service.instance(NodeName(request.node))
        condition = _CONDITIONS.get(state, InstanceCondition.RUNNING)
        return NodeInstance(instance=instance, condition=condition)

    async def _list_nodes(self, request: NodeListRequest) -> NodesListed:
        images, is_last = await self._service.nodes(
            only=None if request.node is None else NodeName(request.node),
            after=None if request.after is None else NodeName(request.after),
            limit=request.limit,
        )
        return NodesListed(nodes=[_node_view(each) for each in images], is_last=is_last)

    async def _look(self, request: NodeLookRequest) -> NodeLooked:
        self._service.look(NodeName(request.node))
        return NodeLooked(node=request.node)

    async def _leave(self, request: NodeLeaveRequest) -> NodeLeft:
        enis = await self._service.leave(NodeName(request.node), request.reason)
        return NodeLeft(enis=tuple(enis))


def _demand(counts: StockCounts) -> Demand:
    return Demand(
        idle=counts.idle,
        promised=counts.promised,
        cooling=counts.cooling,
        bound=counts.bound_immediate + counts.bound_fixed,
        waiting=counts.waiting,
    )


def _waiting_in(told: Sequence[WaitingInFields]) -> tuple[WaitingIn, ...]:
    return tuple(
        WaitingIn(
            subnets=tuple(SubnetId(each) for each in it.subnets), count=it.count, idle=it.idle
        )
        for it in told
    )


def _capacity(capacity: Capacity) -> NodeCapacity:
    return NodeCapacity(
        addresses_max=capacity.addresses_max,
        addresses_free=capacity.addresses_free,
        enis_max=capacity.enis_max,
        enis_free=capacity.enis_free,
    )


def _node_view(image: NodeImage) -> NodeView:
    node = image.node
    return NodeView(
        node=node.node,
        instance=node.instance,
        zone=node.zone,
        enis=[
            EniView(
                eni=each.eni,
                subnet=each.subnet,
                mac=each.mac,
                state=each.purpose,
                primary_address=each.primary_address,
                addresses=sorted(it.address for it in image.on(each.eni)),
                addresses_max=node.addresses_max or 0,
                held_back=tuple(
                    HeldBack(address=it.address, hold=it.hold, reason=it.reason)
                    for it in image.on(each.eni)
                    if it.hold is not Hold.GIVEN
                ),
            )
            for each in image.enis.values()
        ],
        enis_max=node.enis_max,
        problem=node.problem,
        warning=node.warning,
        heard_at=node.heard_at,
    )
