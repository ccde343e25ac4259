"""Bytes as they should be, with a few of them changed, doubled or gone; a seed repeats it."""

from __future__ import annotations

import random


def spoiled(rng: random.Random, text: bytes) -> bytes:
    """A few bytes changed, doubled or gone."""
    body = bytearray(text)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body))
        match rng.randrange(3):
            case 0:
                body[at] = rng.randrange(256)
            case 1:
                del body[at : at + rng.randint(1, 8)]
            case _:
                body[at:at] = bytes(rng.choice(b'{}[]",:\\u0e-') for _ in range(3))
        if not body:
            return b""
    return bytes(body)
