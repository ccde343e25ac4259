"""The book on disk: small JSON files, each written beside, synced and renamed into place.

    <run_dir>/book/lock                      held for life by the one agent of the node
    <run_dir>/book/attachments/<digest>      who uses what, this boot
    <run_dir>/book/cooling/<address>         what rests, and whose it was
    <run_dir>/book/pods/<uid>                what the pod source told
    <run_dir>/book/boot                      the boot that this folder is of
    <state_dir>/boot                         the last boot that had such a folder
    <state_dir>/node                         incarnation, ENIs, owned addresses, recalls
    <state_dir>/claims/<digest>              what was asked of the allocator, and its answer

A crash at any byte leaves the old file or the new one, never a part: a name that ends in
``.new`` was never finished and is swept. Each file ends with a sum over what is before it, so
one that a disk has changed is noticed. It is copied to ``damaged`` and never believed: whoever
opens the book is told of it, and removes it once what it held has been made up for.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import zlib
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from services.node_agent.domain.attachments import Attachment, Claim
from services.node_agent.domain.ports import (
    Cooling,
    DamagedPage,
    KnownPod,
    NodeRecord,
    PageKind,
    Saved,
)
from shared.errors import Refused, Unavailable
from shared.ids import AttachmentKey, PodUid
from shared.telemetry.metrics import BOOK_DAMAGED_TOTAL

log = logging.getLogger(__name__)

FORMAT: Final[Literal[1]] = 1
FILE_BYTES_MAX: Final = 4 << 20
_NEW: Final = ".new"
_LOCK: Final = "lock"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_ASIDE: Final = "damaged"
_ASIDE_FILES_MAX: Final = 100
# Later formats keep this end, so that a newer agent's page is told from a damaged one.
_SUM: Final = re.compile(rb',"sum":"([0-9a-f]{8})"\}\Z')

Body = TypeVar("Body", Attachment, Cooling, KnownPod, NodeRecord, Claim)


class _Page(BaseModel, Generic[Body]):
    """One file: its format, so that a later agent knows what it reads, and what it tells."""

    # Nothing beside them: a sum whose name is damaged must not pass for a page without one.
    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = FORMAT
    body: Body


class _AnyPage(BaseModel):
    """What every format begins with."""

    format: int = FORMAT


class _Shelf(Generic[Body]):
    """A folder of pages of one kind."""

    def __init__(
        self, folder: Path, kind: PageKind, page: type[_Page[Body]], *, is_durable: bool
    ) -> None:
        self._folder = folder
        self._kind = kind
        self._page: type[_Page[Body]] = page
        self._is_durable = is_durable
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def read_all(self, damaged: list[DamagedPage]) -> tuple[Body, ...]:
        found = []
        for path in sorted(self._folder.iterdir()):
            if path.name.endswith(_NEW):
                path.unlink()
            elif path.is_file() and path.name != _LOCK:
                found.append(self._read(path, damaged))
        return tuple(each for each in found if each is not None)

    def read(self, name: str, damaged: list[DamagedPage]) -> Body | None:
        path = self._folder / name
        (self._folder / (name + _NEW)).unlink(missing_ok=True)
        return self._read(path, damaged) if path.exists() else None

    def _read(self, path: Path, damaged: list[DamagedPage]) -> Body | None:
        """None: damaged, and noted as such."""
        try:
            with path.open("rb") as file:
                data = _summed(file.read(FILE_BYTES_MAX))
            _check_format(path, data)
            body: Body = self._page.model_validate_json(data).body
        except OSError as error:
            raise Refused(f"{path}: the book cannot be read: {error}") from error
        except ValueError as error:  # of the sum, or pydantic's
            why = str(error).splitlines()[0]
            log.error("page of the book is damaged", extra={"page": str(path), "why": why})
            BOOK_DAMAGED_TOTAL.labels(self._kind).inc()
            self._keep(path)
            damaged.append(DamagedPage(kind=self._kind, name=path.name))
            return None
        return body

    def _keep(self, path: Path) -> None:
        """For a person to look at, if there is room."""
        aside = self._folder / _ASIDE
        with suppress(OSError):
            aside.mkdir(mode=0o700, exist_ok=True)
            if len(list(aside.iterdir())) < _ASIDE_FILES_MAX:
                shutil.copyfile(path, aside / path.name)

    def write(self, name: str, body: Body) -> None:
        data = _with_sum(self._page(body=body).model_dump_json().encode())
        path = f"{self._folder}/{name}"
        try:
            file = os.open(path + _NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(file, view) :]
                if self._is_durable:
                    os.fsync(file)
            finally:
                os.close(file)
            os.rename(path + _NEW, path)
            self._sync_folder()
        except OSError as error:
            raise Unavailable(f"{path}: the book cannot be written: {error}") from error

    def remove(self, name: str) -> None:
        try:
            (self._folder / name).unlink(missing_ok=True)
            self._sync_folder()
        except OSError as error:
            raise Unavailable(f"{self._folder}/{name}: cannot be removed: {error}") from error

    def _sync_folder(self) -> None:
        if not self._is_durable:  # tmpfs: the rename is all there is
            return
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class _Boot:
    """Whether the folder that dies with a boot has died before it."""

    def __init__(self, in_run: Path, in_state: Path) -> None:
        self._in_run, self._in_state = in_run, in_state
        self._now = _text(_BOOT_ID)
        self.is_run_lost = _text(in_run) != self._now == _text(in_state) != ""

    def note(self) -> None:
        for path in (self._in_state, self._in_run):
            if _text(path) != self._now:
                _put(path, self._now)


class FileBook:
    """One agent's book. Construction takes the lock; a second agent is refused."""

    def __init__(self, *, run_dir: Path, state_dir: Path) -> None:
        book = run_dir / "book"
        try:
            book.mkdir(mode=0o700, parents=True, exist_ok=True)
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._locks = (_lock(book / _LOCK), _lock(state_dir / _LOCK))
            self._attachments = _Shelf(
                book / "attachments",
                PageKind.ATTACHMENT,
                _Page[Attachment],
                is_durable=False,
            )
            self._cooling = _Shelf(
                book / "cooling", PageKind.COOLING, _Page[Cooling], is_durable=False
            )
            self._pods = _Shelf(book / "pods", PageKind.POD, _Page[KnownPod], is_durable=False)
            self._claims = _Shelf(
                state_dir / "claims", PageKind.CLAIM, _Page[Claim], is_durable=True
            )
            self._node = _Shelf(state_dir, PageKind.NODE, _Page[NodeRecord], is_durable=True)
            self._boot = _Boot(book / "boot", state_dir / "boot")
        except OSError as error:
            raise Refused(f"{error.filename}: no book can be kept here: {error}") from error

    def close(self) -> None:
        for lock in self._locks:
            os.close(lock)

    def load(self) -> Saved:
        damaged: list[DamagedPage] = []
        return Saved(
            node=self._node.read("node", damaged) or NodeRecord(),
            claims=self._claims.read_all(damaged),
            attachments=self._attachments.read_all(damaged),
            cooling=self._cooling.read_all(damaged),
            pods=self._pods.read_all(damaged),
            damaged=tuple(damaged),
            is_run_lost=self._boot.is_run_lost,
        )

    def note_whole(self) -> None:
        self._boot.note()

    def remove_damaged(self, page: DamagedPage) -> None:
        match page.kind:
            case PageKind.NODE:
                self._node.remove(page.name)
            case PageKind.CLAIM:
                self._claims.remove(page.name)
            case PageKind.ATTACHMENT:
                self._attachments.remove(page.name)
            case PageKind.COOLING:
                self._cooling.remove(page.name)
            case PageKind.POD:
                self._pods.remove(page.name)

    def save_node(self, record: NodeRecord) -> None:
        self._node.write("node", record)

    def save_claim(self, claim: Claim) -> None:
        self._claims.write(claim.key.digest, claim)

    def remove_claim(self, key: AttachmentKey) -> None:
        self._claims.remove(key.digest)

    def save_attachment(self, attachment: Attachment) -> None:
        self._attachments.write(attachment.key.digest, attachment)

    def remove_attachment(self, key: AttachmentKey) -> None:
        self._attachments.remove(key.digest)

    def save_cooling(self, cooling: Cooling) -> None:
        self._cooling.write(str(cooling.holding.address), cooling)

    def remove_cooling(self, address: IPv4Address) -> None:
        self._cooling.remove(str(address))

    def save_pod(self, pod: KnownPod) -> None:
        self._pods.write(_file_name(pod.uid), pod)

    def remove_pod(self, uid: PodUid) -> None:
        self._pods.remove(_file_name(uid))


