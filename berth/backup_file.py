"""The file of a backup: one JSON object a line, and a last line that vouches for the others.

The first line tells format, version, cluster and moment; then a lease a line; the last one the
number of leases and the SHA-256 of all lines before it. Version N reads N-1.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from shared.clusters import Cluster
from shared.errors import Refused
from shared.messages.recovery import BackedUpLease

FORMAT: Final = "berth-backup"
VERSION: Final = 1
_LINE_BYTES_MAX: Final = 64 * 1024
_LEASES_MAX: Final = 10_000_000


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Header(_Line):
    """Whose backup it is, and of when."""

    format: Literal["berth-backup"]
    version: Annotated[int, Field(ge=1, le=VERSION)]
    cluster: Annotated[str, Field(min_length=1)]
    at: AwareDatetime
    release: str
    settings: Cluster | None = None  # what the cluster was enabled with


class _Footer(_Line):
    leases: Annotated[int, Field(ge=0, le=_LEASES_MAX)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Backup:
    header: Header
    leases: list[BackedUpLease]


def write_backup(
    path: Path,
    leases: Iterable[BackedUpLease],
    *,
    cluster: str,
    at: datetime,
    release: str,
    settings: Cluster | None = None,
) -> None:
    """Under its name it is whole and on the disk, or it is not there."""
    header = Header(
        format=FORMAT,
        version=VERSION,
        cluster=cluster,
        at=at,
        release=release,
        settings=settings,
    )
    unfinished = path.with_name(f".{path.name}.unfinished")
    digest, count = hashlib.sha256(), 0
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:

        def put(model: BaseModel) -> None:
            line = model.model_dump_json(exclude_none=True).encode() + b"\n"
            digest.update(line)
            file.write(line)

        put(header)
        for lease in leases:
            put(lease)
            count += 1
        put(_Footer(leases=count, sha256=digest.hexdigest()))
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def read_backup(path: Path) -> Backup:
    """Whole, or Refused with the line and the reason: nothing of a damaged file is used."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from error
    if len(lines) < 2:
        raise Refused(f"{path}: line {len(lines)}: it ends before its last line")
    header = _parse(path, 1, lines[0], Header)
    footer = _parse(path, len(lines), lines[-1], _Footer)
    leases = [
        _parse(path, number, line, BackedUpLease)
        for number, line in enumerate(lines[1:-1], start=2)
    ]
    if footer.leases != len(leases):
        raise Refused(
            f"{path}: line {len(lines)}: it tells of {footer.leases} leases, and there are"
            f" {len(leases)}"
        )
    if footer.sha256 != hashlib.sha256(b"".join(lines[:-1])).hexdigest():
        raise Refused(f"{path}: line {len(lines)}: the lines before it were changed")
    _check_unique(path, leases)
    return Backup(header, leases)


def _check_unique(path: Path, leases: list[BackedUpLease]) -> None:
    seen: dict[object, int] = {}
    for number, lease in enumerate(leases, start=2):
        for what in (lease.identity, lease.address):
            if what in seen:
                raise Refused(f"{path}: line {number}: {what} is in line {seen[what]} already")
            seen[what] = number


def _parse(path: Path, number: int, line: bytes, kind: type[Model]) -> Model:
    if len(line) > _LINE_BYTES_MAX:
        raise Refused(f"{path}: line {number}: longer than {_LINE_BYTES_MAX} bytes")
    try:
        return kind.model_validate(json.loads(line))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"]) or "line"
        value = repr(problem["input"])[:120]
        raise Refused(
            f"{path}: line {number}: {field}: {value} is not allowed: {problem['msg']}"
        ) from error
    except ValueError as error:
        raise Refused(f"{path}: line {number}: not JSON: {error}") from error
