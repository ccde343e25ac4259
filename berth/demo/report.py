"""What people see while the demo runs: headings, tables, plain sentences, times."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .checks import Check, Score

_WIDTH: Final = 120  # characters, of a log or a pipe


class Report(Protocol):
    """How the story is told; a quiet one tells nothing."""

    def heading(self, text: str) -> None: ...

    def line(self, text: str) -> None: ...

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None: ...

    def check(self, check: Check) -> None: ...


def console() -> Console:
    """As wide as the terminal; wide enough for the tables where there is none."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_WIDTH)


class ConsoleReport:
    """To a terminal or a file; every heading says how long the demo has run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._steps = 0

    def heading(self, text: str) -> None:
        self._steps += 1
        passed_s = time.monotonic() - self._began
        self._console.print()
        self._console.print(
            f"[bold]{self._steps}. {escape(text)}[/bold] [dim]({passed_s:.1f} s)[/dim]"
        )

    def line(self, text: str) -> None:
        self._console.print(f"   {escape(text)}", soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        table = Table(box=None, header_style="bold", pad_edge=True, padding=(0, 1, 0, 2))
        for column in columns:
            table.add_column(escape(column), overflow="fold")
        for row in rows:
            table.add_row(*(escape("-" if cell is None else str(cell)) for cell in row))
        self._console.print(table)

    def check(self, check: Check) -> None:
        self._console.print(f"   {_mark(check)}  {escape(_sentence(check))}", soft_wrap=True)


class QuietReport:
    """For programs: they read the summary alone."""

    def heading(self, text: str) -> None: ...

    def line(self, text: str) -> None: ...

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None: ...

    def check(self, check: Check) -> None: ...


def show_summary(report: Report, score: Score, *, seconds: float) -> None:
    """How many promises were kept in each step, what was not kept, and how long it all took."""
    report.heading("Summary")
    steps = list(dict.fromkeys(check.step for check in score.checks))
    rows = []
    for step in steps:
        of_step = [check for check in score.checks if check.step == step]
        kept = sum(check.is_kept for check in of_step)
        rows.append(
            (step, f"{kept} of {len(of_step)}", "OK" if kept == len(of_step) else "FAIL")
        )
    report.table(("what was checked", "kept", ""), rows)
    for check in score.failed:
        report.check(check)
    words = "everything was as promised" if score.is_kept else "NOT everything was as promised"
    report.line(f"{words}: {len(score.checks)} checks in {seconds:.1f} s")


def _mark(check: Check) -> str:
    return "[green]OK  [/green]" if check.is_kept else "[bold red]FAIL[/bold red]"


def _sentence(check: Check) -> str:
    return f"{check.claim} ({check.detail})" if check.detail else check.claim
