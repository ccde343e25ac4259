"""Every message as it was first published: its schema, and one of it with all fields and one
with as few as may be. Written once (`python -m tests.compatibility`), and never edited.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.messages.base import Message, Rejected
from shared.messages.events import NOUN_OF_EVENT
from shared.messages.subjects import ENDPOINTS

FOLDER: Final = Path(__file__).with_name("v1")

_BY_FORMAT: Final = {
    "ipv4": "10.0.1.7",
    "ipv4network": "10.0.0.0/16",
    "date-time": "2026-01-01T00:00:00Z",
    "duration": "PT30M",
}
_BY_PATTERN: Final = {
    "^[0-9a-f]{2}(:[0-9a-f]{2}){5}$": "02:00:00:00:00:01",
    "^(cluster|group/.{1,253}|node/.{1,253})$": "node/node-1",
    "^[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$": "web",
}
# What a message may not have beside something else that it has.
_LEFT_OUT: Final[dict[str, tuple[str, ...]]] = {
    "AcquireRequest": ("nominated",),  # beside a pool
    "BackedUpLease": ("moving_to",),  # in the first of all states
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One message of that day."""

    schema: dict[str, Any]
    full: dict[str, Any]
    least: dict[str, Any]


def messages() -> dict[str, type[Message]]:
    """Every message of the bus by its name."""
    found: list[type[Message]] = [Rejected, *NOUN_OF_EVENT]
    for endpoint in ENDPOINTS:
        found += [endpoint.request, endpoint.outcome]
    return {model.__name__: model for model in found}


def published(name: str) -> Published:
    return Published(**json.loads(_file(name).read_text(encoding="utf-8")))


def made_of(model: type[Message]) -> Published:
    """What would be published of this message today."""
    read = model.model_json_schema()
    return Published(
        schema=model.model_json_schema(mode="serialization"),
        full=_example(read, is_full=True),
        least=_example(read, is_full=False),
    )


def publish_new() -> list[str]:
    """Write the files that are not there yet; their names."""
    new = [name for name in messages() if not _file(name).exists()]
    for name in new:
        it = made_of(messages()[name])
        text = json.dumps(
            {"schema": it.schema, "full": it.full, "least": it.least}, indent=1, sort_keys=True
        )
        _file(name).write_text(text + "\n", encoding="utf-8")
    return new


def _file(name: str) -> Path:
    return FOLDER / f"{name}.json"


def _example(schema: dict[str, Any], *, is_full: bool) -> dict[str, Any]:
    made = _value(schema, schema.get("$defs", {}), is_full=is_full)
    assert isinstance(made, dict)
    return made


def _value(schema: dict[str, Any], named: dict[str, Any], *, is_full: bool) -> object:
    if "$ref" in schema:
        return _value(named[schema["$ref"].rsplit("/", 1)[1]], named, is_full=is_full)
    if "anyOf" in schema:
        return _value(schema["anyOf"][0 if is_full else -1], named, is_full=is_full)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    return _of_type(schema, named, is_full=is_full)


def _of_type(schema: dict[str, Any], named: dict[str, Any], *, is_full: bool) -> object:
    kind = schema["type"]
    if kind == "object":
        return _object(schema, named, is_full=is_full)
    if kind == "array":
        count = max(schema.get("minItems", 0), int(is_full))
        return [_value(schema["items"], named, is_full=is_full) for _ in range(count)]
    if kind == "string":
        if "pattern" in schema:
            return _BY_PATTERN[schema["pattern"]]
        return _BY_FORMAT[schema["format"]] if "format" in schema else "text"
    if kind == "integer":
        return max(schema.get("minimum", 0), 1 if is_full else 0)
    return {"boolean": is_full, "number": 1.5, "null": None}[kind]


def _object(
    schema: dict[str, Any], named: dict[str, Any], *, is_full: bool
) -> dict[str, object]:
    if "properties" not in schema:
        values = schema["additionalProperties"]
        return {"node-1": _value(values, named, is_full=is_full)} if is_full else {}
    wanted = schema["properties"] if is_full else schema.get("required", ())
    # A reader tells messages apart by their type, which every writer sends.
    left_out = _LEFT_OUT.get(schema["title"], ())
    names = [
        each
        for each in schema["properties"]
        if (each in wanted or each == "type") and each not in left_out
    ]
    return {name: _value(schema["properties"][name], named, is_full=is_full) for name in names}
