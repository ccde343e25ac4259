"""Messages of today beside the same as first published: each side reads the other's."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped] # its stubs are a package of their own
import pytest
from pydantic import ValidationError

from shared.errors import ErrorCode
from shared.messages.base import Rejected
from tests.compatibility.published import FOLDER, made_of, messages, published

NAMES = sorted(messages())


def enumerations(schema: dict[str, Any]) -> dict[str, set[object]]:
    """The values of every enumeration by its name."""
    named = schema.get("$defs", {})
    return {name: set(each["enum"]) for name, each in named.items() if "enum" in each}


def fields(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every field of a message and of what it holds, by `Holder.field`, without its words."""
    holders = {schema["title"]: schema, **schema.get("$defs", {})}
    return {
        f"{holder}.{field}": {key: it for key, it in shape.items() if key != "description"}
        for holder, each in holders.items()
        for field, shape in each.get("properties", {}).items()
    }


def survives(sent: object, read: object) -> bool:
    """Whether all that was sent was read; a reader may know of more."""
    if isinstance(sent, dict) and isinstance(read, dict):
        return all(name in read and survives(sent[name], read[name]) for name in sent)
    if isinstance(sent, list) and isinstance(read, list):
        return len(sent) == len(read) and all(map(survives, sent, read))
    return sent == read


def test_every_message_is_published_and_none_is_withdrawn() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(NAMES), (
        "new ones: python -m tests.compatibility; v1 withdraws none"
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_was_sent_then_is_read_now(name: str) -> None:
    then, model = published(name), messages()[name]

    for sent in (then.full, then.least):
        assert survives(sent, model.model_validate(sent).model_dump(mode="json"))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_sent_now_was_read_then(name: str) -> None:
    then, now = published(name), made_of(messages()[name])

    for sent in (now.full, now.least):
        written = messages()[name].model_validate(sent).model_dump(mode="json")
        jsonschema.validate(written, then.schema)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_was_taken_away_or_given_another_meaning(name: str) -> None:
    now = fields(made_of(messages()[name]).schema)

    then = fields(published(name).schema)
    assert {field: now.get(field) for field in then} == then


@pytest.mark.parametrize("name", NAMES)
def test_an_enumeration_has_no_value_that_an_old_reader_does_not_know(name: str) -> None:
    then, now = published(name).schema, made_of(messages()[name]).schema

    known = enumerations(then)
    for enumeration, values in enumerations(now).items():
        if enumeration != "ErrorCode":  # read as `internal` by who does not know one
            assert values == known.get(enumeration, values)


def test_a_code_that_is_not_known_yet_is_no_with_its_detail() -> None:
    read = Rejected.model_validate({"code": "of_next_year", "detail": "because"})

    assert (read.code, read.detail) == (ErrorCode.INTERNAL, "because")


@pytest.mark.parametrize("code", [7, None, ["stale"]])
def test_a_code_that_is_no_text_is_refused(code: object) -> None:
    with pytest.raises(ValidationError, match="code"):
        Rejected.model_validate({"code": code, "detail": "because"})
