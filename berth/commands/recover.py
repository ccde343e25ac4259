"""``berth backup``, ``restore`` and ``recover``: for the worst days."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from berth.backup_file import read_backup, write_backup
from berth.commands.options import Json, RunDir, ask, deadline_of, who
from berth.commands.output import EXIT_FAILED, say, show, show_json, warn
from berth.enabling import fetch_status
from berth.operator import operator_settings
from shared.bus.client import BusClient
from shared.clock import SystemClock
from shared.clusters import Cluster
from shared.errors import Refused, TryLater
from shared.messages.base import IdentityFields
from shared.messages.recovery import (
    LEASE_BACKUP,
    LEASE_RESTORE,
    PAGE_MAX,
    RECOVER,
    RECOVERY_STATUS,
    RECOVERY_TRIAL,
    BackedUpLease,
    Book,
    LeaseBackupRequest,
    LeaseRestoreRequest,
    LeasesRestored,
    RecoverRequest,
    RecoveryStatus,
    RecoveryStatusRequest,
    RecoveryTrialRequest,
    RecoveryTried,
)
from shared.runtime.lifecycle import version

_POLL_S: Final = 0.2
_RECOVERY_S: Final = 600.0
_STEP: Final = 10_000  # leases between two lines of progress

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
Trial = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
]


def backup(file: File, run_dir: RunDir) -> None:
    """Write every fixed lease, and what the cluster was enabled with, to a file."""
    cluster = operator_settings(run_dir).cluster

    async def read(bus: BusClient) -> tuple[list[BackedUpLease], Cluster | None]:
        return await fetch_leases(bus), (await fetch_status(bus)).cluster

    leases, record = ask(run_dir, read)
    at = SystemClock().now()
    write_backup(file, leases, cluster=cluster, at=at, release=version(), settings=record)
    say(f"{len(leases)} leases of cluster {cluster} are in {file}")


async def fetch_leases(bus: BusClient) -> list[BackedUpLease]:
    found: dict[IdentityFields, BackedUpLease] = {}
    progress, cursor = _Progress("read"), 0
    while True:
        request = LeaseBackupRequest(cursor=cursor, deadline=deadline_of(LEASE_BACKUP))
        page = await bus.call(LEASE_BACKUP, request)
        for lease in page.leases:
            known = found.get(lease.identity)
            if known is None or known.generation < lease.generation:
                found[lease.identity] = lease
        progress.reached(len(found))
        cursor = page.next_cursor
        if cursor == 0:
            return list(found.values())


def restore(
    file: File,
    run_dir: RunDir,
    is_trial: Trial = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also give up the leases that pods have now.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put the leases of a backup back. One that the store says otherwise of is left alone."""
    found = read_backup(file)
    cluster = operator_settings(run_dir).cluster
    if found.header.cluster != cluster:
        raise Refused(
            f"{file}: line 1: it is of cluster {found.header.cluster!r}, not of {cluster!r}"
        )

    async def put(bus: BusClient) -> LeasesRestored:
        record = found.header.settings
        if record is not None and (await fetch_status(bus)).cluster is None:
            warn(f"the cluster has lost what it was enabled with: {_words_of(record)}")
        return await restore_leases(bus, found.leases, is_trial=is_trial, replace=replace)

    done = ask(run_dir, put)
    if as_json:
        show_json(done)
    else:
        verb = "would be restored" if is_trial else "restored"
        say(f"{done.restored} leases {verb}, {done.same} are there already")
        if done.refused:
            rows = [
                {"pod": _pod(each.identity), "reason": each.reason} for each in done.refused
            ]
            show(rows, ("pod", "reason"), title="Left alone", as_json=False)
    if done.refused:
        sys.exit(EXIT_FAILED)


def _words_of(record: Cluster) -> str:
    """What to enable it with again."""
    subnets = ", ".join(each.subnet for each in record.subnets)
    fixed = "with" if record.has_fixed_ips else "without"
    return (
        f"modes {', '.join(record.modes)}; subnets {subnets}; {fixed} fixed IPs;"
        f" {record.pods_max} pods a node. Enable it again with the same (berth enable --help)"
    )


async def restore_leases(
    bus: BusClient, leases: list[BackedUpLease], *, is_trial: bool, replace: bool
) -> LeasesRestored:
    restored = same = 0
    refused = []
    progress = _Progress("restored")
    for start in range(0, len(leases), PAGE_MAX):
        request = LeaseRestoreRequest(
            leases=leases[start : start + PAGE_MAX],
            is_trial=is_trial,
            replace=replace,
            by=who(),
            deadline=deadline_of(LEASE_RESTORE),
        )
        page = await bus.call(LEASE_RESTORE, request)
        restored, same = restored + page.restored, same + page.same
        refused += page.refused
        progress.reached(start + len(request.leases))
    return LeasesRestored(restored=restored, same=same, refused=refused)


def recover(
    run_dir: RunDir,
    is_trial: Trial = False,
    source: Annotated[
        Book, typer.Option("--from", help="The book that is right; the other is built anew.")
    ] = Book.JOURNAL,
    as_json: Json = False,
) -> None:
    """Have the allocators build the store anew from the journal, or the journal from the store.

    They do by themselves what a lost store or journal needs; this is for one that a person
    knows to be wrong.
    """
    if is_trial:
        tried = ask(run_dir, _try)
        if as_json:
            show_json(tried)
        else:
            _tell(tried, source)
        return
    ended = ask(run_dir, lambda bus: _recover(bus, source))
    if as_json:
        show_json(ended)
    else:
        say(f"epoch {ended.epoch} is open, with {ended.leases_in_store} leases")


async def _try(bus: BusClient) -> RecoveryTried:
    return await bus.call(
        RECOVERY_TRIAL, RecoveryTrialRequest(deadline=deadline_of(RECOVERY_TRIAL))
    )


def _tell(tried: RecoveryTried, source: Book) -> None:
    say(
        f"{tried.leases_in_store} leases in the store, {tried.leases_in_journal} in the journal"
    )
    say(f"{tried.differing} differ; from the {source} they would be made the same")
    rows = [
        {"pod": _pod(each.identity), "store": each.store, "journal": each.journal}
        for each in tried.differences
    ]
    if rows:
        show(rows, ("pod", "store", "journal"), title="Differing", as_json=False)
    if tried.differing > len(rows):
        say(f"and {tried.differing - len(rows)} more")


async def _recover(bus: BusClient, source: Book) -> RecoveryStatus:
    before = await bus.call(
        RECOVER, RecoverRequest(source=source, by=who(), deadline=deadline_of(RECOVER))
    )
    progress = _Progress("in the store")
    async with asyncio.timeout(_RECOVERY_S):
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                now = await bus.call(
                    RECOVERY_STATUS,
                    RecoveryStatusRequest(deadline=deadline_of(RECOVERY_STATUS)),
                )
            except TryLater:  # the allocators are at it
                continue
            if now.is_open and now.epoch > before.epoch:
                return now
            progress.reached(now.leases_in_store)


class _Progress:
    """A line to standard error now and then: the answer stays whole for programs."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = _STEP

    def reached(self, count: int) -> None:
        if count >= self._next:
            self._next = count + _STEP
            warn(f"{count} leases {self._what}")


def _pod(identity: IdentityFields) -> str:
    return f"{identity.namespace}/{identity.name}"