def _with_sum(page: bytes) -> bytes:
    head = page[:-1]  # without the closing brace
    return head + b',"sum":"%08x"}' % zlib.crc32(head)


def _summed(data: bytes) -> bytes:
    """The page without its sum. Raises ValueError where it does not fit; agents of before
    wrote none."""
    found = _SUM.search(data)
    if found is None:
        return data
    head = data[: found.start()]
    if zlib.crc32(head) != int(found[1], 16):
        raise ValueError("its sum does not fit what it holds")
    return head + b"}"


def _check_format(path: Path, data: bytes) -> None:
    found = _AnyPage.model_validate_json(data).format
    if found > FORMAT:
        raise Refused(
            f"{path}: format {found} of the book is of a newer agent, this one knows up to"
            f" {FORMAT}: start that release again; nothing was changed"
        )


def _file_name(uid: PodUid) -> str:
    return "uid-" + quote(uid, safe="")  # never "." or "..", never a slash


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Refused(f"{path}: the book cannot be read: {error}") from error


def _put(path: Path, text: str) -> None:
    """Not synced: a power cut ends the boot that it tells of."""
    new = path.with_name(path.name + _NEW)
    try:
        new.write_text(text, encoding="ascii")
        new.rename(path)
    except OSError as error:
        raise Unavailable(f"{path}: the book cannot be written: {error}") from error


def _lock(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise Refused(
            f"{path}: another agent of this node holds the book; stop it first"
        ) from None
    return file
