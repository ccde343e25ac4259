"""``berth import``: fixed addresses of a cluster that comes from elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from berth.commands.options import Json, RunDir, ask
from berth.commands.output import EXIT_FAILED, say, show, show_json
from berth.commands.recover import fetch_leases, restore_leases
from berth.commands.subnet import fetch_subnets
from berth.imports import BYTES_MAX, Adoption, Unadopted, adopt, read_objects
from shared.bus.client import BusClient
from shared.clock import SystemClock
from shared.errors import Refused
from shared.messages.recovery import LeasesRestored

_STDIN = "-"


def import_claims(
    run_dir: RunDir,
    file: Annotated[
        str,
        typer.Argument(help="What `kubectl get vipc,vip -A -o yaml` printed; - reads it here."),
    ],
    do: Annotated[
        bool, typer.Option("--apply", help="Adopt; else only say what would be.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Adopt the retained addresses of VpcIPClaims as fixed leases. May be repeated."""
    objects = read_objects(_read(file), file)

    async def put(bus: BusClient) -> tuple[Adoption, int, LeasesRestored]:
        subnets = {each.subnet: each.cidr for each in await fetch_subnets(bus)}
        found = adopt(objects, subnets, SystemClock().now())
        # A pod may have come since: its lease lives on, and nothing is to be adopted.
        has = {(each.identity, each.address) for each in await fetch_leases(bus)}
        missing = [each for each in found.leases if (each.identity, each.address) not in has]
        done = await restore_leases(bus, missing, is_trial=not do, replace=False)
        return found, len(found.leases) - len(missing) + done.same, done

    found, known, done = ask(run_dir, put)
    refused = found.refused + [
        Unadopted(claim=f"{each.identity.namespace}/{each.identity.name}", reason=each.reason)
        for each in done.refused
    ]
    if as_json:
        rows = [{"claim": each.claim, "reason": each.reason} for each in refused]
        show_json({"adopted": done.restored, "known": known, "refused": rows, "applied": do})
    else:
        verb = "adopted" if do else "would be adopted (--apply does it)"
        say(f"{done.restored} leases {verb}, {known} are there already")
        if refused:
            rows = [{"claim": each.claim, "reason": each.reason} for each in refused]
            show(rows, ("claim", "reason"), title="Left alone", as_json=False)
    if refused:
        sys.exit(EXIT_FAILED)


def _read(file: str) -> str:
    if file == _STDIN:
        return sys.stdin.read(BYTES_MAX + 1)
    try:
        with Path(file).open(encoding="utf-8") as stream:
            return stream.read(BYTES_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file}: cannot be read: {error}") from error
