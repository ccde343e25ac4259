"""What commands say: tables for people, JSON for programs, one line when something is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NoReturn

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

EXIT_FAILED = 1
_PIPE_COLUMNS = 200


def fail(message: str) -> NoReturn:
    """One line to standard error, and the status that scripts look at."""
    sys.stderr.write(f"berth: {' '.join(message.split())}\n")
    sys.exit(EXIT_FAILED)


def say(text: str) -> None:
    """One line for people."""
    Console(highlight=False, soft_wrap=True).print(text, markup=False)


def warn(text: str) -> None:
    """One line beside the answer, which stays whole for programs."""
    sys.stderr.write(f"berth: {text}\n")


def show_json(value: object) -> None:
    sys.stdout.write(json.dumps(_plain(value), indent=2) + "\n")


def show(
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str],
    *,
    title: str,
    as_json: bool,
) -> None:
    """The same rows as a table with these columns, or as a list of objects."""
    found = list(rows)
    if as_json:
        show_json(found)
        return
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in found:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    # A pipe has no width of its own: rows stay whole, so that grep finds them.
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    Console(highlight=False, width=width).print(table)
    if not found:
        say("none")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return _ago(value)
    if isinstance(value, list | tuple):
        return ", ".join(str(each) for each in value) or "-"
    return str(value)


def _ago(moment: datetime) -> str:
    seconds = int((datetime.now(UTC) - moment).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if abs(seconds) >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
