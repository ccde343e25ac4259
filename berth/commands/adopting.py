"""``berth import``: fixed addresses of a cluster that comes from elsewhere."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from berth.commands.options import Json, RunDir, ask
from berth.commands.output import EXIT_FAILED, say, show, show_json
from berth.commands.recover import fetch_leases, restore_leases
from berth.commands.subnet import fetch_subnets
from berth.import_sources import ClusterObjects, read_uses
from berth.imports import BYTES_MAX, Adopted, Seen, Unadopted, adopt, read_objects
from shared.bus.client import BusClient
from shared.clock import SystemClock
from shared.errors import InvalidInput, Refused

_STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was adopted, or would be."""

    adopted: list[Adopted]
    known: int
    refused: list[Unadopted]


def import_claims(
    run_dir: RunDir,
    file: Annotated[
        str | None,
        typer.Argument(help="What `kubectl get vipc,vip -A -o yaml` printed; - reads it here."),
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Read the claims, and the pods, of this cluster.")
    ] = None,
    in_cluster: Annotated[
        bool, typer.Option("--in-cluster", help="Of the cluster that this command runs in.")
    ] = False,
    do: Annotated[
        bool, typer.Option("--apply", help="Adopt; else only say what would be.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Adopt the retained addresses of VpcIPClaims as fixed leases. May be repeated."""
    if (file is not None) + (kubeconfig is not None) + in_cluster != 1:
        raise InvalidInput("name one of FILE, --kubeconfig FILE and --in-cluster")
    if file is not None:
        source = ClusterObjects(objects=read_objects(_read(file), file), pods=())
    else:
        # Its client takes a second to import: the other commands do without it.
        from berth.import_cluster import read_cluster

        source = asyncio.run(read_cluster(kubeconfig))
    found = ask(run_dir, lambda bus: put(bus, source, is_trial=not do))
    if as_json:
        show_json(_document(found, is_applied=do))
    else:
        _tell(found, is_applied=do)
    if found.refused:
        sys.exit(EXIT_FAILED)


async def put(bus: BusClient, source: ClusterObjects, *, is_trial: bool) -> Imported:
    """Safe to repeat, also after it was interrupted: what is here already is left as it is."""
    subnets = {each.subnet: each.cidr for each in await fetch_subnets(bus)}
    # A pod may have come since: its lease lives on, and nothing is to be adopted.
    leased = {each.address: each.identity for each in await fetch_leases(bus)}
    uses = await read_uses(bus, list(subnets))
    seen = Seen(pods=source.pods, uses=uses, leased=leased)
    found = adopt(source.objects, subnets, SystemClock().now(), seen)
    done = await restore_leases(bus, found.leases, is_trial=is_trial, replace=False)
    reasons = {each.identity: each.reason for each in done.refused}
    refused = [
        Unadopted(claim=each.claim, reason=reasons[each.lease.identity])
        for each in found.adopted
        if each.lease.identity in reasons
    ]
    return Imported(
        adopted=[each for each in found.adopted if each.lease.identity not in reasons],
        known=found.known,
        refused=found.refused + refused,
    )


def _document(found: Imported, *, is_applied: bool) -> dict[str, object]:
    return {
        "adopted": len(found.adopted),
        "known": found.known,
        "applied": is_applied,
        "leases": _rows(found.adopted),
        "refused": [{"claim": each.claim, "reason": each.reason} for each in found.refused],
    }


def _tell(found: Imported, *, is_applied: bool) -> None:
    verb = "adopted" if is_applied else "would be adopted (--apply does it)"
    say(f"{len(found.adopted)} leases {verb}, {found.known} are there already")
    if found.adopted:
        columns = ("claim", "address", "subnet", "kept", "at_the_cloud")
        title = "Adopted" if is_applied else "To be adopted"
        show(_rows(found.adopted), columns, title=title, as_json=False)
    if found.refused:
        rows = [{"claim": each.claim, "reason": each.reason} for each in found.refused]
        show(rows, ("claim", "reason"), title="Left alone", as_json=False)


def _rows(adopted: list[Adopted]) -> list[dict[str, object]]:
    return [
        {
            "claim": each.claim,
            "address": each.lease.address,
            "subnet": each.lease.subnet,
            "kept": each.lease.expires_after or "for ever",
            "at_the_cloud": each.place,
        }
        for each in adopted
    ]


def _read(file: str) -> str:
    if file == _STDIN:
        return sys.stdin.read(BYTES_MAX + 1)
    try:
        with Path(file).open(encoding="utf-8") as stream:
            return stream.read(BYTES_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file}: cannot be read: {error}") from error
