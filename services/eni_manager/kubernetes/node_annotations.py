"""What annotations of a Node and of its NodeENIConfig ask for, and what of it is wrong (pure).

Both of a pair must be there, and the minimum not above the maximum; a wrong pair changes
nothing. A Node's own word is about the node, its NodeENIConfig's about how much is kept ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from shared.annotations import PREFIX
from shared.capacities import CapacityWish
from shared.errors import InvalidInput

WARM_MAX: Final = 512

ROUTE_WARM: Final = (
    PREFIX + "route-eni-ip-min-warm-target",
    PREFIX + "route-eni-ip-max-warm-target",
)
DIRECT_WARM: Final = (
    PREFIX + "direct-eni-min-warm-target",
    PREFIX + "direct-eni-max-warm-target",
)
DISABLE: Final = PREFIX + "disable-node-eni"

# Of the closed component, and not followed: said once, so that nobody waits for them.
NOT_FOLLOWED: Final = tuple(
    PREFIX + name
    for name in (
        "route-eni-max-attach",
        "max-ip-per-route-eni",
        "direct-eni-max-attach",
        "desired-route-eni-pod-num",
        "disable-node-eni-security-groups",
    )
)
_NO: Final = ("no", "false")
_YES: Final = ("", "yes", "true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """By annotations, for one node."""

    wish: CapacityWish
    problems: tuple[str, ...]  # in one line each: annotation, value, what is allowed


def asked_of(node: Mapping[str, str], config: Mapping[str, str]) -> Asked:
    """`node` and `config` are the annotations of the two objects."""
    wish, problems = CapacityWish(), []
    try:
        low, high = _pair(config, ROUTE_WARM)
        wish = replace(wish, warm_min=low, warm_max=high)
    except InvalidInput as error:
        problems.append(str(error))
    try:
        low, high = _pair(config, DIRECT_WARM)
        wish = replace(wish, whole_min=low, whole_max=high)
    except InvalidInput as error:
        problems.append(str(error))
    try:
        wish = replace(wish, is_unmanaged=_flag(node, DISABLE))
    except InvalidInput as error:
        problems.append(str(error))
    problems += [
        f"{name}: is not followed by Berth, and changes nothing"
        for name in NOT_FOLLOWED
        if name in node or name in config
    ]
    return Asked(wish=wish, problems=tuple(problems))


def _pair(
    annotations: Mapping[str, str], names: tuple[str, str]
) -> tuple[int | None, int | None]:
    """Raises InvalidInput."""
    there = [name for name in names if name in annotations]
    if not there:
        return None, None
    low, high = (_count(annotations, name) for name in there * (2 // len(there)))
    if len(there) == 1:
        [missing] = set(names) - set(there)
        raise InvalidInput.of(there[0], annotations[there[0]], f"only together with {missing}")
    if low > high:
        raise InvalidInput.of(names[0], low, f"0 to {high}, which {names[1]} says")
    return low, high


def _count(annotations: Mapping[str, str], name: str) -> int:
    text = annotations[name]
    if not (text.isascii() and text.isdecimal()) or int(text) > WARM_MAX:
        raise InvalidInput.of(name, text, f"a whole number from 0 to {WARM_MAX}")
    return int(text)


def _flag(annotations: Mapping[str, str], name: str) -> bool | None:
    text = annotations.get(name)
    if text is None or text.lower() in _NO:
        return None
    if text.lower() in _YES:
        return True
    raise InvalidInput.of(name, text, "yes or no")
