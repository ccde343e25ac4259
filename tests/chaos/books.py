"""The three books of every address at one moment: cloud, store, agents (pure shapes)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudAddress:
    """A pod's address at the cloud, and on whose ENI it is."""

    eni: str
    node: str | None  # None: the ENI is detached


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLease:
    """A fixed lease as the store has it."""

    identity: str  # namespace/name
    address: str
    state: str
    node: str | None
    eni: str | None
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentHolding:
    """An address in the book of a node's agent."""

    node: str
    eni: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentAttachment:
    """A sandbox in the book of a node's agent."""

    node: str
    sandbox: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """`held`: what the eni_manager keeps for itself, with its reason; `unfinished`: what it
    began and has not ended."""

    cloud: dict[str, CloudAddress] = field(default_factory=dict)
    reserved: frozenset[str] = frozenset()  # kept at the cloud without an ENI
    leases: tuple[StoredLease, ...] = ()
    holdings: tuple[tuple[str, AgentHolding], ...] = ()
    attachments: tuple[AgentAttachment, ...] = ()
    held: dict[str, str] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()
    wires: tuple[str, ...] = ()  # what is wrong in the nodes' kernels
    broken_rules: tuple[str, ...] = ()  # of the cloud's own
    nodes: frozenset[str] = frozenset()  # whose agents were read
