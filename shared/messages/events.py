"""``event.<noun>.<verb>`` in the stream BERTH_EVENTS: what has happened, in the past tense."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Final, Literal

from pydantic import AwareDatetime

from shared.addresses import AddressState

from .base import IdentityFields, Message

EVENT_STREAM: Final = "BERTH_EVENTS"


class LeaseEvent(Message):
    """``event.lease.bound | retained | moving | moved | parked | expired | released |
    restored | policy_set``."""

    type: Literal["berth.v1.lease_event"] = "berth.v1.lease_event"
    verb: str
    identity: IdentityFields
    address: IPv4Address
    node: str | None
    eni: str | None
    generation: int
    at: AwareDatetime
    reason: str | None = None  # given by the person who had it done
    state: AddressState | None = None  # of the lease after it; None: told by an older allocator


class EniEvent(Message):
    """``event.eni.created | attached | detached | deleted | stranger_found | stray_found |
    orphan_found``."""

    type: Literal["berth.v1.eni_event"] = "berth.v1.eni_event"
    verb: str
    eni: str
    node: str
    subnet: str
    at: AwareDatetime
    detail: str | None = None  # of one that is in no book: its address, instance and tags


class AddressEvent(Message):
    """``event.address.assigned | unassigned | migrated | quarantined``."""

    type: Literal["berth.v1.address_event"] = "berth.v1.address_event"
    verb: str
    address: IPv4Address
    eni: str
    node: str | None
    reason: str | None = None
    at: AwareDatetime


class NodeEvent(Message):
    """``event.node.registered | joined | refused | warned | left | gone``."""

    type: Literal["berth.v1.node_event"] = "berth.v1.node_event"
    verb: str
    node: str
    instance: str
    detail: str | None = None
    at: AwareDatetime


class SubnetEvent(Message):
    """``event.subnet.added | opened | cordoned | draining | removed | option_set |
    foreign_found | foreign_gone``."""

    type: Literal["berth.v1.subnet_event"] = "berth.v1.subnet_event"
    verb: str
    subnet: str
    detail: str | None = None  # by whom, or which address and what has it
    at: AwareDatetime


class ClusterEvent(Message):
    """``event.cluster.enabling | enabled | disabling | disabled | failed``."""

    type: Literal["berth.v1.cluster_event"] = "berth.v1.cluster_event"
    verb: str
    detail: str | None = None
    at: AwareDatetime


Event = LeaseEvent | EniEvent | AddressEvent | NodeEvent | SubnetEvent | ClusterEvent
NOUN_OF_EVENT: Final[dict[type[Message], str]] = {
    LeaseEvent: "lease",
    EniEvent: "eni",
    AddressEvent: "address",
    NodeEvent: "node",
    SubnetEvent: "subnet",
    ClusterEvent: "cluster",
}


def event_name(event: Event) -> str:
    """The event's subject below the cluster's root."""
    return f"event.{NOUN_OF_EVENT[type(event)]}.{event.verb}"
