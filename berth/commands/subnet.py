"""``berth subnet``: the subnets that pods get addresses of, changed while nodes are served."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from berth.commands.cluster import check_subnet
from berth.commands.options import Json, RunDir, ask, deadline_of, who
from berth.commands.output import say, show, show_json
from shared.bus.client import BusClient
from shared.clusters import ContainerSubnet, SubnetState
from shared.errors import InvalidInput
from shared.messages.base import Endpoint
from shared.messages.cluster_life import (
    SUBNET_ADD,
    SUBNET_REMOVE,
    SUBNET_SET,
    ClusterStatus,
    SubnetAddRequest,
    SubnetRemoveRequest,
    SubnetRequest,
    SubnetSetRequest,
)
from shared.messages.clusters import SUBNET_LIST, SubnetListRequest, SubnetView

COLUMNS = ("subnet", "zone", "cidr", "state", "free", "total", "enis", "addresses", "foreign")

app = typer.Typer(help="Subnets that pods get addresses of.", no_args_is_help=True)

SubnetArgument = Annotated[str, typer.Argument(metavar="SUBNET", help="Its id at the cloud.")]
Reclaims = Annotated[
    bool,
    typer.Option(
        "--reclaims-under-pressure/--no-reclaims-under-pressure",
        help="When it is full, end the oldest lease of a pod that is away.",
    ),
]


@app.command("list")
def list_subnets(run_dir: RunDir, as_json: Json = False) -> None:
    """Every container subnet: its state, how full it is, and what in it is not ours."""
    subnets = ask(run_dir, fetch_subnets)
    if as_json:
        show_json(subnets)
    else:
        show(map(subnet_row, subnets), COLUMNS, title="Subnets", as_json=False)


@app.command("add")
def add(
    subnet: SubnetArgument, run_dir: RunDir, reclaims: Reclaims = False, as_json: Json = False
) -> None:
    """Open one more subnet to the nodes of its zone."""
    request = SubnetAddRequest(
        subnet=check_subnet(subnet, "SUBNET"),
        reclaims_under_pressure=reclaims,
        by=who(),
        deadline=deadline_of(SUBNET_ADD),
    )
    _change(run_dir, SUBNET_ADD, request, as_json=as_json)


@app.command("cordon")
def cordon(subnet: SubnetArgument, run_dir: RunDir, as_json: Json = False) -> None:
    """Take no new addresses from it; what is there stays."""
    _set_state(subnet, SubnetState.CORDONED, run_dir, as_json=as_json)


@app.command("uncordon")
def uncordon(subnet: SubnetArgument, run_dir: RunDir, as_json: Json = False) -> None:
    """Open it again, after a cordon or a drain."""
    _set_state(subnet, SubnetState.OPEN, run_dir, as_json=as_json)


@app.command("drain")
def drain(subnet: SubnetArgument, run_dir: RunDir, as_json: Json = False) -> None:
    """Take idle addresses back, and ENIs in it once they are empty; pods keep theirs."""
    _set_state(subnet, SubnetState.DRAINING, run_dir, as_json=as_json)


@app.command("set")
def set_option(
    subnet: SubnetArgument,
    run_dir: RunDir,
    reclaims: Annotated[
        bool | None,
        typer.Option(
            "--reclaims-under-pressure/--no-reclaims-under-pressure",
            help="When it is full, end the oldest lease of a pod that is away.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Switch an option of a subnet."""
    if reclaims is None:
        raise InvalidInput.of("options", "none", "--[no-]reclaims-under-pressure")
    request = SubnetSetRequest(
        subnet=check_subnet(subnet, "SUBNET"),
        reclaims_under_pressure=reclaims,
        by=who(),
        deadline=deadline_of(SUBNET_SET),
    )
    _change(run_dir, SUBNET_SET, request, as_json=as_json)


@app.command("remove")
def remove(subnet: SubnetArgument, run_dir: RunDir, as_json: Json = False) -> None:
    """Let go of a drained subnet in which nothing of ours is left."""
    request = SubnetRemoveRequest(
        subnet=check_subnet(subnet, "SUBNET"), by=who(), deadline=deadline_of(SUBNET_REMOVE)
    )
    _change(run_dir, SUBNET_REMOVE, request, as_json=as_json)


async def fetch_subnets(bus: BusClient) -> list[SubnetView]:
    request = SubnetListRequest(deadline=deadline_of(SUBNET_LIST))
    return (await bus.call(SUBNET_LIST, request)).subnets


def subnet_row(subnet: SubnetView) -> dict[str, object]:
    shown = [f"{each.address} ({each.kind} {each.resource})" for each in subnet.foreign[:3]]
    more = subnet.foreign_count - len(shown)
    return subnet.model_dump() | {
        "state": _state(subnet.state, is_reclaiming=subnet.reclaims_under_pressure),
        "foreign": ", ".join(shown) + (f" and {more} more" if more > 0 else "") or None,
    }


def _set_state(name: str, state: SubnetState, run_dir: RunDir, *, as_json: bool) -> None:
    request = SubnetSetRequest(
        subnet=check_subnet(name, "SUBNET"),
        state=state,
        by=who(),
        deadline=deadline_of(SUBNET_SET),
    )
    _change(run_dir, SUBNET_SET, request, as_json=as_json)


def _change(
    run_dir: RunDir,
    endpoint: Endpoint[Any, ClusterStatus],
    request: SubnetRequest,
    *,
    as_json: bool,
) -> None:
    async def question(bus: BusClient) -> ClusterStatus:
        return await bus.call(endpoint, request)

    status = ask(run_dir, question)
    if as_json:
        show_json(status)
        return
    assert status.cluster is not None, "a change has a record"
    known = status.cluster.subnet(request.subnet)
    say(f"{request.subnet} is {'removed' if known is None else _word(known)}")
    for note in status.notes:
        say(f"note: {note}")


def _word(subnet: ContainerSubnet) -> str:
    return _state(subnet.state, is_reclaiming=subnet.reclaims_under_pressure)


def _state(state: SubnetState, *, is_reclaiming: bool) -> str:
    return f"{state}, reclaims under pressure" if is_reclaiming else str(state)
