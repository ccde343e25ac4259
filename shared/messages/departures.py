"""``cluster.gone`` and ``cluster.leave``: a node that is gone for ever, by somebody's word.

Refused while the cloud shows its instance running, or while its agent answers, unless it is
forced with a reason. Its leases then live on without a place, ready to move to where their
next pods are; addresses without a fixed lease end; its ENIs leave the instance.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from .base import DETAIL_CHARACTERS_MAX, Endpoint, Message, Name, Request, ServiceName
from .clusters import InstanceCondition

_ENIS_MAX: Final = 512

Reason = Annotated[str, Field(min_length=1, max_length=DETAIL_CHARACTERS_MAX)]


class NodeGoneRequest(Request):
    """The word, and whose it is; the audit keeps both."""

    type: Literal["berth.v1.node_gone_request"] = "berth.v1.node_gone_request"
    node: Name
    by: Name
    reason: Reason | None = None
    force: bool = False  # even if something may still run there; needs a reason


class NodeGone(Message):
    """What became of all that it had."""

    type: Literal["berth.v1.node_gone"] = "berth.v1.node_gone"
    node: Name
    instance: str | None  # None: no node of that name is known
    condition: InstanceCondition | None  # of the instance, when that was asked
    leases: Annotated[int, Field(ge=0)]  # fixed ones that are ready to move
    ended: Annotated[int, Field(ge=0)]  # addresses of pods without a fixed lease
    enis: Annotated[tuple[Name, ...], Field(max_length=_ENIS_MAX)]  # that left the instance


class NodeLeaveRequest(Request):
    """Its ENIs leave the instance, and its book is closed."""

    type: Literal["berth.v1.node_leave_request"] = "berth.v1.node_leave_request"
    node: Name
    reason: Reason


class NodeLeft(Message):
    """What fixed leases name stays on its ENI, held; the sweeper takes the rest after its
    grace time."""

    type: Literal["berth.v1.node_left"] = "berth.v1.node_left"
    enis: Annotated[tuple[Name, ...], Field(max_length=_ENIS_MAX)]


# One who is asked may have to wait for the cloud: a second one would only wait beside it.
NODE_GONE: Final = Endpoint(
    name="cluster.gone",
    server=ServiceName.ALLOCATOR,
    request=NodeGoneRequest,
    outcome=NodeGone,
    idempotency_key="node",
    on_timeout="maybe done in part: ask again",
    timeout_s=60.0,
    attempt_s=60.0,
)
NODE_LEAVE: Final = Endpoint(
    name="cluster.leave",
    server=ServiceName.ENI_MANAGER,
    request=NodeLeaveRequest,
    outcome=NodeLeft,
    idempotency_key="node",
    on_timeout="maybe done in part: ask again",
    timeout_s=45.0,
    attempt_s=45.0,
)
