"""The stored shape of a fixed lease, as the allocator writes it and the eni_manager reads it.

One field of the hash ``lease:fixed`` per identity token, one JSON object per lease; short names
because there are a million of them. The journal holds the same objects. Version N reads N-1.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.addresses import AddressState
from shared.policies import LeasePolicy

RECORD_VERSION: Final = 1

LeaseState = Literal[
    AddressState.BOUND_FIXED,
    AddressState.RETAINED,
    AddressState.MOVING,
    AddressState.PARKED,
    AddressState.EXPIRED,
]


class LeaseRecord(BaseModel):
    """One fixed lease: who (the field's name), which address, where, since when."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    version: Annotated[int, Field(alias="v", ge=1, le=RECORD_VERSION)] = RECORD_VERSION
    address: Annotated[IPv4Address, Field(alias="a")]
    state: Annotated[LeaseState, Field(alias="s")]
    generation: Annotated[int, Field(alias="g", ge=1)]
    subnet: Annotated[str, Field(alias="sn")]
    node: Annotated[str | None, Field(alias="n")] = None  # where it is; None: parked
    eni: Annotated[str | None, Field(alias="e")] = None
    # Node, while moving; "": its ENI leaves the node that its pod left.
    moving_to: Annotated[str | None, Field(alias="to")] = None
    pod_uid: Annotated[str | None, Field(alias="u")] = None  # of the last bind
    attachment: Annotated[str | None, Field(alias="c")] = None  # str(AttachmentKey)
    since_ms: Annotated[int, Field(alias="t", ge=0)]  # of the state; the store's clock
    expires_after_s: Annotated[int | None, Field(alias="x", ge=0)] = None
    # Set by a person: binds keep it.
    is_expiry_set: Annotated[bool | None, Field(alias="p")] = None
    # Of the bind that a release must name, when a later step has not ended it.
    bound_generation: Annotated[int | None, Field(alias="b", ge=1)] = None

    # The pod for which a pool's slot was moved here, until that pod has it.
    reserved_for: Annotated[str | None, Field(alias="f")] = None
    # The address is the primary one of an ENI that its pod has as a whole.
    is_exclusive: Annotated[bool | None, Field(alias="k")] = None
    workload: Annotated[str | None, Field(alias="w")] = None  # WorkloadName.local of the pod

    policy: Annotated[LeasePolicy | None, Field(alias="po")] = None  # None: never

    @property
    def since(self) -> datetime:
        return datetime.fromtimestamp(self.since_ms / 1000, UTC)

    @property
    def expires_at(self) -> datetime | None:
        """When a retained lease ends by itself; None: never, or the clock does not run."""
        waits = self.state in (AddressState.RETAINED, AddressState.PARKED)
        if not waits or self.expires_after_s is None:
            return None
        return self.since + timedelta(seconds=self.expires_after_s)
