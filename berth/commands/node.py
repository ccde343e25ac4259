"""``berth node``: what the eni_manager knows of nodes, and the word that one is gone."""

from __future__ import annotations

from typing import Annotated

import typer

from berth.commands.options import Json, RunDir, ask, deadline_of, who
from berth.commands.output import say, show, show_json
from shared.bus.client import BusClient
from shared.errors import InvalidInput
from shared.messages.clusters import (
    NODE_LIST,
    NODES_MAX,
    NodeListRequest,
    NodeView,
)
from shared.messages.departures import NODE_GONE, NodeGone, NodeGoneRequest

app = typer.Typer(help="Nodes, their ENIs and addresses.", no_args_is_help=True)


@app.command("list")
def list_nodes(run_dir: RunDir, as_json: Json = False) -> None:
    """Every node with its ENIs, and why it cannot get addresses, if so."""
    nodes = ask(run_dir, fetch_nodes)
    if as_json:
        show_json(nodes)
        return
    rows = [
        {
            "node": node.node,
            "instance": node.instance,
            "zone": node.zone,
            "enis": f"{len(node.enis)} of {'?' if node.enis_max is None else node.enis_max}",
            "subnets": sorted({eni.subnet for eni in node.enis}),
            "addresses": sum(len(eni.addresses) for eni in node.enis),
            "heard": node.heard_at,
            "problem": node.problem or node.warning,
        }
        for node in nodes
    ]
    columns = ("node", "instance", "zone", "enis", "subnets", "addresses", "heard", "problem")
    show(rows, columns, title="Nodes", as_json=False)


@app.command("gone")
def node_is_gone(
    node: Annotated[str, typer.Argument(metavar="NODE", help="As `berth node list` names it.")],
    run_dir: RunDir,
    force: Annotated[
        bool,
        typer.Option("--force", help="Even if something may run there; needs --reason."),
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why; the audit keeps it.")] = None,
    as_json: Json = False,
) -> None:
    """Say that a node is gone for ever: its fixed addresses are free to move to other nodes.

    Refused while its instance runs or its agent answers.
    """
    if force and not reason:
        raise InvalidInput.of("--reason", reason, "a text, when --force is given")

    async def question(bus: BusClient) -> NodeGone:
        request = NodeGoneRequest(
            node=node, by=who(), reason=reason, force=force, deadline=deadline_of(NODE_GONE)
        )
        return await bus.call(NODE_GONE, request)

    gone = ask(run_dir, question)
    if as_json:
        show_json(gone)
        return
    say(
        f"node {node} is gone: {gone.leases} fixed addresses are free to move, {gone.ended}"
        f" others have ended, {len(gone.enis)} ENIs left instance {gone.instance or 'unknown'}"
    )


async def fetch_nodes(bus: BusClient) -> list[NodeView]:
    """Every node, page by page."""
    found: list[NodeView] = []
    while True:
        after = found[-1].node if found else None
        request = NodeListRequest(after=after, limit=NODES_MAX, deadline=deadline_of(NODE_LIST))
        page = await bus.call(NODE_LIST, request)
        found += page.nodes
        if page.is_last:
            return found
