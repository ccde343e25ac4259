"""The fabric as the simulator sees it: calls to the worker that holds the network.

The simulator stays in the host's namespaces. One call is under way at a time, each has a
deadline; a worker that died, or says no, is `Unavailable`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from services.vpc_simulator.ports import EniPort
from services.vpc_simulator.relay import Endpoint, Relay, RelayLimits
from shared.errors import Unavailable
from shared.ids import EniId, InstanceId, SubnetId
from shared.kernel.processes import started_at

from . import requests as ask
from .channel import Channel, ChannelClosed, close_all
from .instances import FILE_NAME, InstanceNamespaces
from .network import OUTSIDE
from .offers import Handler, Offers, RelayWanted

_START_TIMEOUT_S: Final = 20.0
_CALL_TIMEOUT_S: Final = 10.0  # a call takes milliseconds; an up link's deletion up to 40 ms
_STOP_TIMEOUT_S: Final = 10.0


class NamespaceFabric:
    """A `Fabric` of real packets. Made by `open`, taken away by `aclose`."""

    def __init__(
        self, process: asyncio.subprocess.Process, channel: Channel, run_dir: Path
    ) -> None:
        self._process = process
        self._channel = channel
        self._run_dir = run_dir
        self._lock = asyncio.Lock()
        self._call = 0
        self._instances: dict[InstanceId, str] = {}
        self._offers = Offers(self.listen)

    @classmethod
    async def open(cls, run_dir: Path) -> NamespaceFabric:
        """Start the worker; the network holds nothing but its router and the outside.

        Raises Unavailable when the kernel allows no namespaces.
        """
        run_dir.mkdir(parents=True, exist_ok=True)
        channel, theirs = Channel.pair()
        with theirs:
            arguments = ["--channel", str(theirs.fileno()), "--parent", str(os.getpid())]
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services.vpc_simulator.fabric.worker",
                *arguments,
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        fabric = cls(process, channel, run_dir)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await fabric._receive(0)
            await fabric._place(OUTSIDE)
        except TimeoutError as error:
            await fabric.aclose()
            raise Unavailable(
                f"the fabric's worker was not ready in {_START_TIMEOUT_S} s"
            ) from error
        except BaseException:
            await fabric.aclose()
            raise
        return fabric

    @property
    def namespaces(self) -> InstanceNamespaces:
        """As the file says it: the worker's process, and each instance's namespace."""
        started = started_at(self._process.pid)
        if started is None:
            raise Unavailable("the fabric's worker has ended")
        return InstanceNamespaces(
            pid=self._process.pid, started=started, instances=dict(self._instances)
        )

    def offer(self, *, relays: Sequence[RelayWanted], metadata: Handler | None) -> None:
        """What every instance finds that is made from here on.

        `metadata` answers GETs at http://169.254.0.23; it finds the asking instance in
        ``request.match_info["instance"]`` and the path in ``["path"]``.
        """
        self._offers = Offers(self.listen, relays, metadata)

    async def set_subnet(
        self, subnet: SubnetId, cidr: IPv4Network, gateway: IPv4Address
    ) -> None:
        await self._ask(ask.SetSubnet(subnet=subnet, cidr=cidr, gateway=gateway))

    async def set_instance(self, instance: InstanceId) -> None:
        if instance in self._instances:
            return
        await self._place(instance)
        try:
            await self._offers.start(instance)
        except BaseException:
            await self.remove_instance(instance)  # whole or not at all: it may be asked again
            raise

    async def remove_instance(self, instance: InstanceId) -> None:
        await self._offers.stop(instance)
        await self._ask(ask.RemoveInstance(instance=instance))
        if self._instances.pop(instance, None) is not None:
            self.namespaces.save(self._run_dir)

    async def set_eni(self, port: EniPort) -> None:
        await self._ask(ask.SetEni.of(port))

    async def remove_eni(self, eni: EniId) -> None:
        await self._ask(ask.RemoveEni(eni=eni))

    async def listen(self, instance: InstanceId, at: Endpoint) -> socket.socket:
        """A listening socket inside an instance, to be served from here.

        An address that is not a loopback one is given to the instance's loopback link.
        """
        body = ask.Listen(instance=instance, address=IPv4Address(at[0]), port=at[1])
        _, descriptors = await self._ask(body)
        sock = socket.socket(fileno=descriptors[0])
        sock.setblocking(False)
        return sock

    async def relay(
        self,
        instance: InstanceId,
        *,
        listen: Endpoint,
        target: Endpoint,
        limits: RelayLimits | None = None,
    ) -> Relay:
        """Carry what connects to `listen` inside the instance to `target` out here."""
        sock = await self.listen(instance, listen)
        relay = await Relay.start(sock, target, limits or RelayLimits())
        self._offers.keep(instance, relay)
        return relay

    def relays(self, instance: InstanceId) -> tuple[Relay, ...]:
        """Of an instance, in the order they were made: for who takes its network away."""
        return self._offers.relays(instance)

    async def drops(self) -> int:
        """Packets dropped so far because their ENI has no right to their source."""
        answer, _ = await self._ask(ask.CountDrops())
        return answer.drops or 0

    async def aclose(self) -> None:
        await self._offers.aclose()
        self._channel.close()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        (self._run_dir / FILE_NAME).unlink(missing_ok=True)

    async def _place(self, instance: InstanceId) -> None:
        answer, _ = await self._ask(ask.SetInstance(instance=instance))
        self._instances[instance] = f"/proc/{self._process.pid}/fd/{answer.netns_fd}"
        self.namespaces.save(self._run_dir)

    async def _ask(self, body: ask.Body) -> tuple[ask.Answer, list[int]]:
        async with self._lock:
            self._call += 1
            call = ask.Call(id=self._call, body=body)
            try:
                self._channel.send(call.model_dump_json().encode())
                async with asyncio.timeout(_CALL_TIMEOUT_S):
                    return await self._receive(call.id)
            except TimeoutError as error:
                raise Unavailable(
                    f"the fabric did not answer {body.type} in {_CALL_TIMEOUT_S} s"
                ) from error
            except (ChannelClosed, OSError) as error:
                raise Unavailable(f"the fabric's worker has ended ({body.type})") from error

    async def _receive(self, number: int) -> tuple[ask.Answer, list[int]]:
        """The answer to a call; what an abandoned call would have got is thrown away."""
        while True:
            message, descriptors = await self._next()
            answer = ask.Answer.model_validate_json(message)
            if answer.id == number and answer.error is None:
                return answer, descriptors
            close_all(descriptors)
            if answer.id == number:
                raise Unavailable(f"the fabric: {answer.error}")

    async def _next(self) -> tuple[bytes, list[int]]:
        loop = asyncio.get_running_loop()
        is_readable = asyncio.Event()
        loop.add_reader(self._channel.fileno(), is_readable.set)
        try:
            while True:
                try:
                    return self._channel.receive()
                except BlockingIOError:
                    is_readable.clear()
                    await is_readable.wait()
                except ChannelClosed as error:
                    raise Unavailable("the fabric's worker has ended") from error
        finally:
            loop.remove_reader(self._channel.fileno())
