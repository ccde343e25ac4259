"""The process that holds the network: alone in namespaces of its own, until its channel closes.

It serves one call after another: each takes a few milliseconds, all of them in the kernel. When
the simulator ends, however it ends, the channel closes or the kernel's signal comes; then this
process ends, and with it every namespace, link and route.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from typing import Final, assert_never

from pydantic import ValidationError

from shared.errors import BerthError
from shared.kernel.netns import isolate
from shared.kernel.syscalls import die_with_parent

from . import requests as ask
from .channel import Channel, ChannelClosed, close_all
from .network import Network

log = logging.getLogger(__name__)

# Links that came and went are looked at together; and without news now and then anyway.
_REPAIR_DELAY_S: Final = 0.02
_REPAIR_PERIOD_S: Final = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channel", type=int, required=True, help="descriptor")
    parser.add_argument("--parent", type=int, required=True, help="process id")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    # Ctrl-C reaches every process of the terminal; this one ends last, by its channel.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=given.channel))
    try:
        isolate()
        die_with_parent()
        if os.getppid() != given.parent:
            return 1
        asyncio.run(_serve(channel))
    except OSError as error:
        text = f"the kernel refuses the network: {error}"
        channel.send(ask.Answer(id=0, error=text).model_dump_json().encode())
        return 1
    except ChannelClosed:
        return 0
    return 0


async def _serve(channel: Channel) -> None:
    network = Network()
    server = _Server(channel, network)
    channel.send(ask.Answer(id=0).model_dump_json().encode())
    loop = asyncio.get_running_loop()
    loop.add_reader(channel.fileno(), server.read)
    repair = asyncio.create_task(_keep(network), name="repair")
    try:
        await server.ended.wait()
    finally:
        repair.cancel()
        loop.remove_reader(channel.fileno())


async def _keep(network: Network) -> None:
    news = network.watch()
    while True:
        try:
            async with asyncio.timeout(_REPAIR_PERIOD_S):
                await news.changed.wait()
        except TimeoutError:
            log.debug("no news: the links are looked at anyway")
        await asyncio.sleep(_REPAIR_DELAY_S)
        news.changed.clear()
        try:
            network.repair()
        except (OSError, BerthError):  # a namespace may die in between: looked at again
            log.exception("a link could not be made again")


class _Server:
    """Reads calls and answers them, in order."""

    def __init__(self, channel: Channel, network: Network) -> None:
        self._channel = channel
        self._network = network
        self.ended = asyncio.Event()

    def read(self) -> None:
        try:
            while not self.ended.is_set():
                message, descriptors = self._channel.receive()
                close_all(descriptors)
                self._answer(message)
        except BlockingIOError:
            return
        except ChannelClosed:
            self.ended.set()

    def _answer(self, message: bytes) -> None:
        call = ask.Call.model_validate_json(message)
        handed: socket.socket | None = None
        try:
            answer, handed = self._do(call.id, call.body)
        except (OSError, BerthError, ValidationError) as error:
            answer = ask.Answer(id=call.id, error=str(error))
        except Exception:  # a bug: told to the caller, who would wait otherwise
            log.exception("a call failed")
            answer = ask.Answer(id=call.id, error="internal error of the fabric's worker")
        try:
            given = (handed.fileno(),) if handed is not None else ()
            self._channel.send(answer.model_dump_json().encode(), given)
        finally:
            if handed is not None:
                handed.close()

    def _do(self, number: int, body: ask.Body) -> tuple[ask.Answer, socket.socket | None]:
        match body:
            case ask.SetSubnet():
                self._network.set_subnet(body.subnet, body.cidr, body.gateway)
            case ask.SetInstance():
                netns = self._network.set_instance(body.instance)
                return ask.Answer(id=number, netns_fd=netns), None
            case ask.RemoveInstance():
                self._network.remove_instance(body.instance)
            case ask.SetEni():
                self._network.set_eni(body.port())
            case ask.RemoveEni():
                self._network.remove_eni(body.eni)
            case ask.Listen():
                listening = self._network.listen(body.instance, body.address, body.port)
                return ask.Answer(id=number), listening
            case ask.CountDrops():
                return ask.Answer(id=number, drops=self._network.drops()), None
            case _:
                assert_never(body)
        return ask.Answer(id=number), None


if __name__ == "__main__":
    sys.exit(main())
