"""``python -m tests.bench.echo``: answers with what it was sent, in a queue group."""

from __future__ import annotations

import asyncio
import os
from typing import Final

import nats
import uvloop
from nats.aio.msg import Msg

SUBJECT: Final = "bench.echo"


async def serve() -> None:
    client = await nats.connect(os.environ["BERTH_NATS_URL"])

    async def echo(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe(SUBJECT, queue="echo", cb=echo)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
