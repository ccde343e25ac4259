"""``berth node``: what the eni_manager knows of nodes."""

from __future__ import annotations

import typer

from berth.commands.options import Json, RunDir, ask, deadline_of
from berth.commands.output import show, show_json
from shared.bus.client import BusClient
from shared.messages.clusters import (
    NODE_LIST,
    NODES_MAX,
    NodeListRequest,
    NodeView,
)

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
