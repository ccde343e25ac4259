"""When the bus knows what a client has said."""

from __future__ import annotations

from nats.aio.client import Client


async def reached(client: Client) -> None:
    """Return once the bus has taken everything that was said before.

    A flush writes its PING ahead of commands that still wait in the client's buffer, and kicks
    the buffer out behind it: the second PING is the one that follows them.
    """
    await client.flush()
    await client.flush()
