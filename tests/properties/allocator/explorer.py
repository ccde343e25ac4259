"""Every order of every step of a small world, breadth first, to a stated depth.

A world says what may happen next; each choice is taken on a copy of its own. Worlds that are
alike are gone on from once. The first problem found has the shortest way to it, which is told.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar


class Choice(NamedTuple):
    """A method of the world, with what it is called with; its values do not change."""

    what: str
    args: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"{self.what}({', '.join(map(str, self.args))})"


class World(Protocol):
    """Something small that can be pickled."""

    def choices(self) -> Iterator[Choice]: ...

    def take(self, choice: Choice) -> None: ...

    def likeness(self) -> Hashable:
        """Equal for worlds in which the same may happen."""
        ...

    def problems(self) -> list[str]: ...


W = TypeVar("W", bound=World)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """What was looked at, and the first thing that was wrong."""

    worlds: int  # that are not alike
    choices: int  # taken
    problems: tuple[str, ...] = ()
    trace: tuple[str, ...] = ()  # the way to them

    def __str__(self) -> str:
        told = f"{self.worlds} worlds, {self.choices} choices"
        return "\n".join([told, *self.problems, *self.trace])


def explore(start: W, *, depth: int, watch: Callable[[W], None] = lambda _: None) -> Explored:
    """Worlds are told apart by 64 bits of their likeness. `watch` is shown every end."""
    begin = hash(start.likeness())
    came_from: dict[int, tuple[int, str] | None] = {begin: None}
    layer, choices = [(begin, pickle.dumps(start))], 0
    for _ in range(depth):
        following: list[tuple[int, bytes]] = []
        for place, frozen in layer:
            world: W = pickle.loads(frozen)  # our own bytes
            for choice in world.choices():
                choices += 1
                after: W = pickle.loads(frozen)
                after.take(choice)
                watch(after)
                there = hash(after.likeness())
                if there in came_from:
                    continue
                came_from[there] = (place, str(choice))
                if problems := after.problems():
                    return Explored(
                        worlds=len(came_from),
                        choices=choices,
                        problems=tuple(problems),
                        trace=_way(came_from, there),
                    )
                following.append((there, pickle.dumps(after)))
        layer = following
    return Explored(worlds=len(came_from), choices=choices)


def _way(came_from: dict[int, tuple[int, str] | None], there: int) -> tuple[str, ...]:
    way: list[str] = []
    while (step := came_from[there]) is not None:
        there, choice = step
        way.append(choice)
    return tuple(reversed(way))
