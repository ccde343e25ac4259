"""How long what is broken stays broken."""

from __future__ import annotations

import asyncio
import random
from typing import Final

FROZEN_S: Final = (0.8, 2.5)  # shorter than the eni_manager fears a call that was signed
DOWN_S: Final = (0.2, 1.5)
CUT_OFF_S: Final = (1.5, 4.0)
STEPPED_S: Final = (3.0, 6.0)  # a stepped clock is seen within one
APART_S: Final = (3.0, 12.0)  # servers of the bus look for another leader after 4 to 9 s


async def for_a_while(rng: random.Random, span_s: tuple[float, float]) -> None:
    await asyncio.sleep(rng.uniform(*span_s))
