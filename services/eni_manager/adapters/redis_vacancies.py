"""VacancyBook over the store: a hash of what nodes tell, and the order of their changes."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import Final, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.eni_manager.domain.ports import Term, TermEnded, VacancyPage
from services.eni_manager.domain.vacancies import Vacancy
from shared.errors import Unavailable
from shared.ids import ClusterName, NodeName
from shared.store.keys import eni_key
from shared.store.scripts import load_script

T = TypeVar("T")

_LUA: Final = "services.eni_manager.adapters.lua"
_VACANCIES: Final = TypeAdapter(Vacancy)


class RedisVacancies:
    """Implements VacancyBook."""

    def __init__(self, store: Redis, *, cluster: ClusterName) -> None:
        self._store = store
        self._cluster = cluster
        self._keys = [
            eni_key(cluster, noun)
            for noun in ("vacancies", "vacancies:changes", "vacancies:marks")
        ]
        self._tell = load_script(store, _LUA, "tell_vacancies")
        self._read = load_script(store, _LUA, "read_vacancies")

    async def tell(
        self, term: Term, told: Collection[Vacancy], left: Collection[NodeName]
    ) -> None:
        args: list[str | bytes] = [str(term.number)]
        for each in told:
            args += [each.node, _VACANCIES.dump_json(each)]
        for node in left:
            args += [node, ""]
        keys = [eni_key(self._cluster, f"shard:{term.shard}"), *self._keys]
        if not await _answered(self._tell(keys=keys, args=args)):
            raise TermEnded(f"term {term.number} of shard {term.shard} was lost")

    async def names(self) -> list[NodeName]:
        names = cast(Awaitable[list[bytes]], self._store.hkeys(self._keys[0]))
        return [NodeName(each.decode()) for each in await _answered(names)]

    async def page(self, after: int, limit: int) -> VacancyPage:
        floor, newest, *found = await _answered(
            self._read(keys=list(self._keys), args=[after, limit])
        )
        nodes = [_parse(body) for body in found[1::2]]
        is_last = len(nodes) < limit
        return VacancyPage(
            revision=int(found[-2]) if found else after,
            floor=int(floor),
            newest=int(newest),
            is_last=is_last,
            nodes=tuple(nodes),
        )


def _parse(value: bytes) -> Vacancy:
    try:
        return _VACANCIES.validate_json(value)
    except ValidationError as error:
        raise Unavailable(f"store: a vacancy of unknown shape: {error}") from error


async def _answered(command: Awaitable[T]) -> T:
    try:
        return await command
    except (RedisError, OSError) as error:
        raise Unavailable(f"store: {error}") from error
