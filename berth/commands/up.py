"""``berth up``: start everything, here or in the background."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from berth.commands.options import Json, RunDir
from berth.commands.output import say, show_json
from berth.playground.detached import start_detached
from berth.playground.hold import hold
from berth.playground.playground import ProgressStep, StartOptions
from berth.playground.state import PlaygroundState
from berth.playground.topology import default_topology, read_topology
from shared.ids import ClusterName

Port = Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")]


def up(
    run_dir: RunDir,
    topology: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML: subnets and instances.")
    ] = None,
    cluster: Annotated[str, typer.Option(help="The cluster's name.")] = "default",
    nats_port: Port = 0,
    redis_port: Port = 0,
    cloud_port: Port = 0,
    wireless: Annotated[
        bool, typer.Option("--wireless", help="A cloud without a network: no node agents.")
    ] = False,
    ha: Annotated[
        bool,
        typer.Option(
            "--ha", help="NATS of three, a store of three under sentinels, two eni_managers."
        ),
    ] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay until Ctrl-C, then stop everything.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start bus, store, cloud, allocators, eni_manager and an agent on every node."""
    options = StartOptions(
        cluster=ClusterName(cluster),
        nats_port=nats_port,
        redis_port=redis_port,
        cloud_port=cloud_port,
        ha=ha,
        wireless=wireless,
    )
    checked = default_topology() if topology is None else read_topology(topology)
    report = _nothing if as_json else _tell

    def started(state: PlaygroundState) -> None:
        if as_json:
            show_json(state)
        else:
            ending = "Ctrl-C ends it" if foreground else "`berth down` ends it"
            say(f"up: {len(state.nodes)} nodes; state in {state.run_dir}; {ending}")

    folder = run_dir.absolute()
    if foreground:
        asyncio.run(
            hold(
                run_dir=folder,
                topology=checked,
                options=options,
                report=report,
                on_started=started,
            )
        )
    else:
        started(
            start_detached(run_dir=folder, topology=checked, options=options, report=report)
        )


def _tell(step: ProgressStep) -> None:
    say(f"{step.what:<12} {step.detail} ({step.seconds:.1f} s)")


def _nothing(step: ProgressStep) -> None:
    """Programs read the state alone."""
