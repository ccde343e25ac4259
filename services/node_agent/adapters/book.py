"""The book on disk: small JSON files, each written beside, synced and renamed into place.

    <run_dir>/book/lock                      held for life by the one agent of the node
    <run_dir>/book/attachments/<digest>      who uses what, this boot
    <run_dir>/book/cooling/<address>         what rests, and whose it was
    <run_dir>/book/pods/<uid>                what the pod source told
    <state_dir>/node                         incarnation, ENIs, owned addresses, recalls
    <state_dir>/claims/<digest>              what was asked of the allocator, and its answer

A crash at any byte leaves the old file or the new one, never a part: a name that ends in
``.new`` was never finished and is swept. A file that cannot be read was damaged by something
else, and an agent that guessed could give an address away twice: it refuses to start.
"""

from __future__ import annotations

import fcntl
import os
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from services.node_agent.domain.attachments import Attachment, Claim
from services.node_agent.domain.ports import Cooling, KnownPod, NodeRecord, Saved
from shared.errors import Refused, Unavailable
from shared.ids import AttachmentKey, PodUid

FORMAT: Final[Literal[1]] = 1
FILE_BYTES_MAX: Final = 4 << 20
_NEW: Final = ".new"

Body = TypeVar("Body", Attachment, Cooling, KnownPod, NodeRecord, Claim)


class _Page(BaseModel, Generic[Body]):
    """One file: its format, so that a later agent knows what it reads, and what it tells."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1] = FORMAT
    body: Body


class _AnyPage(BaseModel):
    """What every format begins with."""

    format: int = FORMAT


class _Shelf(Generic[Body]):
    """A folder of pages of one kind."""

    def __init__(self, folder: Path, page: type[_Page[Body]], *, is_durable: bool) -> None:
        self._folder = folder
        self._page: type[_Page[Body]] = page
        self._is_durable = is_durable
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def read_all(self) -> tuple[Body, ...]:
        found = []
        for path in sorted(self._folder.iterdir()):
            if path.name.endswith(_NEW):
                path.unlink()
            elif path.is_file() and path.name != "lock":
                found.append(self._read(path))
        return tuple(found)

    def read(self, name: str) -> Body | None:
        path = self._folder / name
        (self._folder / (name + _NEW)).unlink(missing_ok=True)
        return self._read(path) if path.exists() else None

    def _read(self, path: Path) -> Body:
        try:
            with path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX)
            _check_format(path, data)
            page = self._page.model_validate_json(data)
        except (OSError, ValidationError) as error:
            first = str(error).splitlines()[0]
            raise Refused(
                f"{path}: the book cannot be read ({first}); restore the file, or move it away"
                " once nothing on this node uses its address"
            ) from error
        body: Body = page.body
        return body

    def write(self, name: str, body: Body) -> None:
        data = self._page(body=body).model_dump_json().encode()
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


class FileBook:
    """One agent's book. Construction takes the lock; a second agent is refused."""

    def __init__(self, *, run_dir: Path, state_dir: Path) -> None:
        book = run_dir / "book"
        try:
            book.mkdir(mode=0o700, parents=True, exist_ok=True)
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._locks = (_lock(book / "lock"), _lock(state_dir / "lock"))
            self._attachments = _Shelf(
                book / "attachments", _Page[Attachment], is_durable=False
            )
            self._cooling = _Shelf(book / "cooling", _Page[Cooling], is_durable=False)
            self._pods = _Shelf(book / "pods", _Page[KnownPod], is_durable=False)
            self._claims = _Shelf(state_dir / "claims", _Page[Claim], is_durable=True)
            self._node = _Shelf(state_dir, _Page[NodeRecord], is_durable=True)
        except OSError as error:
            raise Refused(f"{error.filename}: no book can be kept here: {error}") from error

    def close(self) -> None:
        for lock in self._locks:
            os.close(lock)

    def load(self) -> Saved:
        return Saved(
            node=self._node.read("node") or NodeRecord(),
            claims=self._claims.read_all(),
            attachments=self._attachments.read_all(),
            cooling=self._cooling.read_all(),
            pods=self._pods.read_all(),
        )

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


def _check_format(path: Path, data: bytes) -> None:
    found = _AnyPage.model_validate_json(data).format
    if found > FORMAT:
        raise Refused(
            f"{path}: format {found} of the book is of a newer agent, this one knows up to"
            f" {FORMAT}: start that release again; nothing was changed"
        )


def _file_name(uid: PodUid) -> str:
    return "uid-" + quote(uid, safe="")  # never "." or "..", never a slash


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
