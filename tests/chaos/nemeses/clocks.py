"""Wall clocks that are stepped: of a service, or of the store; and set right again."""

from __future__ import annotations

import random
from typing import Final

from tests.chaos.history import FaultUnderWay
from tests.chaos.nemeses.spans import STEPPED_S, for_a_while
from tests.chaos.world import STORE, World

_SECONDS: Final = (6.0, 30.0)  # more than the reaper takes for no difference
_MINUTES: Final = (60.0, 400.0)  # up to more than the cloud takes in a signature


async def stepped_clock(world: World, rng: random.Random, fault: FaultUnderWay) -> None:
    """Forward or back, by seconds or by minutes."""
    kind = rng.choice(("allocator", "eni_manager", STORE))
    name = rng.choice([each for each in sorted(world.clocks) if each.startswith(kind)])
    seconds = rng.choice((-1, 1)) * rng.uniform(*rng.choice((_SECONDS, _MINUTES)))
    fault.what = f"the clock of {name} is {seconds:+.0f} s off"
    fault.touch(name == STORE or world.services[name].is_running)
    world.clocks[name].step(seconds)
    try:
        await for_a_while(rng, STEPPED_S)
    finally:
        world.clocks[name].step(0.0)
