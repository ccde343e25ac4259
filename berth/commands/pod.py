"""``berth pod``: pods with their addresses, and why one has none."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import typer
from pydantic import BaseModel

from berth.advice import advice
from berth.commands.lease import fetch_leases
from berth.commands.node import fetch_nodes
from berth.commands.options import Json, PodArgument, RunDir, ask, parse_pod
from berth.commands.output import say, show, show_json, warn
from berth.inventories import fetch_inventories
from shared.addresses import AddressState
from shared.bus.client import BusClient
from shared.errors import NotFound
from shared.ids import NodeName, PodName
from shared.messages.base import IdentityFields
from shared.messages.leases import LeaseView
from shared.messages.nodes import Inventory

_BOUND: Final = frozenset({AddressState.BOUND_IMMEDIATE, AddressState.BOUND_FIXED})
_COLUMNS: Final = ("pod", "address", "state", "node", "since", "code", "detail")

app = typer.Typer(help="Pods, their addresses, and why one has none.", no_args_is_help=True)


class PodView(BaseModel):
    """A pod as the agent of its node knows it: bound to an address, or waiting for one."""

    pod: str
    node: str
    state: str
    address: str | None = None
    eni: str | None = None
    pod_uid: str | None = None
    since: datetime
    code: str | None = None
    detail: str | None = None
    attempts: int | None = None
    to_do: str | None = None


@app.command("list")
def list_pods(run_dir: RunDir, as_json: Json = False) -> None:
    """Every pod that has an address or waits for one."""
    pods = ask(run_dir, fetch_pods)
    if as_json:
        show_json(pods)
    else:
        show((pod.model_dump() for pod in pods), _COLUMNS, title="Pods", as_json=False)


@app.command("why")
def why(pod: PodArgument, run_dir: RunDir, as_json: Json = False) -> None:
    """What is known of one pod: its address, its lease, and what it waits for."""
    name = parse_pod(pod)

    async def question(bus: BusClient) -> tuple[list[PodView], list[LeaseView]]:
        pods = [each for each in await fetch_pods(bus) if each.pod == str(name)]
        leases = await fetch_leases(bus, namespace=name.namespace)
        return pods, [each for each in leases if _belongs(each, name)]

    pods, leases = ask(run_dir, question)
    if not pods and not leases:
        raise NotFound(f"pod {name}: no agent knows it and no lease is its own")
    if as_json:
        show_json({"pod": str(name), "on_nodes": pods, "leases": leases})
        return
    for each in pods:
        say(_sentence(each))
        if each.to_do is not None:
            say(f"  what to do: {each.to_do}")
    for lease in leases:
        say(_lease_sentence(lease))


async def fetch_pods(bus: BusClient) -> list[PodView]:
    """Every agent's inventory; an agent that does not answer is named, and costs its pods."""
    nodes = [NodeName(each.node) for each in await fetch_nodes(bus)]
    inventories, silent = await fetch_inventories(bus, nodes)
    for node, why in silent.items():
        warn(f"node {node}: its agent does not answer: {why}")
    pods = [pod for each in inventories for pod in _pods_of(each)]
    return sorted(pods, key=lambda pod: (pod.pod, pod.node))


def _pods_of(inventory: Inventory) -> list[PodView]:
    bound = [
        PodView(
            pod=_pod(entry.identity),
            node=inventory.node,
            state=entry.state,
            address=str(entry.address),
            eni=entry.eni,
            pod_uid=entry.pod_uid,
            since=entry.since,
        )
        for entry in inventory.addresses
        if entry.state in _BOUND and entry.identity is not None
    ]
    waiting = [
        PodView(
            pod=_pod(each.identity),
            node=inventory.node,
            state="waiting",
            since=each.since,
            code=each.code,
            detail=each.detail,
            attempts=each.attempts,
            to_do=advice(each.code),
        )
        for each in inventory.waiting
    ]
    return bound + waiting


def _pod(identity: IdentityFields) -> str:
    return f"{identity.namespace}/{identity.name}"


def _belongs(lease: LeaseView, pod: PodName) -> bool:
    identity = lease.identity
    return identity is not None and (identity.namespace, identity.name) == (
        pod.namespace,
        pod.name,
    )


def _sentence(pod: PodView) -> str:
    if pod.code is None:
        return f"{pod.pod} has {pod.address} on {pod.node} ({pod.state}, {pod.eni})"
    return (
        f"{pod.pod} waits on {pod.node} since {pod.since:%H:%M:%S} UTC,"
        f" {pod.attempts} attempts: {pod.code}: {pod.detail}"
    )


def _lease_sentence(lease: LeaseView) -> str:
    place = f"on {lease.node} ({lease.eni})" if lease.node else "on no node"
    ends = f", expires at {lease.expires_at:%F %H:%M:%S} UTC" if lease.expires_at else ""
    return f"lease: {lease.address} is {lease.state} {place}, policy {lease.policy}{ends}"
