"""Launch, stop, start and terminate an instance: what befalls machines beside the VPC API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.effects import (
    Effect,
    RemoveEni,
    RemoveInstance,
    SetEni,
    SetInstance,
)
from services.vpc_simulator.model.eip_changes import (
    check_eips_settled,
    keep_eips,
    let_eips_go,
    unbind_eips,
)
from services.vpc_simulator.model.eni_changes import unplug
from services.vpc_simulator.model.enis import (
    MAIN_ACCOUNT,
    Attachment,
    Eni,
    PrivateAddress,
    TaskId,
)
from services.vpc_simulator.model.failures import ApiFailure, Code
from services.vpc_simulator.model.instances import Instance
from services.vpc_simulator.model.states import AddressState, EniState, InstanceState
from shared.ids import EniId


def launch(cloud: Cloud, instance: Instance, *, now: datetime) -> Eni:
    """Add an instance with its primary ENI. The network is set by whoever builds the world."""
    subnet = cloud.subnet(instance.subnet)
    subnet.check_free(instance.primary_address, account=MAIN_ACCOUNT)
    eni = Eni(
        id=EniId(cloud.names.resource("eni", cloud.enis)),
        vpc=instance.vpc,
        subnet=subnet.id,
        zone=instance.zone,
        mac=cloud.names.mac(cloud.macs),
        name="Primary ENI",
        description="",
        is_primary=True,
        security_groups=(),
        tags={},
        created_at=now,
        state=EniState.AVAILABLE,
        addresses={
            instance.primary_address: PrivateAddress(
                address=instance.primary_address, is_primary=True, state=AddressState.AVAILABLE
            )
        },
        attachment=Attachment(instance=instance.id, device_index=0, attached_at=now),
    )
    cloud.instances[instance.id] = instance
    instance.enis[0] = eni.id
    cloud.add_eni(eni, now)
    return eni


@dataclass(frozen=True, slots=True)
class Stop:
    """A stopped instance keeps its ENIs; its links are taken out, so no packet passes."""

    instance: Instance
    enis: tuple[Eni, ...]

    def effects(self) -> list[Effect]:
        return _taken_out(self.instance, self.enis)

    def complete(self, now: datetime) -> None:
        self.instance.step(InstanceState.STOPPED)

    def abort(self) -> list[Effect]:
        self.instance.step(InstanceState.RUNNING)
        return _put_in(self.instance, self.enis)


@dataclass(frozen=True, slots=True)
class Start:
    instance: Instance
    enis: tuple[Eni, ...]

    def effects(self) -> list[Effect]:
        return _put_in(self.instance, self.enis)

    def complete(self, now: datetime) -> None:
        self.instance.step(InstanceState.RUNNING)

    def abort(self) -> list[Effect]:
        self.instance.step(InstanceState.STOPPED)
        return _taken_out(self.instance, self.enis)


@dataclass(frozen=True, slots=True)
class Termination:
    """The primary ENI goes with its instance; the others stay in the VPC, detached."""

    cloud: Cloud
    instance: Instance
    enis: tuple[Eni, ...]
    was: InstanceState

    def effects(self) -> list[Effect]:
        gone = [RemoveEni(eni.id) for eni in self.enis if eni.is_primary]
        return [*_taken_out(self.instance, self.enis), *gone]

    def complete(self, now: datetime) -> None:
        for eni in self.enis:
            if eni.is_primary:
                let_eips_go(self.cloud, eni.addresses)
                self.cloud.remove_eni(eni)
            else:
                unplug(self.cloud, eni)
                eni.step(EniState.AVAILABLE)
        del self.cloud.instances[self.instance.id]

    def abort(self) -> list[Effect]:
        for eni in self.enis:
            eni.step(EniState.AVAILABLE)
            if eni.is_primary:
                keep_eips(self.cloud, eni.addresses)
        self.instance.step(self.was)
        if self.was is InstanceState.STOPPED:
            return _taken_out(self.instance, self.enis)
        return _put_in(self.instance, self.enis)


def stop(cloud: Cloud, instance_id: str, *, task: TaskId, now: datetime) -> None:
    instance, enis = _idle(cloud, instance_id, (InstanceState.RUNNING,))
    instance.step(InstanceState.STOPPING)
    cloud.begin(task, "StopInstance", Stop(instance, enis), resources=(instance_id,), now=now)


def start(cloud: Cloud, instance_id: str, *, task: TaskId, now: datetime) -> None:
    instance, enis = _idle(cloud, instance_id, (InstanceState.STOPPED,))
    instance.step(InstanceState.STARTING)
    cloud.begin(task, "StartInstance", Start(instance, enis), resources=(instance_id,), now=now)


def terminate(cloud: Cloud, instance_id: str, *, task: TaskId, now: datetime) -> None:
    instance, enis = _idle(cloud, instance_id, (InstanceState.RUNNING, InstanceState.STOPPED))
    primary = next(eni for eni in enis if eni.is_primary)
    check_eips_settled(cloud, primary.addresses)
    unbind_eips(cloud, primary.addresses)
    change = Termination(cloud, instance, enis, instance.state)
    instance.step(InstanceState.TERMINATING)
    for eni in enis:
        eni.step(EniState.DETACHING)
    cloud.begin(task, "TerminateInstance", change, resources=(instance_id,), now=now)


def _idle(
    cloud: Cloud, instance_id: str, allowed: tuple[InstanceState, ...]
) -> tuple[Instance, tuple[Eni, ...]]:
    instance = cloud.instance(instance_id)
    if instance.state not in allowed:
        raise ApiFailure(
            Code.INSTANCE_STATE,
            f"The instance {instance_id} is {instance.state}; allowed: {' or '.join(allowed)}.",
        )
    enis = tuple(cloud.enis[eni] for eni in instance.enis.values())
    for eni in enis:
        eni.check_mutex()
    return instance, enis


def _taken_out(instance: Instance, enis: tuple[Eni, ...]) -> list[Effect]:
    return [*(SetEni(eni.port(None)) for eni in enis), RemoveInstance(instance.id)]


def _put_in(instance: Instance, enis: tuple[Eni, ...]) -> list[Effect]:
    return [SetInstance(instance.id), *(SetEni(eni.port(eni.attachment)) for eni in enis)]
