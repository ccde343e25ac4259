"""Label and field selectors, as far as our services and the tests use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.kubernetes.failures import bad_request
from tests.support.kubernetes.kinds import Object

Matches = Callable[[Object], bool]


def selector(labels: str, fields: str) -> Matches:
    """Whether an object is chosen by both; an empty text chooses all."""
    wanted = [_term(part) for part in labels.split(",") if part]
    asked = [_term(part) for part in fields.split(",") if part]

    def matches(found: Object) -> bool:
        have = found["metadata"].get("labels") or {}
        return all(_holds(have.get(name), *how) for name, *how in wanted) and all(
            _holds(_field(found, name), *how) for name, *how in asked
        )

    return matches


def _term(text: str) -> tuple[str, str, str]:
    for operator in ("!=", "==", "="):
        name, found, value = text.partition(operator)
        if found:
            return name.strip(), "!=" if operator == "!=" else "=", value.strip()
    if text.startswith("!"):
        return text[1:], "absent", ""
    if not text.strip() or " " in text.strip():
        raise bad_request(f"selector {text!r} is not understood")
    return text.strip(), "present", ""


def _holds(value: str | None, operator: str, wanted: str) -> bool:
    match operator:
        case "=":
            return value == wanted
        case "!=":
            return value != wanted
        case "absent":
            return value is None
    return value is not None


def _field(found: Object, path: str) -> str | None:
    value: Any = found
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)
