"""Deletions that the plugin left behind while no agent answered, worked off by the agent.

``<run_dir>/spool/<digest>.json``, one file an attachment, each whole or absent. They are worked
off before the socket opens and, because a plugin may give up on a living agent, now and then
afterwards; an ADD for the same attachment settles its file first.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.node_agent.domain.requests import Attachments
from shared.errors import BerthError
from shared.ids import AttachmentKey
from shared.telemetry.metrics import SPOOL_DEPTH, SPOOL_LOST, SPOOL_OLDEST_SECONDS

log = logging.getLogger(__name__)

SPOOL_FILES_MAX: Final = 10_000  # the plugin's own limit (spool.c)
_FILE_BYTES_MAX: Final = 64 * 1024
_TEMPORARY_AGE_S: Final = 60.0  # older ones are of a plugin that was killed while it wrote
_QUARANTINE: Final = "quarantine"
_QUARANTINE_FILES_MAX: Final = 100


class _SpooledDeletion(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1]
    network: Annotated[str, Field(min_length=1)]
    container_id: Annotated[str, Field(min_length=1)]
    ifname: Annotated[str, Field(min_length=1)]

    @property
    def key(self) -> AttachmentKey:
        return AttachmentKey(self.network, self.container_id, self.ifname)


async def drain_spool(
    spool_dir: Path, attachments: Attachments, *, files_max: int = SPOOL_FILES_MAX
) -> int:
    """Work off what is spooled; returns how many deletions are done.

    A file goes only after its deletion: whatever fails stays for the next round. A file that
    cannot be read is put aside, so that it costs one log line and not one a round.
    """
    _sweep_temporaries(spool_dir)
    done = 0
    for file in list(islice(spool_dir.glob("*.json"), files_max)):
        done += await _work_off(file, attachments)
    _measure(spool_dir)
    if done:
        log.info("spooled deletions done", extra={"count": done})
    return done


async def settle_spooled(spool_dir: Path, key: AttachmentKey, attachments: Attachments) -> None:
    """Do the spooled deletion of this attachment now, if there is one."""
    file = f"{spool_dir}/{key.digest}.json"
    if not os.path.exists(file):
        return
    await attachments.delete(key)
    with suppress(FileNotFoundError):
        os.unlink(file)


def spool_depth(spool_dir: Path) -> int:
    """How many deletions wait."""
    return sum(1 for _ in islice(spool_dir.glob("*.json"), SPOOL_FILES_MAX))


def _measure(spool_dir: Path) -> None:
    SPOOL_DEPTH.set(spool_depth(spool_dir))
    SPOOL_LOST.set(lost_deletions(spool_dir.parent))
    oldest = now = time.time()
    for file in islice(spool_dir.glob("*.json"), SPOOL_FILES_MAX):
        with suppress(FileNotFoundError):  # an ADD settled it meanwhile
            oldest = min(oldest, file.stat().st_mtime)
    SPOOL_OLDEST_SECONDS.set(now - oldest)


def lost_deletions(run_dir: Path) -> int:
    """Deletions since boot that left no file: garbage collection's to finish."""
    try:
        return (run_dir / "spool.lost").stat().st_size
    except FileNotFoundError:
        return 0


async def _work_off(file: Path, attachments: Attachments) -> int:
    try:
        key = _read(file)
    except FileNotFoundError:
        return 0  # an ADD settled it meanwhile
    except (OSError, ValueError) as error:
        log.warning("spool file put aside", extra={"file": file.name, "why": str(error)[:200]})
        _put_aside(file)
        return 0
    try:
        await attachments.delete(key)
    except BerthError as error:
        log.warning(
            "spooled deletion failed", extra={"attachment": str(key), "why": str(error)}
        )
        return 0
    file.unlink(missing_ok=True)
    return 1


def _read(file: Path) -> AttachmentKey:
    if file.stat().st_size > _FILE_BYTES_MAX:
        raise ValueError(f"longer than {_FILE_BYTES_MAX} bytes")
    try:
        key = _SpooledDeletion.model_validate_json(file.read_bytes()).key
    except ValidationError as error:
        raise ValueError(str(error.errors(include_url=False)[0]["msg"])) from error
    if file.stem != key.digest:
        raise ValueError("its name does not belong to its attachment")
    return key


def _put_aside(file: Path) -> None:
    aside = file.parent / _QUARANTINE
    with suppress(OSError):
        aside.mkdir(mode=0o700, exist_ok=True)
        if len(list(aside.iterdir())) < _QUARANTINE_FILES_MAX:
            file.rename(aside / file.name)
        else:
            file.unlink()


def _sweep_temporaries(spool_dir: Path) -> None:
    oldest = time.time() - _TEMPORARY_AGE_S
    for file in spool_dir.glob(".*"):
        with suppress(FileNotFoundError):
            if file.stat().st_mtime < oldest:
                file.unlink()
