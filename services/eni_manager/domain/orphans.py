"""What an ENI that carries our tags is, by the books of all nodes (pure)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from shared.cloud.words import Eni, EniState
from shared.ids import EniId, InstanceId


class Found(StrEnum):
    KNOWN = "known"  # in a book, or under way to or from one
    LATE = "late"  # on a node's instance, and that node's observer will take it up
    STRAY = "stray"  # on an instance that has no node: left alone, and reported
    ORPHAN = "orphan"  # on no instance, and in no book


class SweepMode(StrEnum):
    OFF = "off"
    DRY_RUN = "dry_run"  # says what it would do
    ON = "on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    enis: Collection[EniId]
    intents: Collection[str]
    named: Collection[EniId]  # by intents
    instances: Collection[InstanceId]


def judge(eni: Eni, known: Known) -> Found:
    is_begun = any(value in known.intents for value in eni.tags.values())
    if eni.eni in known.enis or eni.eni in known.named or is_begun:
        return Found.KNOWN
    if eni.instance is not None:
        return Found.LATE if eni.instance in known.instances else Found.STRAY
    return Found.ORPHAN if eni.state is EniState.AVAILABLE else Found.LATE
