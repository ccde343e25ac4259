"""Who is to reach whom: planned (pure) from where the pods are, run on the stage, scored."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import combinations
from typing import Final, Literal

from berth.pods.messages import Probed
from shared.ids import NodeName

from .checks import Check, Score
from .report import Report
from .stage import Actor, Stage

OUTSIDE: Final = IPv4Address("198.51.100.1")  # the fabric's host beyond the VPC
_STRANGER: Final = IPv4Address("203.0.113.9")  # TEST-NET-3: nobody's
_ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 1.0
_PAIRS_MAX: Final = 4  # of each kind; a large manifest is not probed in full

Protocol = Literal["icmp", "tcp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question to the network. `actor` None: the node itself asks."""

    kind: str
    actor: Actor | None
    node: NodeName
    target: str
    destination: IPv4Address
    protocols: tuple[Protocol, ...] = ("icmp", "tcp")

    @property
    def sender(self) -> str:
        return str(self.node) if self.actor is None else self.actor.name.name


def plan(actors: Sequence[Actor], gateways: dict[IPv4Address, IPv4Address]) -> list[Probe]:
    """Same node, across nodes, gateway (by pod's address), outside, node to its pod."""
    pairs = list(combinations(actors, 2))
    same = [pair for pair in pairs if pair[0].place.node == pair[1].place.node][:_PAIRS_MAX]
    across = [pair for pair in pairs if pair[0].place.node != pair[1].place.node][:_PAIRS_MAX]
    probes = [between(*pair) for pair in [*same, *across]]
    for actor in actors[:_PAIRS_MAX]:
        probes += alone(actor, gateways.get(actor.address))
    return probes


def alone(actor: Actor, gateway: IPv4Address | None) -> list[Probe]:
    """What one pod must reach, and be reached by, whatever other pods there are."""
    only_icmp: tuple[Protocol, ...] = ("icmp",)
    node = actor.place.node
    probes = [
        Probe(
            kind="to the outside",
            actor=actor,
            node=node,
            target="outside",
            destination=OUTSIDE,
            protocols=only_icmp,
        ),
        Probe(
            kind="node to its pod",
            actor=None,
            node=node,
            target=actor.name.name,
            destination=actor.address,
        ),
    ]
    if gateway is not None:
        to_gateway = Probe(
            kind="to the gateway",
            actor=actor,
            node=node,
            target="gateway",
            destination=gateway,
            protocols=only_icmp,
        )
        probes.insert(0, to_gateway)
    return probes


def between(sender: Actor, receiver: Actor) -> Probe:
    is_near = sender.place.node == receiver.place.node
    return Probe(
        kind="same node" if is_near else "across nodes",
        actor=sender,
        node=sender.place.node,
        target=receiver.name.name,
        destination=receiver.address,
    )


def from_node(node: NodeName, receiver: Actor) -> Probe:
    """Another node asks: the one that a pod left, say."""
    return Probe(
        kind="across nodes",
        actor=None,
        node=node,
        target=receiver.name.name,
        destination=receiver.address,
    )


async def run_all(
    stage: Stage, probes: Sequence[Probe], *, step: str, score: Score, report: Report
) -> None:
    """Every probe with every protocol; one table, one check each."""
    asked = [(probe, protocol) for probe in probes for protocol in probe.protocols]
    answers = await asyncio.gather(*(_ask(stage, *each) for each in asked))
    rows = []
    for (probe, protocol), answer in zip(asked, answers, strict=True):
        word = f"{answer.seconds * 1000:.1f} ms" if answer.is_answered else answer.detail
        target = f"{probe.target} ({probe.destination})"
        mark = "OK" if answer.is_answered else "FAIL"
        rows.append((probe.kind, probe.sender, target, protocol.upper(), word, mark))
        claim = f"{probe.kind}: {probe.sender} → {target} by {protocol.upper()}"
        score.add(step, claim, answer.is_answered, answer.detail)
    report.table(("probe", "from", "to", "by", "answer", ""), rows)


async def _ask(stage: Stage, probe: Probe, protocol: Protocol) -> Probed:
    pod = probe.actor.name if probe.actor is not None else None
    attempts = _ATTEMPTS if protocol == "icmp" else 1
    return await stage.runner(probe.node).probe(
        pod,
        protocol,
        probe.destination,
        attempts=attempts,
        timeout_s=_TIMEOUT_S if protocol == "icmp" else _ATTEMPTS * _TIMEOUT_S,
    )


async def forge(
    stage: Stage,
    sender: Actor,
    receiver: Actor,
    neighbour: IPv4Address | None,
    *,
    step: str,
    score: Score,
) -> list[Check]:
    """A pod that claims an address that is not its own gets nothing through.

    Its own address goes first and last by the same way: without that being heard, silence
    would prove nothing.
    """
    runner = stage.runner(sender.place.node)
    claims = {"its own": sender.address, "a stranger's": _STRANGER}
    if neighbour is not None:
        claims["its neighbour's"] = neighbour
    tokens = {whose: secrets.token_hex(8) for whose in claims}
    for whose in [*claims, "its own"]:
        await runner.send_forged(
            sender.name,
            source=claims[whose],
            destination=receiver.address,
            token=tokens[whose],
        )
    await runner.probe(sender.name, "tcp", receiver.address, timeout_s=_TIMEOUT_S)
    listener = stage.runner(receiver.place.node)
    for whose, token in tokens.items():
        heard = await listener.heard(receiver.name, token)
        is_own = whose == "its own"
        verb = "arrives" if is_own else "does not get through"
        claim = f"{sender.name.name} sends as {claims[whose]} ({whose}): it {verb}"
        score.add(step, claim, bool(heard) == is_own, f"heard {len(heard)}")
    return score.checks[-len(tokens) :]
