"""``berth lease``: which identity has the right to which address."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from berth.commands.options import (
    Json,
    PodArgument,
    RunDir,
    ask,
    deadline_of,
    parse_pod,
    who,
)
from berth.commands.output import say, show, show_json
from shared.addresses import AddressState
from shared.annotations import EXPIRED_DURATION_ALLOWED, parse_go_duration
from shared.bus.client import BusClient
from shared.errors import InvalidInput
from shared.ids import Identity
from shared.messages.base import IdentityFields
from shared.messages.leases import (
    LEASE_FORGET,
    LEASE_GET,
    LEASE_LIST,
    LEASE_POLICY,
    LeaseForgetRequest,
    LeaseForgotten,
    LeaseGetRequest,
    LeaseListRequest,
    LeasePolicyRequest,
    LeaseView,
)
from shared.policies import LeasePolicy

NETWORK: Final = "berth"  # the name in the CNI configuration
_LEASES_MAX: Final = 10_000
_IDLE: Final = frozenset({AddressState.STOCK, AddressState.COOLING})
COLUMNS: Final = ("pod", "address", "state", "policy", "node", "eni", "since", "expires_at")

app = typer.Typer(help="Leases: who has the right to which address.", no_args_is_help=True)


@app.command("list")
def list_leases(
    run_dir: RunDir,
    node: Annotated[str | None, typer.Option(help="Only those on this node.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Only this namespace's.")] = None,
    is_whole: Annotated[bool, typer.Option("--all", help="Idle addresses too.")] = False,
    as_json: Json = False,
) -> None:
    """Every lease, fixed ones and those that end with their pod."""

    async def question(bus: BusClient) -> list[LeaseView]:
        return await fetch_leases(bus, node=node, namespace=namespace)

    leases = [each for each in ask(run_dir, question) if is_whole or each.state not in _IDLE]
    if as_json:
        show_json(leases)
    else:
        show(map(lease_row, leases), COLUMNS, title="Leases", as_json=False)


@app.command("show")
def show_lease(
    pod: PodArgument,
    run_dir: RunDir,
    network: Annotated[str, typer.Option(help="The CNI network's name.")] = NETWORK,
    as_json: Json = False,
) -> None:
    """One fixed lease."""
    name = parse_pod(pod)
    identity = Identity(name.namespace, name.name, network)

    async def question(bus: BusClient) -> LeaseView:
        request = LeaseGetRequest(
            identity=IdentityFields.of(identity), deadline=deadline_of(LEASE_GET)
        )
        return (await bus.call(LEASE_GET, request)).lease

    lease = ask(run_dir, question)
    if as_json:
        show_json(lease)
    else:
        rows = [{"field": field, "value": value} for field, value in lease_row(lease).items()]
        show(rows, ("field", "value"), title=str(identity), as_json=False)


@app.command("release")
def release_lease(
    pod: PodArgument,
    run_dir: RunDir,
    network: Annotated[str, typer.Option(help="The CNI network's name.")] = NETWORK,
    force: Annotated[
        bool, typer.Option("--force", help="Even while a pod uses it; needs --reason.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why; the audit keeps it.")] = None,
    as_json: Json = False,
) -> None:
    """End a fixed lease now: its address goes back, the pod's next address is another."""
    if force and not reason:
        raise InvalidInput.of("--reason", reason, "a text, when --force is given")
    name = parse_pod(pod)
    identity = Identity(name.namespace, name.name, network)

    async def question(bus: BusClient) -> LeaseForgotten:
        request = LeaseForgetRequest(
            identity=IdentityFields.of(identity),
            generation=await _generation(bus, identity),
            force=force,
            reason=reason,
            by=who(),
            deadline=deadline_of(LEASE_FORGET),
        )
        return await bus.call(LEASE_FORGET, request)

    ended = ask(run_dir, question)
    if as_json:
        show_json(ended)
    else:
        say(f"{ended.address} is no longer {identity}'s; it goes back to its node's stock")


@app.command("policy")
def set_policy(
    pod: PodArgument,
    run_dir: RunDir,
    expires: Annotated[
        str, typer.Option(metavar="DURATION|never", help="Such as 30m, counted from its end.")
    ] = "never",
    ends: Annotated[
        LeasePolicy,
        typer.Option("--policy", help="What else ends it: nothing, its pod, its workload."),
    ] = LeasePolicy.NEVER,
    network: Annotated[str, typer.Option(help="The CNI network's name.")] = NETWORK,
    as_json: Json = False,
) -> None:
    """What ends a fixed lease once its pod went, whatever the pod itself says."""
    span = None if expires == "never" else parse_go_duration(expires)
    if span is None and expires != "never":
        raise InvalidInput.of("--expires", expires, f"never, or {EXPIRED_DURATION_ALLOWED}")
    name = parse_pod(pod)
    identity = Identity(name.namespace, name.name, network)

    async def question(bus: BusClient) -> LeaseView:
        request = LeasePolicyRequest(
            identity=IdentityFields.of(identity),
            expires_after=span,
            policy=ends,
            by=who(),
            deadline=deadline_of(LEASE_POLICY),
        )
        return (await bus.call(LEASE_POLICY, request)).lease

    lease = ask(run_dir, question)
    if as_json:
        show_json(lease)
    else:
        say(f"{lease.address} is kept for {identity} {_KEPT[ends].format(_span(expires))}")


_KEPT: Final = {
    LeasePolicy.IMMEDIATE: "until its pod ends",
    LeasePolicy.NEVER: "{}",
    LeasePolicy.CASCADE: "{}, as long as its workload exists",
    LeasePolicy.SCALE_DOWN: "{}, as long as its workload has room for it",
}


def _span(expires: str) -> str:
    return "for ever" if expires == "never" else f"for {expires} once its pod has gone"


async def _generation(bus: BusClient, identity: Identity) -> int:
    """What is acted on is what is seen now: a lease that changes meanwhile is left alone."""
    request = LeaseGetRequest(
        identity=IdentityFields.of(identity), deadline=deadline_of(LEASE_GET)
    )
    lease = (await bus.call(LEASE_GET, request)).lease
    if lease.generation is None:
        raise InvalidInput.of(
            "pod", str(identity), "one with a fixed lease: this address ends with its pod"
        )
    return lease.generation


async def fetch_leases(
    bus: BusClient,
    *,
    node: str | None = None,
    namespace: str | None = None,
    leases_max: int = _LEASES_MAX,
) -> list[LeaseView]:
    """Page after page, up to a limit: by default one that a terminal can still use."""
    found: list[LeaseView] = []
    cursor = "0"
    while len(found) < leases_max:
        request = LeaseListRequest(
            node=node, namespace=namespace, cursor=cursor, deadline=deadline_of(LEASE_LIST)
        )
        page = await bus.call(LEASE_LIST, request)
        found += page.leases
        cursor = page.next_cursor
        if cursor == "0":
            break
    return found


def lease_row(lease: LeaseView) -> dict[str, object]:
    identity = lease.identity
    return {
        "pod": f"{identity.namespace}/{identity.name}" if identity else None,
        "address": lease.address,
        "state": lease.state,
        "policy": lease.policy,
        "node": lease.node,
        "eni": lease.eni,
        "subnet": lease.subnet,
        "generation": lease.generation,
        "pod_uid": lease.pod_uid,
        "since": lease.since,
        "expires_at": lease.expires_at,
        "ends_with": lease.ends_with,
        "workload": lease.workload,
    }
