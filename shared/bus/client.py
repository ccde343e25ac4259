"""Requests with a deadline: the same bytes are sent again until there is an answer or no time.

Every endpoint is safe to repeat by its key, so "no answer" is never compensated: it is asked
again, and at the deadline it is Unavailable, which means *maybe done*.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from functools import cache
from typing import Final, TypeVar

import nats.errors
from nats.aio.client import Client
from pydantic import ValidationError

from shared.clock import Clock
from shared.errors import ErrorCode, NoAnswer, Unavailable, error_of
from shared.ids import ClusterName, NodeName
from shared.messages.base import Endpoint, Message, Rejected, Reply, Request
from shared.runtime.backoff import backoff_s
from shared.telemetry.metrics import BUS_CALLS_TOTAL

Req = TypeVar("Req", bound=Request)
Out = TypeVar("Out", bound=Message)

_FIRST_WAIT_S: Final = 0.02
_LONGEST_WAIT_S: Final = 0.5
_PING_S: Final = 0.3  # services answer a ping at once; nobody tells how many there are
# Another replica may have room, or have the epoch open already.
_RETRIED: Final = frozenset({ErrorCode.BUSY, ErrorCode.EPOCH_LOST})


class BusClient:
    """Calls endpoints of one cluster."""

    def __init__(
        self, nats: Client, *, cluster: ClusterName, clock: Clock, rng: random.Random
    ) -> None:
        self._nats = nats
        self._cluster = cluster
        self._clock = clock
        self._rng = rng

    async def call(
        self, endpoint: Endpoint[Req, Out], request: Req, node: NodeName | None = None
    ) -> Out:
        """The outcome. Raises the error that the other side named, or Unavailable."""
        subject = endpoint.subject(self._cluster, node)
        body = request.model_dump_json().encode()
        waits = backoff_s(self._rng, first_s=_FIRST_WAIT_S, longest_s=_LONGEST_WAIT_S)
        last, is_told = "no time was left to ask", False
        while (left_s := self._left_s(request)) > 0:
            try:
                answer = await self._nats.request(
                    subject, body, timeout=min(left_s, endpoint.attempt_s)
                )
            except nats.errors.NoRespondersError:
                last = f"nobody serves {endpoint.name}"
            except (TimeoutError, nats.errors.TimeoutError):
                last = f"no answer to {endpoint.name}"
            except (nats.errors.Error, OSError) as error:
                last = f"bus: {error or type(error).__name__}"
            else:
                outcome = _parse(endpoint, answer.data)
                if not isinstance(outcome, Rejected):
                    BUS_CALLS_TOTAL.labels(endpoint.name, "ok").inc()
                    return outcome
                last, is_told = outcome.detail, True
                if outcome.code not in _RETRIED:
                    BUS_CALLS_TOTAL.labels(endpoint.name, outcome.code).inc()
                    raise error_of(outcome.code, outcome.detail)
            await asyncio.sleep(min(next(waits), max(0.0, self._left_s(request))))
        BUS_CALLS_TOTAL.labels(endpoint.name, "unavailable").inc()
        raise Unavailable(last) if is_told else NoAnswer(last)

    async def find_replicas(self, *, wait_s: float = _PING_S) -> dict[str, int]:
        """How many of each service answer within that time, by the services' names."""
        inbox = self._nats.new_inbox()
        subscription = await self._nats.subscribe(inbox)
        seen: set[tuple[str, str]] = set()
        try:
            await self._nats.publish("$SRV.PING", b"", reply=inbox)
            async with asyncio.timeout(wait_s):
                while True:
                    answer = await subscription.next_msg(timeout=wait_s)
                    if not answer.data:  # the bus itself: nobody is there to answer
                        return {}
                    told = json.loads(answer.data)
                    seen.add((str(told["name"]), str(told["id"])))
        except (TimeoutError, nats.errors.TimeoutError):
            return dict(Counter(name for name, _ in seen))
        except (nats.errors.Error, OSError) as error:
            raise Unavailable(f"bus: {error or type(error).__name__}") from error
        finally:
            await subscription.unsubscribe()

    def _left_s(self, request: Request) -> float:
        return (request.deadline - self._clock.now()).total_seconds()


def _parse(endpoint: Endpoint[Req, Out], data: bytes) -> Out | Rejected:
    try:
        return _reply_of(endpoint.outcome).model_validate_json(data).outcome
    except ValidationError as error:
        raise Unavailable(f"{endpoint.name}: an answer of unknown shape") from error


@cache
def _reply_of(outcome: type[Out]) -> type[Reply[Out]]:
    """Building the model takes two milliseconds, and pydantic forgets one that nobody holds."""
    return Reply[outcome]  # type: ignore[valid-type] # a class at run time
