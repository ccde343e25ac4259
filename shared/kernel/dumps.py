"""Dumps of one kind, read again and again: most of a dump is what it was before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Rereader(Generic[Thing]):
    """Decodes only the messages that were not in the last dump."""

    def __init__(self, read: Callable[[bytes], Thing]) -> None:
        self._read = read
        self._meant: dict[bytes, Thing] = {}

    def read(self, dump: Iterable[bytes]) -> list[Thing]:
        before, read = self._meant, self._read
        self._meant = {
            message: before[message] if message in before else read(message) for message in dump
        }
        return list(self._meant.values())

    def forget(self) -> None:
        """What messages mean has changed."""
        self._meant = {}
