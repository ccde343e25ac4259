"""Ids and MAC addresses as the cloud makes them, from randomness that tests can hold."""

from __future__ import annotations

import random
import re
import string
import uuid
from collections.abc import Container
from typing import Final

from services.vpc_simulator.model.failures import ApiFailure, Code

_ALPHABET: Final = string.ascii_lowercase + string.digits
_ID_LENGTH: Final = 8
_GENERATOR_VERSION: Final = 3  # of the standard library's Mersenne Twister
_OUI: Final = "20:90:6f"

_WELL_FORMED: Final = re.compile(r"[a-z]+-[0-9a-z-]{1,60}")


class Names:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def state(self) -> tuple[int, ...]:
        """Where the randomness stands."""
        words: tuple[int, ...] = self._rng.getstate()[1]
        return words

    def set_state(self, words: tuple[int, ...]) -> None:
        """Go on from there. Raises ValueError when these are not such words."""
        self._rng.setstate((_GENERATOR_VERSION, words, None))

    def resource(self, prefix: str, taken: Container[str]) -> str:
        """``eni-x7k2m9qa``: never one that exists."""
        while True:
            name = f"{prefix}-{''.join(self._rng.choices(_ALPHABET, k=_ID_LENGTH))}"
            if name not in taken:
                return name

    def mac(self, taken: Container[str]) -> str:
        while True:
            tail = ":".join(f"{self._rng.randrange(256):02x}" for _ in range(3))
            if (mac := f"{_OUI}:{tail}") not in taken:
                return mac

    def request(self) -> str:
        """A RequestId, which is also the id of the task that the request begins."""
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


def check_id(parameter: str, value: str, prefix: str) -> str:
    """Refuse what cannot be an id of this kind before anything is looked up."""
    if not value.startswith(f"{prefix}-") or not _WELL_FORMED.fullmatch(value):
        raise ApiFailure(
            Code.MALFORMED, f"The value `{value}` of {parameter} is malformed: want {prefix}-…"
        )
    return value
