"""The allocator's settings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.settings import Seconds, StoreSettings


class AllocatorSettings(StoreSettings):
    section: ClassVar[str] = "allocator"

    in_flight_max: Annotated[int, Field(ge=1, le=65_536)] = 1024
    """Requests taken and not yet answered; one more is told to try another replica."""

    durability: Literal["disk", "memory"] = "disk"
    """disk: refuse to start on a store that may lose an acknowledged write; memory: accept."""

    claim_timeout_s: Seconds = 10.0
    """How long another replica's recovery may stand still before this one takes it over."""

    journal_interval_s: Seconds = 2.0
    """How often steps that no replica has journaled are looked for."""
