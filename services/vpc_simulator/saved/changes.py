"""Changes under way as records: the kind of change, and the ids of what it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from ipaddress import IPv4Address
from typing import Final

from pydantic import BaseModel, ConfigDict

from services.vpc_simulator.model import (
    address_changes,
    eip_changes,
    eni_changes,
    instance_operations,
)
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.eips import Eip, EipId
from services.vpc_simulator.model.enis import Attachment, Eni
from services.vpc_simulator.model.instances import Instance
from services.vpc_simulator.model.states import InstanceState
from services.vpc_simulator.model.tasks import Change
from shared.ids import EniId, InstanceId

_KINDS: Final[Mapping[str, type]] = {
    kind.__name__: kind
    for kind in (
        address_changes.Assignment,
        address_changes.Migration,
        address_changes.Unassignment,
        eip_changes.Allocation,
        eip_changes.Association,
        eip_changes.Disassociation,
        eip_changes.Release,
        eni_changes.Attaching,
        eni_changes.Creation,
        eni_changes.CreationAttached,
        eni_changes.Deletion,
        eni_changes.Detaching,
        eni_changes.Move,
        instance_operations.Start,
        instance_operations.Stop,
        instance_operations.Termination,
    )
}


class AttachmentRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    instance: InstanceId
    device_index: int
    attached_at: datetime


class ChangeRecord(BaseModel):
    """Whatever any kind of change knows; a kind uses the fields that are its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    eni: EniId | None = None
    source: EniId | None = None
    destination: EniId | None = None
    enis: tuple[EniId, ...] | None = None
    address: IPv4Address | None = None
    addresses: tuple[IPv4Address, ...] | None = None
    eips: tuple[EipId, ...] | None = None
    instance: InstanceId | None = None
    was: InstanceState | None = None
    there: AttachmentRecord | None = None


def record(change: Change) -> ChangeRecord:
    known = {each: getattr(change, each) for each in _fields(type(change))}
    shown = {name: _id(value) for name, value in known.items()}
    return ChangeRecord.model_validate({"kind": type(change).__name__, **shown})


def change_of(cloud: Cloud, kept: ChangeRecord) -> Change:
    """Raises KeyError when something it changes is not in the cloud."""
    kind = _KINDS[kept.kind]
    values = {name: _thing(cloud, name, getattr(kept, name)) for name in _fields(kind)}
    if "cloud" in [each.name for each in fields(kind)]:
        values["cloud"] = cloud
    make: Callable[..., Change] = kind
    return make(**values)


def _fields(kind: type) -> list[str]:
    return [each.name for each in fields(kind) if each.name != "cloud"]


def _id(value: object) -> object:
    match value:
        case Eni() | Eip() | Instance():
            return value.id
        case Attachment():
            return AttachmentRecord(
                instance=value.instance,
                device_index=value.device_index,
                attached_at=value.attached_at,
            )
        case tuple():
            return tuple(_id(each) for each in value)
    return value


def _thing(cloud: Cloud, name: str, value: object) -> object:
    match name, value:
        case (("eni" | "source" | "destination"), str()):
            return cloud.enis[EniId(value)]
        case "enis", tuple():
            return tuple(cloud.enis[each] for each in value)
        case "eips", tuple():
            return tuple(cloud.eips[each] for each in value)
        case "instance", str():
            return cloud.instances[InstanceId(value)]
        case "there", AttachmentRecord():
            return Attachment(
                instance=value.instance,
                device_index=value.device_index,
                attached_at=value.attached_at,
            )
    return value
