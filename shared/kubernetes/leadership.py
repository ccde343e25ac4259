"""One replica at a time, by a Lease of the API server: for work that is safe to do twice, and
not cheap.

Nothing depends on there being one leader only: what a leader writes is compared first with what
is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from shared.clock import Clock
from shared.errors import BerthError, NotFound
from shared.runtime.loops import cancel

from .answers import ObjectConflict
from .client import KubernetesClient
from .watching import Object

log = logging.getLogger(__name__)

_RENEWALS_PER_TERM: Final = 3
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class Leadership:
    """Runs `lead` while this replica holds the Lease; `run` is kept by the supervisor."""

    def __init__(
        self,
        kubernetes: KubernetesClient,
        clock: Clock,
        *,
        namespace: str,
        name: str,
        holder: str,
        term: timedelta,
        lead: Callable[[], Awaitable[None]],
    ) -> None:
        self._kubernetes = kubernetes
        self._clock = clock
        self._folder = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self._holder = holder
        self._term = term
        self._lead = lead
        # Another's clock is not ours: its term is measured from when we saw it renewed.
        self._seen: tuple[str, float] = ("", 0.0)

    async def run(self) -> None:
        pause_s = self._term.total_seconds() / _RENEWALS_PER_TERM
        leading: asyncio.Task[None] | None = None
        lost_at_s = 0.0
        try:
            while True:
                now_s = self._clock.monotonic_s()
                if await self._holds():
                    lost_at_s = now_s + self._term.total_seconds() - pause_s
                    if leading is None or leading.done():
                        log.info("leading", extra={"lease": self._name})
                        leading = asyncio.create_task(self._leading(), name=self._name)
                elif leading is not None and now_s >= lost_at_s:
                    await cancel([leading])
                    leading = None
                await asyncio.sleep(pause_s)
        finally:
            if leading is not None:
                await cancel([leading])

    async def _leading(self) -> None:
        try:
            await self._lead()
        except BerthError as error:
            log.warning("leading failed", extra={"lease": self._name, "error": str(error)})

    async def _holds(self) -> bool:
        """Take the Lease, or renew it. False when it is another's, or cannot be asked for."""
        try:
            found = await self._kubernetes.get(f"{self._folder}/{self._name}")
        except NotFound:
            return await self._write(None)
        except BerthError as error:
            log.info("lease not renewed", extra={"lease": self._name, "error": str(error)})
            return False
        spec = found["spec"]
        if spec.get("holderIdentity") == self._holder or self._has_ended(found):
            return await self._write(found)
        return False

    def _has_ended(self, found: Object) -> bool:
        version, now_s = found["metadata"]["resourceVersion"], self._clock.monotonic_s()
        if self._seen[0] != version:
            self._seen = version, now_s
        return now_s - self._seen[1] > float(found["spec"].get("leaseDurationSeconds") or 0)

    async def _write(self, found: Object | None) -> bool:
        spec = {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": max(1, round(self._term.total_seconds())),
            "renewTime": self._clock.now().strftime(_TIME),
        }
        try:
            if found is None:
                body = {"metadata": {"name": self._name}, "spec": spec}
                await self._kubernetes.create(self._folder, body)
            else:
                body = {**found, "spec": {**found["spec"], **spec}}
                await self._kubernetes.replace(f"{self._folder}/{self._name}", body)
        except ObjectConflict:
            return False  # another replica was first
        except BerthError as error:
            log.info("lease not renewed", extra={"lease": self._name, "error": str(error)})
            return False
        return True
