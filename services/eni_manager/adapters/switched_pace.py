"""Pace behind the operators' switch: no call of a kind that is switched off gets a turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.eni_manager.adapters.pace import Pace
from shared.capacities import CloudCalls
from shared.errors import Unavailable

_RELEASING: Final = frozenset(
    {
        "UnassignPrivateIpAddresses",
        "DetachNetworkInterface",
        "DeleteNetworkInterface",
        "DeleteReserveIpAddresses",
    }
)


class SwitchedPace:
    """Implements Pace."""

    def __init__(self, pace: Pace, calls: Callable[[], CloudCalls]) -> None:
        self._pace = pace
        self._calls = calls

    async def turn(self, action: str) -> None:
        self._check(action)
        await self._pace.turn(action)
        self._check(action)  # it may have been switched off while the call waited

    async def throttled(self, action: str) -> None:
        await self._pace.throttled(action)

    def _check(self, action: str) -> None:
        calls = self._calls()
        is_off = calls is CloudCalls.NONE or (
            calls is CloudCalls.NO_RELEASE and action in _RELEASING
        )
        if is_off:
            raise Unavailable(
                f"{action} is switched off (cloud calls: {calls}); `berth capacity calls all`"
                " switches them on"
            )
