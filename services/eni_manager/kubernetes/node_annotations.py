"""What annotations of a Node and of its NodeENIConfig ask for, and what of it is wrong (pure).

Both of a pair must be there, and the minimum not above the maximum; a wrong pair changes
nothing. A Node's own word is about the node, its NodeENIConfig's about how much is kept ready.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from shared.annotations import PREFIX, NetworkMode
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

ROUTE_ENIS: Final = PREFIX + "route-eni-max-attach"
DIRECT_ENIS: Final = PREFIX + "direct-eni-max-attach"
IPS_PER_ENI: Final = PREFIX + "max-ip-per-route-eni"
NO_GROUPS: Final = PREFIX + "disable-node-eni-security-groups"

# Of the closed component, and not followed: said once, so that nobody waits for them.
NOT_FOLLOWED: Final = (PREFIX + "desired-route-eni-pod-num",)
_NO: Final = ("no", "false")
_YES: Final = ("", "yes", "true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the annotations of a node are held against."""

    modes: tuple[NetworkMode, ...] = ()  # of the cluster
    has_groups: bool = False  # security groups are declared
    enis_max: int | None = None  # by the quota, or an annotation of before
    addresses_max: int | None = None
    addresses_used: int = 0  # by pods, on shared ENIs
    enis_used: int = 0  # by pods that have one of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """By annotations, for one node."""

    wish: CapacityWish
    problems: tuple[str, ...]  # in one line each: annotation, value, what is allowed


def asked_of(
    node: Mapping[str, str], config: Mapping[str, str], around: Around | None = None
) -> Asked:
    """`node` and `config` are the annotations of the two objects."""
    around = around or Around()
    wish = CapacityWish()
    problems: list[str] = []

    def read_route() -> CapacityWish:
        low, high = _pair(config, ROUTE_WARM)
        return replace(wish, warm_min=low, warm_max=high)

    def read_direct() -> CapacityWish:
        low, high = _pair(config, DIRECT_WARM)
        return replace(wish, whole_min=low, whole_max=high)

    readers: tuple[Callable[[], CapacityWish], ...] = (
        read_route,
        read_direct,
        lambda: replace(wish, is_unmanaged=_flag(node, DISABLE)),
        lambda: replace(wish, addresses_per_eni_max=_ips_per_eni(config, around)),
        lambda: _with_enis(wish, _route_enis(config, around, wish.addresses_per_eni_max)),
        lambda: _with_enis(wish, _direct_enis(config, around)),
        lambda: replace(wish, has_no_groups=_no_groups(node, around)),
    )
    for read in readers:
        try:
            wish = read()
        except InvalidInput as error:
            problems.append(str(error))
    problems += [
        f"{name}: is not followed by Berth, and changes nothing"
        for name in NOT_FOLLOWED
        if name in node or name in config
    ]
    return Asked(wish=wish, problems=tuple(problems))


def _with_enis(wish: CapacityWish, found: int | None) -> CapacityWish:
    return wish if found is None else replace(wish, enis_max=found)


def _ips_per_eni(config: Mapping[str, str], around: Around) -> int | None:
    if IPS_PER_ENI not in config:
        return None
    each = _limit(config, IPS_PER_ENI)
    _check_fits(config, IPS_PER_ENI, around, enis=around.enis_max, each=each)
    return each


def _route_enis(config: Mapping[str, str], around: Around, each_max: int | None) -> int | None:
    if ROUTE_ENIS not in config:
        return None
    enis = _limit(config, ROUTE_ENIS)
    _check_mode(config, ROUTE_ENIS, around, NetworkMode.SHARED)
    each = around.addresses_max
    if each_max is not None:
        each = each_max if each is None else min(each, each_max)
    _check_fits(config, ROUTE_ENIS, around, enis=enis, each=each)
    return enis


def _direct_enis(config: Mapping[str, str], around: Around) -> int | None:
    if DIRECT_ENIS not in config:
        return None
    enis = _limit(config, DIRECT_ENIS)
    _check_mode(config, DIRECT_ENIS, around, NetworkMode.EXCLUSIVE)
    if enis < around.enis_used:
        raise InvalidInput.of(
            DIRECT_ENIS, enis, f"at least {around.enis_used}, which pods have of this node"
        )
    return enis


def _no_groups(node: Mapping[str, str], around: Around) -> bool | None:
    found = _flag(node, NO_GROUPS)
    if found and not around.has_groups:
        raise InvalidInput.of(
            NO_GROUPS,
            node[NO_GROUPS],
            "no, unless the eni_manager's setting security_groups names what comes after it",
        )
    return found


def _check_mode(
    config: Mapping[str, str], name: str, around: Around, mode: NetworkMode
) -> None:
    if around.modes != (mode,):
        raise InvalidInput.of(name, config[name], f"only in a cluster whose one mode is {mode}")


def _check_fits(
    config: Mapping[str, str],
    name: str,
    around: Around,
    *,
    enis: int | None,
    each: int | None,
) -> None:
    """Pods keep what they have: a limit below that is none."""
    if enis is not None and each is not None and enis * each < around.addresses_used:
        raise InvalidInput.of(
            name,
            config[name],
            f"more: pods use {around.addresses_used} addresses, and {enis} ENIs with {each}"
            f" each hold {enis * each}",
        )


def _limit(annotations: Mapping[str, str], name: str) -> int:
    found = _count(annotations, name)
    if found == 0:
        raise InvalidInput.of(name, found, f"1 to {WARM_MAX}; {DISABLE} leaves a node alone")
    return found


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
