"""``berth keys``: what a cluster's bus and store need before they are installed."""

from __future__ import annotations

import os
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from berth.cluster_keys import ClusterKeys, ClusterPlan, make_cluster_keys
from berth.commands.output import say
from shared.clock import SystemClock
from shared.errors import InvalidInput, Refused
from shared.ids import ClusterName, NodeName

NAMESPACE: Final = "berth-system"
SETTINGS: Final = "berth-settings"
AUTHORITY: Final = "berth-bus-ca"
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


def keys(
    nodes: Annotated[
        list[str],
        typer.Option(
            "--node", metavar="IP", help="A node of bus and store: 1, 3 or 5 of them."
        ),
    ],
    region: Annotated[str, typer.Option(help="The cloud's region, such as ap-guangzhou.")],
    cluster: Annotated[str, typer.Option(help="The name of everything on bus and store.")],
    folder: Annotated[
        Path | None,
        typer.Option(
            help="A new folder of files instead of manifests: for deploy/compose.yaml."
        ),
    ] = None,
    agents: Annotated[
        list[str] | None,
        typer.Option("--agent", metavar="NODE", help="With --folder: a key for its agent."),
    ] = None,
) -> None:
    """New keys, passwords, certificates, printed as Secrets: pipe them into kubectl create."""
    plan = ClusterPlan(
        cluster=ClusterName(cluster),
        hosts=tuple(map(_address, nodes)),
        region=region,
        agents=tuple(map(NodeName, agents or ())),
    )
    if agents and folder is None:
        raise InvalidInput(
            "agent: only with --folder; in a cluster an agent shows its pod's token"
        )
    made = make_cluster_keys(plan, SystemClock().now())
    if folder is None:
        typer.echo(yaml.safe_dump_all(manifests(made), sort_keys=False), nl=False)
        return
    write_folder(made, folder)
    say(f"wrote {folder}: keep it as you keep passwords")


def manifests(made: ClusterKeys) -> list[dict[str, Any]]:
    """The namespace, two ConfigMaps, and the Secrets."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
        },
    }
    return [
        namespace,
        _object("ConfigMap", SETTINGS, {"data": made.settings}),
        _object("ConfigMap", AUTHORITY, {"data": {"ca.crt": made.authority}}),
        *(
            _object("Secret", name, {"type": "Opaque", "stringData": files})
            for name, files in made.secrets.items()
        ),
    ]


def write_folder(made: ClusterKeys, folder: Path) -> None:
    """As files, for their owner's eyes only. Raises Refused when the folder is there."""
    environment = "".join(f"{name}={value}\n" for name, value in made.settings.items())
    files = {Path("settings.env"): environment, Path("ca.crt"): made.authority}
    for name, held in made.secrets.items():
        files |= {Path(name, each): text for each, text in held.items()}
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True)
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from error


def _object(kind: str, name: str, content: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise InvalidInput.of("node", text, "an IPv4 address of a node") from None
