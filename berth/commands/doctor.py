"""``berth doctor``: do cloud, store and nodes tell the same of every address?

Exit status 0: they do. 1: they do not. 2: not every book could be read.
"""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from berth.commands.options import Json, RunDir, ask, deadline_of
from berth.commands.output import say, show, show_json, warn
from berth.doctor.examine import Examined, examine, mend
from berth.doctor.findings import TO_DO, Finding
from shared.bus.client import BusClient
from shared.errors import BerthError
from shared.messages.clusters import UNCLAIMED_LIST, UnclaimedListed, UnclaimedListRequest

EXIT_FINDINGS: Final = 1
EXIT_UNREAD: Final = 2
_COLUMNS: Final = ("code", "address", "node", "detail")
_UNCLAIMED_COLUMNS: Final = (
    "found",
    "eni",
    "primary_address",
    "subnet",
    "instance",
    "node",
    "tags",
)
_UNCLAIMED: Final = {
    "stranger": "somebody else's, on a node's instance: left alone, it takes a slot from pods",
    "stray": "made by us, on an instance without a node: taken up when its agent comes",
    "orphan": "made by us, on no instance: what no lease names is deleted after its grace time",
}


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

    async def question(bus: BusClient) -> tuple[Examined, dict[str, str], UnclaimedListed]:
        examined, said = await examine(bus, settle_s=settle_s), {}
        if repair and examined.findings:
            said = await mend(bus, examined)
            examined = await examine(bus, settle_s=settle_s)
        request = UnclaimedListRequest(deadline=deadline_of(UNCLAIMED_LIST))
        return examined, said, await bus.call(UNCLAIMED_LIST, request)

    try:
        examined, said, unclaimed = ask(run_dir, question)
    except BerthError as error:
        warn(f"could not look: {error}")
        sys.exit(EXIT_UNREAD)
    found, unread = examined.findings, examined.unread
    rows = [_row(each) for each in found]
    if as_json:
        show_json(
            {
                "findings": rows,
                "unread": unread,
                "repair": said,
                "unclaimed": list(unclaimed.enis),
                "unclaimed_count": unclaimed.count,
            }
        )
    else:
        _tell(rows, unread, said)
        _tell_unclaimed(unclaimed)
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


def _tell_unclaimed(unclaimed: UnclaimedListed) -> None:
    """No disagreement of books: these are in none, and nothing is done to them in haste."""
    if not unclaimed.enis:
        return
    rows = [each.model_dump() for each in unclaimed.enis]
    show(rows, _UNCLAIMED_COLUMNS, title="ENIs that are in no book", as_json=False)
    for found in dict.fromkeys(each.found for each in unclaimed.enis):
        say(f"{found}: {_UNCLAIMED.get(found, 'see the documentation')}")
    if unclaimed.count > len(rows):
        say(f"and {unclaimed.count - len(rows)} more")
