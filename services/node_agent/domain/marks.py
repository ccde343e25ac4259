"""Which mark tells what is sent from which ENI's addresses (pure)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from .wiring import FROM_POD_PRIORITY, SOURCE_MASK, EniLink, Rule, WiringRules


def with_marks(
    enis: Collection[EniLink], rules: WiringRules, observed: Collection[Rule]
) -> tuple[EniLink, ...]:
    """Shared ENIs keep the mark they have, or that an agent before gave their table: pods may
    be sending under it. Others get the lowest that is free; 0 where none is left."""
    mark_of_table = {
        rule.table: rule.mark
        for rule in observed
        if rule.priority == FROM_POD_PRIORITY and rule.mark is not None
    }
    known = {
        eni.eni.eni: eni.mark or mark_of_table.get(rules.table_of(eni), 0)
        for eni in enis
        if eni.eni.is_shared
    }
    taken = {*known.values(), *mark_of_table.values()}
    free = (mark for mark in range(1, SOURCE_MASK + 1) if mark not in taken)
    return tuple(
        replace(eni, mark=known[eni.eni.eni] or next(free, 0)) if eni.eni.is_shared else eni
        for eni in enis
    )
