"""``capacity.set`` and ``capacity.show``: how much nodes keep ready, and which cloud calls are
made; followed live.

What is not set comes from the next wider scope: node, its group, the cluster, the eni_manager's
own settings. A node's own word, from its agent's settings, lies between its group's and an
operator's word for it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from shared.capacities import CapacityWish, CloudCalls

from .base import BATCH_MAX, Endpoint, Message, Name, Request, ServiceName

WARM_MAX: Final = 512

Scope = Annotated[str, Field(pattern=r"^(cluster|group/.{1,253}|node/.{1,253})$")]
Warm = Annotated[int, Field(ge=0, le=WARM_MAX)]


class CapacityFields(Message):
    """What one scope says; None: nothing."""

    warm_min: Warm | None = None
    warm_max: Warm | None = None
    release_every_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    """One idle address above the maximum goes back in this time; 0: all at once."""

    @classmethod
    def of(cls, wish: CapacityWish) -> CapacityFields:
        return cls(
            warm_min=wish.warm_min,
            warm_max=wish.warm_max,
            release_every_s=wish.release_every_s,
        )

    def to_wish(self) -> CapacityWish:
        return CapacityWish(
            warm_min=self.warm_min,
            warm_max=self.warm_max,
            release_every_s=self.release_every_s,
        )


class CapacitySetRequest(Request):
    type: Literal["berth.v1.capacity_set_request"] = "berth.v1.capacity_set_request"
    scope: Scope
    capacity: CapacityFields | None = None  # in place of what the scope said; None: as it was
    calls: CloudCalls | None = None  # of the cluster; None: as it was
    by: Name


class CapacityShowRequest(Request):
    type: Literal["berth.v1.capacity_show_request"] = "berth.v1.capacity_show_request"


class ScopedCapacity(Message):
    scope: str
    capacity: CapacityFields


class CapacityShown(Message):
    """What is set; replicas follow within a second or two."""

    type: Literal["berth.v1.capacity_shown"] = "berth.v1.capacity_shown"
    defaults: CapacityFields
    calls: CloudCalls
    scopes: Annotated[list[ScopedCapacity], Field(max_length=BATCH_MAX)]


CAPACITY_SET: Final = Endpoint(
    name="capacity.set",
    server=ServiceName.ENI_MANAGER,
    request=CapacitySetRequest,
    outcome=CapacityShown,
    idempotency_key="scope, capacity, calls",
    on_timeout="maybe set: ask again with the same words",
    timeout_s=5.0,
)
CAPACITY_SHOW: Final = Endpoint(
    name="capacity.show",
    server=ServiceName.ENI_MANAGER,
    request=CapacityShowRequest,
    outcome=CapacityShown,
    idempotency_key="none: it reads",
    on_timeout="ask again",
    timeout_s=5.0,
)
