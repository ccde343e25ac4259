"""A call's turn under the account's rate limit, as the cloud adapters ask for it."""

from __future__ import annotations

from typing import Protocol


class Pace(Protocol):
    async def turn(self, action: str) -> None:
        """Returns when a call of this action may be sent."""
        ...

    async def throttled(self, action: str) -> None:
        """The cloud refused a call for its rate: slow down."""
        ...


class Unpaced:
    """For clouds without limits, and for tests."""

    async def turn(self, action: str) -> None:
        return None

    async def throttled(self, action: str) -> None:
        return None
