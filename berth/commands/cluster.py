"""``berth enable`` and ``berth disable``: a cluster's VPC-CNI, switched on and off."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from berth.commands.options import Json, RunDir, ask, who
from berth.commands.output import say, show_json, warn
from berth.enabling import FOLLOW_S, EnableWords, OnStep, disable_cluster, enable_cluster
from shared.annotations import NetworkMode
from shared.bus.client import BusClient
from shared.clusters import Operation
from shared.errors import InvalidInput
from shared.ids import SubnetId
from shared.messages.cluster_life import PODS_MAX, SUBNETS_MAX, ClusterStatus

_MODES: Final = {"shared": NetworkMode.SHARED, "exclusive": NetworkMode.EXCLUSIVE} | {
    mode.value: mode for mode in NetworkMode
}
_GOES_ON: Final = "it goes on in the services; the same command follows it again"

FollowS = Annotated[
    float,
    typer.Option("--wait-s", min=0, max=86_400, help="How long to follow it, in seconds."),
]


def enable(
    run_dir: RunDir,
    subnets: Annotated[
        list[str], typer.Option("--subnet", help="A container subnet; may be repeated.")
    ],
    pods_max: Annotated[
        int, typer.Option("--pods-max", help="Pods per node at most; cannot change later.")
    ],
    modes: Annotated[
        list[str], typer.Option("--mode", help="shared or exclusive; may be repeated.")
    ] = ["shared"],  # noqa: B006 # typer's way to say a default
    fixed_ip: Annotated[
        bool,
        typer.Option(
            "--fixed-ip/--no-fixed-ip",
            help="Whether pods may keep their addresses; cannot change later.",
        ),
    ] = False,
    follow_s: FollowS = FOLLOW_S,
    as_json: Json = False,
) -> None:
    """Give the cluster its subnets: nodes get ENIs and addresses of them."""
    words = EnableWords(
        modes=tuple(_mode(each) for each in modes),
        subnets=_subnets(subnets),
        has_fixed_ips=fixed_ip,
        pods_max=_pods_max(pods_max),
    )
    on_step = _quiet if as_json else _teller()

    async def question(bus: BusClient) -> ClusterStatus:
        return await enable_cluster(bus, words, by=who(), on_step=on_step, follow_s=follow_s)

    _show(_followed(run_dir, question), as_json=as_json)


def disable(
    run_dir: RunDir,
    end_retained: Annotated[
        bool,
        typer.Option("--end-retained", help="End the leases of pods that are away, too."),
    ] = False,
    follow_s: FollowS = FOLLOW_S,
    as_json: Json = False,
) -> None:
    """Take every ENI away. Refused while a pod uses an address."""
    on_step = _quiet if as_json else _teller()

    async def question(bus: BusClient) -> ClusterStatus:
        return await disable_cluster(
            bus, ends_retained=end_retained, by=who(), on_step=on_step, follow_s=follow_s
        )

    _show(_followed(run_dir, question), as_json=as_json)


def operation_line(operation: Operation) -> str:
    count = f" ({operation.done} of {operation.total})" if operation.total else ""
    reason = f"; {operation.reason}" if operation.reason else ""
    return f"{operation.verb}: {operation.progress}: {operation.step}{count}{reason}"


def _followed(
    run_dir: Path, question: Callable[[BusClient], Awaitable[ClusterStatus]]
) -> ClusterStatus:
    try:
        return ask(run_dir, question)
    except KeyboardInterrupt:
        warn(_GOES_ON)
        raise


def _show(status: ClusterStatus, *, as_json: bool) -> None:
    if as_json:
        show_json(status)
        return
    for note in status.notes:
        say(f"note: {note}")


def _quiet(operation: Operation) -> None:
    """Programs read the end alone."""


def _teller() -> OnStep:
    """A line whenever there is something new to read."""
    told: list[str] = []

    def tell(operation: Operation) -> None:
        line = operation_line(operation)
        if line not in told[-1:]:
            say(line)
            told.append(line)

    return tell


def _mode(text: str) -> NetworkMode:
    if text not in _MODES:
        raise InvalidInput.of("--mode", text, "shared or exclusive")
    return _MODES[text]


def _subnets(names: list[str]) -> tuple[SubnetId, ...]:
    for name in names:
        check_subnet(name, "--subnet")
        if names.count(name) > 1:
            raise InvalidInput.of("--subnet", name, "each subnet once")
    if len(names) > SUBNETS_MAX:
        raise InvalidInput.of("--subnet", f"{len(names)} of them", f"at most {SUBNETS_MAX}")
    return tuple(SubnetId(name) for name in names)


def check_subnet(name: str, field: str) -> SubnetId:
    if re.fullmatch(r"subnet-[0-9a-z-]{1,60}", name) is None:
        raise InvalidInput.of(field, name, "the id of a subnet, such as subnet-a1b2c3d4")
    return SubnetId(name)


def _pods_max(count: int) -> int:
    if not 1 <= count <= PODS_MAX:
        raise InvalidInput.of("--pods-max", count, f"1 to {PODS_MAX}")
    return count
