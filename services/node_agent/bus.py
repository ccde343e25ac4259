"""What the use cases need of the bus: one call, with a deadline inside the request."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, TypeVar

from shared.ids import NodeName
from shared.messages.base import Endpoint, Message, Request
from shared.runtime.pulse import Pulse

Req = TypeVar("Req", bound=Request)
Out = TypeVar("Out", bound=Message)


class Bus(Protocol):
    async def call(
        self, endpoint: Endpoint[Req, Out], request: Req, node: NodeName | None = None
    ) -> Out:
        """The outcome. Raises the error that the other side named, or Unavailable."""
        ...


# What others are told of a pod waits this long: it is told together with what happens
# meanwhile, and not while the runtime's next call is served.
GATHER_S: Final = 0.05


class Signals:
    """What one part says to the others: stock came or went, something is to be told."""

    def __init__(self) -> None:
        self.stock_changed = Pulse()
        self.outbox = asyncio.Event()
        self.want = asyncio.Event()
        self._is_gathering = False

    def give_all(self) -> None:
        self.stock_changed.give()
        self.tell()

    def tell(self) -> None:
        if not self._is_gathering:
            self._is_gathering = True
            asyncio.get_running_loop().call_later(GATHER_S, self._tell)

    def _tell(self) -> None:
        self._is_gathering = False
        self.outbox.set()
        self.want.set()
