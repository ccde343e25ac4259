"""Who is only suspected to be gone, and who has been gone long enough (pure).

One look proves nothing: a sandbox is wired before its runtime lists it, and a runtime that has
just started may list little. So an attachment must be missed again and again for a whole grace
time, without being seen once.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from shared.ids import AttachmentKey


class Suspects:
    """Attachments that were missed, and since when."""

    def __init__(self, grace: timedelta) -> None:
        self._grace = grace
        self._since: dict[AttachmentKey, datetime] = {}

    def observe(self, missed: Collection[AttachmentKey], now: datetime) -> list[AttachmentKey]:
        """What this look missed; returns who has been missed for the whole grace time."""
        self._since = {
            key: min(self._since.get(key, now), now)  # a clock that steps back begins anew
            for key in missed
        }
        return [key for key, since in self._since.items() if since + self._grace <= now > since]

    def forget(self) -> None:
        """Nothing could be seen: what was missed before proves nothing any more."""
        self._since.clear()
