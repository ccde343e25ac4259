"""``python -m tests.bench.timed_agent``: the node agent's process, with a watch beside it.

For each ADD that comes alone it writes a line of JSON to ``phases`` in its run folder: moments
(CLOCK_MONOTONIC, which every process of a machine has in common) and what the two sides of the
wire took. Only the answer that has been sent already pays for the writing.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from services.node_agent.adapters import cni_socket, netlink
from services.node_agent.adapters.netlink import NetlinkKernel
from services.node_agent.cni import endpoint, request
from services.node_agent.main import main
from shared.kernel.conversation import Conversation, Request

PHASES_NAME: Final = "phases"

Arguments = ParamSpec("Arguments")
Outcome = TypeVar("Outcome")


class Watch:
    """The moments and sums of the call under way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: dict[str, float] = {}

    def begin(self) -> None:
        self._seconds = {"accepted": time.perf_counter()}

    def note(self, moment: str) -> None:
        self._seconds[moment] = time.perf_counter()

    def add(self, what: str, seconds: float) -> None:
        self._seconds[what] = self._seconds.get(what, 0.0) + seconds

    def end(self) -> None:
        """Written if it was an ADD: nothing else makes a wire."""
        if "wired" in self._seconds:
            with self._path.open("a") as file:
                file.write(json.dumps(self._seconds) + "\n")
        self._seconds = {}


def _noting(
    call: Callable[Arguments, Outcome], before: str, after: str, watch: Watch
) -> Callable[Arguments, Outcome]:
    @wraps(call)
    def noted(*arguments: Arguments.args, **named: Arguments.kwargs) -> Outcome:
        watch.note(before)
        try:
            return call(*arguments, **named)
        finally:
            watch.note(after)

    return noted


def put_on(watch: Watch) -> None:
    """Hold the watch to the agent's steps; the code that is timed is production's."""

    class SandboxConversation(Conversation):
        """Of the pod's side, where a namespace is named."""

        def __init__(self, netns: int | None = None, *, home: int | None = None) -> None:
            began_s = time.perf_counter()
            super().__init__(netns, home=home)
            self._is_pods = netns is not None
            self._took(began_s)

        def do(self, requests: Sequence[Request]) -> None:
            began_s = time.perf_counter()
            super().do(requests)
            self._took(began_s)

        def close(self) -> None:
            began_s = time.perf_counter()
            super().close()
            self._took(began_s)

        def _took(self, began_s: float) -> None:
            if self._is_pods:
                watch.add("sandbox_s", time.perf_counter() - began_s)

    accept, send = cni_socket.CniServer._accept, cni_socket._send

    def accepting(server: cni_socket.CniServer) -> None:
        watch.begin()
        accept(server)

    async def sending(connection: socket.socket, data: bytes, timeout_s: float) -> None:
        watch.note("sent")
        await send(connection, data, timeout_s)
        watch.end()

    parse = _noting(request.parse_request, "received", "parsed", watch)
    wire = _noting(NetlinkKernel.wire_pod, "wiring", "wired", watch)
    for owner, name, timed in (
        (cni_socket.CniServer, "_accept", accepting),
        (cni_socket, "_send", sending),
        (endpoint, "parse_request", parse),
        (netlink, "Conversation", SandboxConversation),
        (NetlinkKernel, "wire_pod", wire),
    ):
        setattr(owner, name, timed)


if __name__ == "__main__":
    put_on(Watch(Path(os.environ["BERTH_RUN_DIR"]) / PHASES_NAME))
    main()
