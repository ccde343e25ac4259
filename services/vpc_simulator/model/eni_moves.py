"""Two calls in one: create and attach an ENI; detach it here and attach it there."""

from __future__ import annotations

from datetime import datetime

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.eni_changes import CreationAttached, Move
from services.vpc_simulator.model.eni_operations import NewEni, check_fits, prepare_eni
from services.vpc_simulator.model.enis import Attachment, Eni, TaskId
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.states import EniState


def create_attached_eni(
    cloud: Cloud,
    new: NewEni,
    instance_id: str,
    *,
    attach_type: int,
    task: TaskId,
    now: datetime,
) -> Eni:
    """The ENI counts against the instance's quota from the beginning."""
    instance = cloud.instance(instance_id)
    eni = prepare_eni(cloud, new, now)
    check_fits(eni, instance, attach_type)
    cloud.add_eni(eni, now)
    eni.attachment = Attachment(
        instance=instance.id, device_index=instance.free_index(), attached_at=now
    )
    instance.enis[eni.attachment.device_index] = eni.id
    cloud.begin(
        task,
        "CreateAndAttachNetworkInterface",
        CreationAttached(cloud, eni),
        resources=(eni.id, instance.id),
        now=now,
    )
    return eni


def migrate_eni(
    cloud: Cloud,
    eni_id: str,
    source_id: str,
    destination_id: str,
    *,
    attach_type: int,
    task: TaskId,
    now: datetime,
) -> None:
    """Meanwhile it counts against both instances' quotas, so that it can go either way."""
    eni = cloud.eni(eni_id)
    source, destination = cloud.instance(source_id), cloud.instance(destination_id)
    if eni.is_primary:
        raise ApiFailure(Code.UNSUPPORTED, f"{eni.id} is a primary network interface.")
    if eni.attachment is None or eni.attachment.instance != source.id:
        raise ApiFailure(Code.NOT_ATTACHED, f"{eni.id} is not attached to {source.id}.")
    if source is destination:
        raise ApiFailure(Code.UNSUPPORTED, "The two instances are the same.")
    eni.check_idle()
    check_fits(eni, destination, attach_type)
    index = destination.free_index()
    destination.enis[index] = eni.id
    eni.step(EniState.DETACHING)
    there = Attachment(instance=destination.id, device_index=index, attached_at=now)
    cloud.begin(
        task,
        "MigrateNetworkInterface",
        Move(cloud, eni, there),
        resources=(eni.id, source.id, destination.id),
        now=now,
    )
