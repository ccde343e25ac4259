"""``berth capacity``: how much nodes keep ready, and which cloud calls are made; live."""

from __future__ import annotations

from typing import Annotated

import typer

from berth.commands.options import Json, RunDir, ask, deadline_of, who
from berth.commands.output import show, show_json
from shared.bus.client import BusClient
from shared.capacities import CloudCalls
from shared.errors import InvalidInput
from shared.messages.capacities import (
    CAPACITY_SET,
    CAPACITY_SHOW,
    WARM_MAX,
    CapacityFields,
    CapacitySetRequest,
    CapacityShown,
    CapacityShowRequest,
)

COLUMNS = ("scope", "warm_min", "warm_max", "release_every_s")

app = typer.Typer(help="How much nodes keep ready, changed live.", no_args_is_help=True)

ScopeArgument = Annotated[
    str, typer.Argument(metavar="SCOPE", help="cluster, group/NAME or node/NAME.")
]
Warm = Annotated[int | None, typer.Option(min=0, max=WARM_MAX)]


@app.command("show")
def show_capacity(run_dir: RunDir, as_json: Json = False) -> None:
    """What is set for the cluster, for groups and for nodes."""

    async def fetch(bus: BusClient) -> CapacityShown:
        request = CapacityShowRequest(deadline=deadline_of(CAPACITY_SHOW))
        return await bus.call(CAPACITY_SHOW, request)

    _print(ask(run_dir, fetch), as_json=as_json)


@app.command("set")
def set_capacity(
    scope: ScopeArgument,
    run_dir: RunDir,
    warm_min: Warm = None,
    warm_max: Warm = None,
    release_every_s: Annotated[
        float | None, typer.Option(min=0, max=86_400, help="0: all at once.")
    ] = None,
    as_json: Json = False,
) -> None:
    """In place of what the scope said before; without options it says nothing any more."""
    if scope != "cluster" and not scope.startswith(("group/", "node/")):
        raise InvalidInput.of("SCOPE", scope, "cluster, group/NAME or node/NAME")
    capacity = CapacityFields(
        warm_min=warm_min, warm_max=warm_max, release_every_s=release_every_s
    )
    request = CapacitySetRequest(
        scope=scope, capacity=capacity, by=who(), deadline=deadline_of(CAPACITY_SET)
    )
    _print(_change(run_dir, request), as_json=as_json)


@app.command("calls")
def set_calls(
    calls: Annotated[CloudCalls, typer.Argument(help="What may be done at the cloud.")],
    run_dir: RunDir,
    as_json: Json = False,
) -> None:
    """Switch cloud calls: all, no_release (assign, but give nothing back) or none."""
    request = CapacitySetRequest(
        scope="cluster", calls=calls, by=who(), deadline=deadline_of(CAPACITY_SET)
    )
    _print(_change(run_dir, request), as_json=as_json)


def _change(run_dir: RunDir, request: CapacitySetRequest) -> CapacityShown:
    async def send(bus: BusClient) -> CapacityShown:
        return await bus.call(CAPACITY_SET, request)

    return ask(run_dir, send)


def _print(shown: CapacityShown, *, as_json: bool) -> None:
    if as_json:
        show_json(shown)
        return
    rows = [("defaults", shown.defaults), *((it.scope, it.capacity) for it in shown.scopes)]
    show(
        ({"scope": scope, **fields.model_dump()} for scope, fields in rows),
        COLUMNS,
        title=f"Capacity (cloud calls: {shown.calls})",
        as_json=False,
    )
