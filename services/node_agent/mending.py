"""``agent.<node>.mend``: a person asked this node to compare and put right now."""

from __future__ import annotations

from shared.errors import NotAuthorised
from shared.ids import NodeName
from shared.messages.nodes import Mended, MendRequest

from .bus import Signals
from .outbox import Outbox
from .repair import Repairer


class Mending:
    """What goes on by itself every few seconds, at once."""

    def __init__(
        self, *, node: NodeName, repairer: Repairer, outbox: Outbox, signals: Signals
    ) -> None:
        self._node = node
        self._repairer = repairer
        self._outbox = outbox
        self._signals = signals

    async def mend(self, request: MendRequest) -> Mended:
        if request.node != self._node:
            raise NotAuthorised(f"node: this is {self._node!r}, not {request.node!r}")
        repaired = self._repairer.round()
        self._outbox.tell_all()
        self._signals.tell()
        return Mended(repaired=repaired)
