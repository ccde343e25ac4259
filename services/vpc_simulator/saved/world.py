"""The whole cloud in one JSON file, written atomically and checked whole when it is read.

The topology stays the source of what people set: limits, rates, latencies. What the cloud made
(ids, MAC addresses, who has which address) and how it goes on making them comes from the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import date, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from services.vpc_simulator.api.actions import Answer
from services.vpc_simulator.model.cloud import Cloud
from services.vpc_simulator.model.eips import Eip
from services.vpc_simulator.model.enis import Eni, TaskId
from services.vpc_simulator.model.instances import Instance
from services.vpc_simulator.model.invariants import broken
from services.vpc_simulator.model.states import TaskStatus
from services.vpc_simulator.model.subnets import Subnet
from services.vpc_simulator.model.tasks import Task
from services.vpc_simulator.model.tokens import ClientTokens, TokenKey
from services.vpc_simulator.saved.changes import ChangeRecord, change_of, record
from shared.errors import InvalidInput, Unavailable
from shared.ids import VpcId

_FILE_MODE: Final = 0o600


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskRecord(_Document):
    id: TaskId
    number: int
    action: str
    resources: tuple[str, ...]
    began_at: datetime
    status: TaskStatus
    output: str
    ended_at: datetime | None
    change: ChangeRecord | None


class TokenRecord(_Document):
    account: str
    action: str
    token: str
    parameters: str
    request_id: str
    body: dict[str, object]


class SavedWorld(_Document):
    schema_version: Literal[1] = 1
    region: str
    vpc: VpcId
    vpc_cidr: IPv4Network
    subnets: tuple[Subnet, ...]
    instances: tuple[Instance, ...]
    enis: tuple[Eni, ...]
    eips: tuple[Eip, ...]
    eip_applications: dict[str, tuple[date, int]]
    tasks: tuple[TaskRecord, ...]
    last_task_number: int
    tokens: tuple[TokenRecord, ...]
    names: tuple[int, ...]
    """Where the generator of names stands, so that it repeats none of them."""


def save(path: Path, cloud: Cloud, tokens: ClientTokens[Answer]) -> None:
    """Whoever reads the file reads all of it. Raises Unavailable."""
    text = _snapshot(cloud, tokens).model_dump_json()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(partial, flags, _FILE_MODE), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Unavailable(f"state {path}: cannot be written: {error.strerror}") from error


def load(path: Path, cloud: Cloud, tokens: ClientTokens[Answer]) -> list[TaskId]:
    """Put what was saved into a cloud that has only its settings; the tasks to go on with."""
    try:
        saved = SavedWorld.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"state {path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in detail["loc"]) or "document"
        raise InvalidInput(f"state {path}: {place}: {detail['msg']}") from error
    here = (cloud.region, cloud.vpc.id, cloud.vpc.cidr)
    if (saved.region, saved.vpc, saved.vpc_cidr) != here:
        there = f"{saved.region}, {saved.vpc}, {saved.vpc_cidr}"
        raise InvalidInput.of(f"state {path}: region and VPC", there, "those of the topology")
    try:
        _restore(saved, cloud, tokens)
    except (AssertionError, KeyError, ValueError) as error:
        raise InvalidInput(f"state {path}: it does not fit together ({error})") from error
    if wrong := broken(cloud):
        raise InvalidInput(f"state {path}: {wrong[0]}")
    return [task.id for task in cloud.tasks if task.change is not None]


def _snapshot(cloud: Cloud, tokens: ClientTokens[Answer]) -> SavedWorld:
    return SavedWorld(
        region=cloud.region,
        vpc=cloud.vpc.id,
        vpc_cidr=cloud.vpc.cidr,
        subnets=tuple(cloud.subnets.values()),
        instances=tuple(cloud.instances.values()),
        enis=tuple(cloud.enis.values()),
        eips=tuple(cloud.eips.values()),
        eip_applications=cloud.eip_applications,
        tasks=tuple(_task_record(task) for task in cloud.tasks),
        last_task_number=cloud.tasks.last_number,
        tokens=tuple(_token_records(tokens)),
        names=cloud.names.state(),
    )


def _task_record(task: Task) -> TaskRecord:
    return TaskRecord(
        id=task.id,
        number=task.number,
        action=task.action,
        resources=task.resources,
        began_at=task.began_at,
        status=task.status,
        output=task.output,
        ended_at=task.ended_at,
        change=record(task.change) if task.change is not None else None,
    )


def _token_records(tokens: ClientTokens[Answer]) -> Iterable[TokenRecord]:
    for key, parameters, answer in tokens.answers():
        yield TokenRecord(
            account=key.account,
            action=key.action,
            token=key.token,
            parameters=parameters,
            request_id=answer.request_id,
            body=answer.body,
        )


def _restore(saved: SavedWorld, cloud: Cloud, tokens: ClientTokens[Answer]) -> None:
    cloud.subnets = {each.id: each for each in saved.subnets}
    cloud.instances = {each.id: each for each in saved.instances}
    cloud.enis = {each.id: each for each in saved.enis}
    cloud.macs = {each.mac: each.id for each in saved.enis}
    cloud.eips = {each.id: each for each in saved.eips}
    cloud.eips_by_private = {
        each.private_address: each.id for each in saved.eips if each.private_address
    }
    cloud.eip_applications = dict(saved.eip_applications)
    cloud.reservations = {
        kept.id: kept for subnet in saved.subnets for kept in subnet.reserved.values()
    }
    for each in saved.tasks:
        cloud.tasks.put_back(
            Task(
                id=each.id,
                number=each.number,
                action=each.action,
                resources=each.resources,
                began_at=each.began_at,
                change=change_of(cloud, each.change) if each.change is not None else None,
                status=each.status,
                output=each.output,
                ended_at=each.ended_at,
            )
        )
    cloud.tasks.last_number = saved.last_task_number
    cloud.names.set_state(saved.names)
    for token in saved.tokens:
        key = TokenKey(account=token.account, action=token.action, token=token.token)
        answer = Answer(request_id=token.request_id, body=token.body)
        tokens.remember(key, token.parameters, answer)
