"""What a process says on standard error: objects for machines, columns for people."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.telemetry.logs import configure_logging

log = logging.getLogger("services.example")


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """Handlers and levels are the whole process'."""
    names = (None, "nats", "aiohttp.access")
    levels = [logging.getLogger(name).level for name in names]
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_record_is_one_object_with_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(service="node_agent", level="INFO", style="json")

    log.warning("page %s is damaged", 7, extra={"page": Path("/a"), "count": 3, "why": "ü\n"})
    log.debug("not asked for")

    (told,) = lines(capsys)
    at = told.pop("timestamp")
    assert isinstance(at, str)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", at)
    assert told == {
        "event": "page 7 is damaged",
        "page": "/a",
        "count": 3,
        "why": "ü\n",
        "logger": "services.example",
        "level": "warning",
        "service": "node_agent",
    }


def test_a_traceback_stays_on_its_records_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(service="node_agent", level="INFO", style="json")

    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("loop round hit a bug", extra={"loop": "repair"})
    log.info("nothing was raised", exc_info=True)

    bug, calm = lines(capsys)
    assert str(bug["exception"]).startswith("Traceback (most recent call last):\n")
    assert str(bug["exception"]).endswith("ValueError: odd")
    assert (bug["event"], bug["loop"]) == ("loop round hit a bug", "repair")
    assert "exception" not in calm


def test_no_value_hides_what_a_record_is(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(service="node_agent", level="INFO", style="json")

    log.info("said", extra={"event": "another", "logger": "another", "level": "none"})

    (told,) = lines(capsys)
    assert (told["event"], told["logger"], told["level"]) == ("said", log.name, "info")


def test_people_get_columns(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(service="node_agent", level="INFO", style="console")

    log.warning("page is damaged", extra={"page": Path("/a")})

    said = capsys.readouterr().err
    assert "page is damaged" in said
    assert "page=PosixPath('/a')" in said
    assert "service=node_agent" in said
    assert not said.startswith("{")
