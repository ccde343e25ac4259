"""What a run with violations leaves for whoever looks for their cause."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

import nats.errors
from nats.js.errors import Error as StreamError

from shared.messages.events import EVENT_STREAM
from tests.chaos.world import World

_WAIT_S: Final = 2.0


async def keep_evidence(world: World, folder: Path) -> None:
    """The services' logs, what the store holds, and every event, in files of this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for log in world.folder.glob("*.log"):
        shutil.copy(log, folder)
    (folder / "store").write_text("\n".join(await _stored(world)))
    (folder / "events").write_text("\n".join(await _events(world)))


async def _stored(world: World) -> list[str]:
    lines = []
    for key in sorted(await world.redis.keys()):
        kind = await world.redis.type(key)
        if kind == b"hash":
            fields: dict[bytes, bytes] = await world.redis.hgetall(key)  # type: ignore[assignment] # redis-py types both its clients at once
            lines += [f"{key!r} {field!r} {value!r}" for field, value in sorted(fields.items())]
        else:
            lines.append(f"{key!r} is a {kind!r}")
    return lines


async def _events(world: World) -> list[str]:
    found: list[str] = []
    with suppress(nats.errors.Error, StreamError):  # a bus that does not answer has none
        heard = await world.nats.jetstream().subscribe(
            ">", stream=EVENT_STREAM, ordered_consumer=True
        )
        while True:
            message = await heard.next_msg(_WAIT_S)
            found.append(f"{message.subject} {message.data.decode()}")
    return found
