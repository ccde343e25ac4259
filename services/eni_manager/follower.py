"""Follows the state of many ENIs by describing up to a hundred in one call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from services.eni_manager.domain.errands import Urgency, urgent
from shared.cloud.errors import CloudAway
from shared.cloud.port import ENIS_PER_DESCRIBE_MAX, CloudApi
from shared.cloud.words import Eni
from shared.errors import BerthError
from shared.ids import EniId

log = logging.getLogger(__name__)

# Of the rate that describing has, this much is for following; the rest is for observing.
_DESCRIBES_PER_S = 30

Wanted = Callable[[Eni | None], bool]  # None: the ENI does not exist (any more)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Waiter:
    eni: EniId
    wanted: Wanted
    found: asyncio.Future[Eni | None]


class EniFollower:
    """One describing loop for everybody who waits for an ENI to become something."""

    def __init__(self, cloud: CloudApi, *, interval_s: float) -> None:
        self._cloud = cloud
        self._interval_s = interval_s
        self._waiters: set[_Waiter] = set()
        self._someone = asyncio.Event()

    async def until(self, eni: EniId, wanted: Wanted, *, timeout_s: float) -> Eni | None:
        """The ENI as soon as it is as wanted. Raises CloudAway when it does not become so."""
        waiter = _Waiter(
            eni=eni, wanted=wanted, found=asyncio.get_running_loop().create_future()
        )
        self._waiters.add(waiter)
        self._someone.set()
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter.found
        except TimeoutError:
            raise CloudAway(
                "DescribeNetworkInterfaces",
                "NotSettled",
                f"{eni} did not settle within {timeout_s:.0f} s",
            ) from None
        finally:
            self._waiters.discard(waiter)

    async def run(self) -> None:
        """The loop; kept by the service's supervisor."""
        while True:
            await self._someone.wait()
            pages = 1
            try:
                pages = await self._look()
            except BerthError as error:
                log.warning("ENIs cannot be described", extra={"error": str(error)})
            if not self._waiters:
                self._someone.clear()
            else:
                await asyncio.sleep(max(self._interval_s, pages / _DESCRIBES_PER_S))

    async def _look(self) -> int:
        """How many calls it took."""
        waiting = list(self._waiters)
        names = sorted({each.eni for each in waiting})
        pages = [
            names[start : start + ENIS_PER_DESCRIBE_MAX]
            for start in range(0, len(names), ENIS_PER_DESCRIBE_MAX)
        ]
        with urgent(Urgency.POD):  # one look serves all, a waiting pod maybe among them
            found = await asyncio.gather(*(self._cloud.describe_enis(it) for it in pages))
        seen: dict[EniId, Eni] = {each.eni: each for page in found for each in page}
        for each in waiting:
            eni = seen.get(each.eni)
            if not each.found.done() and each.wanted(eni):
                each.found.set_result(eni)
        return len(pages)
