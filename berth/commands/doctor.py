"""``berth doctor``: do cloud, store and nodes tell the same of every address?

Exit status 0: they do. 1: they do not. 2: not every book could be read.
"""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from berth.commands.options import Json, RunDir, ask
from berth.commands.output import say, show, show_json, warn
from berth.doctor.examine import Examined, examine, mend
from berth.doctor.findings import TO_DO, Finding
from shared.bus.client import BusClient
from shared.errors import BerthError

EXIT_FINDINGS: Final = 1
EXIT_UNREAD: Final = 2
_COLUMNS: Final = ("code", "address", "node", "detail")


def doctor(
    run_dir: RunDir,
    repair: Annotated[
        bool, typer.Option("--repair", help="Ask the owners of what differs to mend it.")
    ] = False,
    settle_s: Annotated[
        float, typer.Option("--settle", min=0.0, max=600.0, help="Seconds between two looks.")
    ] = 3.0,
    as_json: Json = False,
) -> None:
    """Compare the three books of every address; changes nothing without --repair."""

    async def question(bus: BusClient) -> tuple[Examined, dict[str, str]]:
        examined = await examine(bus, settle_s=settle_s)
        if not (repair and examined.findings):
            return examined, {}
        said = await mend(bus, examined)
        return await examine(bus, settle_s=settle_s), said

    try:
        examined, said = ask(run_dir, question)
    except BerthError as error:
        warn(f"could not look: {error}")
        sys.exit(EXIT_UNREAD)
    found, unread = examined.findings, examined.unread
    rows = [_row(each) for each in found]
    if as_json:
        show_json({"findings": rows, "unread": unread, "repair": said})
    else:
        _tell(rows, unread, said)
    if found or unread:
        sys.exit(EXIT_FINDINGS if found else EXIT_UNREAD)


def _row(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code,
        "address": finding.address,
        "node": finding.node,
        "detail": finding.detail,
        "to_do": TO_DO[finding.code],
    }


def _tell(rows: list[dict[str, object]], unread: dict[str, str], said: dict[str, str]) -> None:
    for node, what in said.items():
        say(f"node {node}: {what}")
    if rows:
        show(rows, _COLUMNS, title="Findings", as_json=False)
        for code in dict.fromkeys(row["code"] for row in rows):
            say(f"{code}: {next(row['to_do'] for row in rows if row['code'] == code)}")
    elif not unread:
        say("cloud, store and nodes tell the same of every address")
    for book, why in unread.items():
        warn(f"could not read {book}: {why}")
