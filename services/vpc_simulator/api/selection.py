"""What Describe calls share: ids or filters, and pages."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from services.vpc_simulator.api.parameters import Filter
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.names import check_id

T = TypeVar("T")

Matcher = Callable[[T, Sequence[str]], bool]

IDS_MAX: Final = 100
_TOKEN_PREFIX: Final = "after:"
PAGE_MAX: Final = 100
PAGE_DEFAULT: Final = 20
FILTERS_MAX: Final = 10
FILTER_VALUES_MAX: Final = 100


def chosen_ids(
    parameter: str, ids: Sequence[str], filters: Sequence[Filter], prefix: str
) -> set[str]:
    """The ids asked for; refuses ids together with filters, too many, and malformed ones."""
    if ids and filters:
        raise ApiFailure(Code.COEXIST, f"{parameter} and Filters exclude each other.")
    check_count(parameter, ids, IDS_MAX)
    return {check_id(parameter, each, prefix) for each in ids}


def check_count(parameter: str, values: Sequence[object], most: int) -> None:
    if len(values) > most:
        raise ApiFailure(
            Code.VALUE_LIMIT_EXCEEDED, f"{parameter} holds {len(values)}; at most {most}."
        )


def matching(
    things: Iterable[T],
    filters: Sequence[Filter],
    matchers: Mapping[str, Matcher[T]],
    tags_of: Callable[[T], Mapping[str, str]],
) -> list[T]:
    """Things that match every filter; a filter matches by any of its values."""
    check_count("Filters", filters, FILTERS_MAX)
    found = list(things)
    for each in filters:
        check_count(f"Filters.{each.name}", each.values, FILTER_VALUES_MAX)
        matcher = _matcher(each.name, matchers, tags_of)
        found = [thing for thing in found if matcher(thing, each.values)]
    return found


def _matcher(
    name: str,
    matchers: Mapping[str, Matcher[T]],
    tags_of: Callable[[T], Mapping[str, str]],
) -> Matcher[T]:
    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda thing, values: tags_of(thing).get(key) in values
    if name == "tag-key":
        return lambda thing, values: any(key in tags_of(thing) for key in values)
    if name not in matchers:
        allowed = ", ".join([*matchers, "tag-key", "tag:<key>"])
        raise ApiFailure(
            Code.FILTER_INVALID_KEY, f"The filter `{name}` is not known; known: {allowed}."
        )
    return matchers[name]


def page(things: Sequence[T], *, offset: int, limit: int) -> Sequence[T]:
    if not 1 <= limit <= PAGE_MAX:
        raise ApiFailure(Code.RANGE, f"Limit is {limit}; allowed: 1 to {PAGE_MAX}.")
    if offset < 0:
        raise ApiFailure(Code.RANGE, f"Offset is {offset}; it must not be negative.")
    return things[offset : offset + limit]


def next_page(things: Sequence[T], *, token: str | None, most: int) -> tuple[Sequence[T], str]:
    """The page that a token leads to, and the token of the page after it; "" at the end."""
    offset = _offset(token) if token else 0
    shown = page(things, offset=offset, limit=most)
    after = offset + len(shown)
    if after >= len(things):
        return shown, ""
    return shown, base64.urlsafe_b64encode(f"{_TOKEN_PREFIX}{after}".encode()).decode()


def _offset(token: str) -> int:
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except ValueError as error:
        raise ApiFailure(Code.MALFORMED, "NextToken was not given by this API.") from error
    if not text.startswith(_TOKEN_PREFIX):
        raise ApiFailure(Code.MALFORMED, "NextToken was not given by this API.")
    return number("NextToken", text.removeprefix(_TOKEN_PREFIX))


def number(parameter: str, text: str) -> int:
    """An integer that the API carries as a string."""
    if not text.isdecimal() or len(text) > 9:
        raise ApiFailure(Code.MALFORMED, f"{parameter} is `{text[:20]}`, not a number.")
    return int(text)
