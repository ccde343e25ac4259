"""``berth demo``: the main job, from a user's manifest to packets, every promise checked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from berth.commands.options import Json, RunDir
from berth.commands.output import show_json
from berth.demo.run import DemoOptions, run_demo
from berth.playground.topology import default_topology, read_topology


def demo(
    run_dir: RunDir,
    manifest: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MANIFEST]",
            help="A file of StatefulSets, Deployments, Pods; default: the example.",
        ),
    ] = None,
    topology: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML: subnets and instances; default: three nodes."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave all of it up, to look around.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a manifest's pods on a simulated cloud, delete one, bring it back: same address."""
    options = DemoOptions(
        run_dir=run_dir.absolute(),
        manifest=manifest,
        topology=read_topology(topology) if topology is not None else default_topology(),
        keep=keep,
        is_quiet=as_json,
    )
    outcome = asyncio.run(run_demo(options))
    if as_json:
        show_json(outcome.summary())
    raise typer.Exit(outcome.status)
