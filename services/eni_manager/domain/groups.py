"""How an ENI's security groups become the declared ones: added before removed (pure).

Between two steps an ENI never has fewer groups than it is to keep, so no traffic is let in, or
cut off, that both the old and the new groups agree on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

GROUPS_PER_ENI_MAX: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStep:
    is_addition: bool
    groups: tuple[str, ...]


def group_steps(current: Sequence[str], declared: Sequence[str]) -> list[GroupStep]:
    """Nothing when they are the same, in whatever order. Where the cloud's limit leaves no room
    for all new ones beside the old, an old one goes in between."""
    missing = [each for each in declared if each not in current]
    surplus = [each for each in current if each not in declared]
    held, steps = len(current), []
    while missing:
        room = GROUPS_PER_ENI_MAX - held
        if room <= 0:
            steps.append(GroupStep(is_addition=False, groups=(surplus.pop(0),)))
            held -= 1
            continue
        taken, missing = missing[:room], missing[room:]
        steps.append(GroupStep(is_addition=True, groups=tuple(taken)))
        held += len(taken)
    if surplus:
        steps.append(GroupStep(is_addition=False, groups=tuple(surplus)))
    return steps
