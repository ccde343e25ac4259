"""Attachments whose DEL never came: found, doubted, and at last taken down.

A runtime that crashed, or a spool that was full, leaves an address bound to nobody. It is freed
by the ordinary DEL once it was missed for a grace time and a last check misses it too; whatever
cannot be asked keeps everything as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from shared.clock import Clock
from shared.errors import PodUnknown, Unavailable
from shared.ids import AttachmentKey, PodName, PodUid
from shared.telemetry.metrics import GARBAGE_TOTAL

from .domain.attachments import ClaimPhase
from .domain.garbage import Suspects
from .domain.ports import PodSource, Runtime
from .ledger import Ledger
from .service import NodeAgent

log = logging.getLogger(__name__)


_OPEN: Final = (ClaimPhase.ACQUIRING, ClaimPhase.BOUND)


class Garbage:
    """Looks in rounds."""

    def __init__(
        self,
        *,
        service: NodeAgent,
        ledger: Ledger,
        pods: PodSource,
        runtime: Runtime | None,
        clock: Clock,
        grace: timedelta,
        exists: Callable[[str], bool],
    ) -> None:
        """`exists` tells whether a namespace's path is still there."""
        self._service = service
        self._ledger = ledger
        self._pods = pods
        self._runtime = runtime
        self._clock = clock
        self._suspects = Suspects(grace)
        self._exists = exists

    async def round(self) -> None:
        """One look. Raises Unavailable when the runtime cannot be asked."""
        try:
            missed = await self._missed()
        except Unavailable:
            self._suspects.forget()
            raise
        due = self._suspects.observe(missed, self._clock.now())
        if not due:
            return
        again = await self._missed()  # asked anew: the last check of what the runtime says
        for key in due:
            if key in again and await self._is_pod_gone(key):
                await self._free(key)

    async def _missed(self) -> frozenset[AttachmentKey]:
        sandboxes = None if self._runtime is None else await self._runtime.sandboxes()
        return frozenset(
            key for key in self._ledger.open_keys() if self._is_missed(key, sandboxes)
        )

    def _is_missed(self, key: AttachmentKey, sandboxes: frozenset[str] | None) -> bool:
        """The runtime knows its own pods; what others attached is as alive as its namespace."""
        if self._service.is_being_added(key):
            return False
        attachment, claim = self._ledger.attachments.get(key), self._ledger.claims.get(key)
        if attachment is None:  # a claim alone: its ADD failed, and no DEL followed
            is_open = claim is not None and claim.phase in _OPEN and not claim.is_abandoned
            return is_open and (sandboxes is None or key.container_id not in sandboxes)
        if sandboxes is not None and attachment.pod is not None:
            return key.container_id not in sandboxes
        return bool(attachment.netns_path) and not self._exists(attachment.netns_path)

    async def _is_pod_gone(self, key: AttachmentKey) -> bool:
        """The last check. Where there is a runtime its second answer has decided."""
        attachment, claim = self._ledger.attachments.get(key), self._ledger.claims.get(key)
        pod: PodName | None
        uid: PodUid | None
        if attachment is not None:
            pod, uid = attachment.pod, attachment.pod_uid
        elif claim is not None:
            pod = PodName(claim.identity.namespace, claim.identity.name)
            uid = claim.pod_uid
        else:
            return False  # its DEL came meanwhile
        if self._runtime is not None or pod is None:
            return True
        try:
            await self._pods.find(pod, uid)
        except PodUnknown:
            return True
        return False  # its runtime still owes the DEL, or makes the pod a new sandbox

    async def _free(self, key: AttachmentKey) -> None:
        log.warning("attachment without a sandbox freed", extra={"attachment": str(key)})
        await self._service.delete(key)
        GARBAGE_TOTAL.inc()
