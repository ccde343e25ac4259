"""Pages: steps of one flush in one message, durable at once and folded into the leases soon.

An atomic batch costs the bus a staging folder, several syncs of the disk and two milliseconds
of a processor, however many messages it has; a page is one message. So an answer waits for a
page only, which is stored if the epoch record is still the one its writer opened with. What
pages hold is brought to each lease's own subject later, in few large batches, and the same
batch empties the pages. Until then whoever reads the journal reads pages too: of an identity
the highest rank counts, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Final

from shared.errors import Unavailable
from shared.ids import ClusterName
from shared.messages.subjects import journal_page_subject

from .journal_entries import Entry

STEPS_MAX: Final = 128  # of a page: far below the bus' largest message
EMPTIED_TTL: Final = "10s"  # then an emptied page goes by itself
_OPEN_MAX: Final = 256  # of one writer: then a step waits until some are folded
_VERSION: Final = b"berth-page 1"


class OpenPages:
    """The pages that one writer has stored and not yet folded."""

    def __init__(self, cluster: ClusterName, writer: str) -> None:
        self._cluster = cluster
        self._writer = writer
        # Never a number twice: a page that arrives late must not stand in another one's place.
        self._numbers = count(1)
        self._open: dict[str, Sequence[Entry]] = {}  # by subject, oldest first

    @property
    def is_full(self) -> bool:
        return len(self._open) >= _OPEN_MAX

    def begin(self, entries: Sequence[Entry]) -> str:
        """The subject for a page of these, which counts as stored until `drop` says no."""
        subject = journal_page_subject(self._cluster, self._writer, str(next(self._numbers)))
        self._open[subject] = entries
        return subject

    def drop(self, subjects: Iterable[str]) -> None:
        """They were refused, or emptied."""
        for subject in subjects:
            self._open.pop(subject, None)

    def oldest(self, messages_max: int) -> dict[str, Sequence[Entry]]:
        """As many as fold into one batch."""
        taken: dict[str, Sequence[Entry]] = {}
        messages = 0
        for subject, entries in self._open.items():
            messages += len(entries) + 1
            if taken and messages > messages_max:
                break
            taken[subject] = entries
        return taken


def page_body(entries: Iterable[Entry]) -> bytes:
    """One line for each; neither tokens nor JSON hold a line's end."""
    lines = (b"%s %s" % (entry.token.encode(), entry.body) for entry in entries)
    return b"\n".join([_VERSION, *lines])


def entries_of(page: bytes) -> Iterator[Entry]:
    """Nothing of an emptied page."""
    version, _, lines = page.partition(b"\n")
    if not version:
        return
    if version != _VERSION:
        raise Unavailable(f"the journal holds a page of unknown shape: {version[:40]!r}")
    for line in lines.split(b"\n"):
        token, _, body = line.partition(b" ")
        yield Entry.read(token.decode(), body)


def newest_of(entries: Iterable[Entry]) -> dict[str, Entry]:
    """The one that counts of each identity, by token."""
    newest: dict[str, Entry] = {}
    for entry in entries:
        known = newest.get(entry.token)
        if known is None or known.rank < entry.rank:
            newest[entry.token] = entry
    return newest
