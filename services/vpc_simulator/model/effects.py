"""What a change does to the network, in the order in which it must happen."""

from __future__ import annotations

from dataclasses import dataclass

from services.vpc_simulator.ports import EniPort
from shared.ids import EniId, InstanceId


@dataclass(frozen=True, slots=True)
class SetEni:
    port: EniPort


@dataclass(frozen=True, slots=True)
class RemoveEni:
    eni: EniId


@dataclass(frozen=True, slots=True)
class SetInstance:
    instance: InstanceId


@dataclass(frozen=True, slots=True)
class RemoveInstance:
    instance: InstanceId


Effect = SetEni | RemoveEni | SetInstance | RemoveInstance
