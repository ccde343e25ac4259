"""Which routing tables are somebody else's (pure).

Tables have numbers and no owners. One in which somebody else has routes of their own is left to
them: a blackhole in it would take our pods' packets. One whose route was only replaced stays
ours, and the route is put back.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from .wiring import ForeignRoute, Route


def taken_tables(
    foreign: Iterable[ForeignRoute], *, in_use: Container[int], wanted: Iterable[Route]
) -> frozenset[int]:
    """Tables to leave, and never to begin with."""
    places = {(route.table, route.destination) for route in wanted}
    return frozenset(
        each.table
        for each in foreign
        if each.is_dropping
        or each.table not in in_use
        or (each.table, each.destination) not in places
    )
