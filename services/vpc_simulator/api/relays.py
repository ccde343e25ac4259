"""What an operator may do to an instance's relays: cut its way out of the VPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from services.vpc_simulator.api.shapes import Json
from services.vpc_simulator.model.failures import not_found
from services.vpc_simulator.relay import Relay
from shared.errors import InvalidInput

_VERBS: Final = ("partition", "heal", "delay", "cut")


class RelayDocument(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    delay_ms: Annotated[int, Field(ge=0, le=600_000)] = 0
    """For `delay`: of every piece, in both directions; 0 ends it."""


def chosen(relays: Sequence[Relay], name: str) -> list[Relay]:
    if name == "all":
        return list(relays)
    found = [each for each in relays if _name(each) == name]
    if not found:
        known = ", ".join(_name(each) for each in relays) or "none"
        raise not_found("relay", f"{name} (known: {known})")
    return found


async def treat(relays: Sequence[Relay], verb: str, asked: RelayDocument) -> None:
    if verb not in _VERBS:
        raise InvalidInput.of("verb", verb, " or ".join(_VERBS))
    for each in relays:
        match verb:
            case "partition":
                each.partition()
            case "heal":
                each.heal()
            case "delay":
                each.delay(asked.delay_ms / 1000)
            case "cut":
                await each.cut()


def shown(relay: Relay) -> Json:
    return {
        "relay": _name(relay),
        "connections": relay.connections,
        "partitioned": relay.is_partitioned,
        "delay_ms": round(relay.delay_s * 1000),
    }


def _name(relay: Relay) -> str:
    return f"{relay.listen[0]}:{relay.listen[1]}"
