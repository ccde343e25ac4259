"""What a node has at a moment: in its kernel, in its agent's process, in its book."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from services.node_agent.domain.attachments import is_pod_link
from services.node_agent.domain.wiring import PROTOCOL
from shared.kernel.conversation import Conversation
from shared.kernel.links import links
from shared.kernel.netns import open_netns
from shared.kernel.routes import routes, rules
from tests.bench.nodes import Node
from tests.bench.processes import rss_mib

QUIET_S: Final = 60.0
_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    links: int
    rules: int
    routes: int
    namespaces: int  # that the agent holds open
    descriptors: int
    attachments: int
    cooling: int
    spooled: int
    rss_mib: float

    def told(self) -> dict[str, Any]:
        return asdict(self)


def holdings(node: Node) -> Holdings:
    netns = open_netns(node.netns)
    try:
        with Conversation(netns) as kernel:
            counts = len(links(kernel)), len(rules(kernel)), len(routes(kernel))
    finally:
        os.close(netns)
    open_files = _open_files(node.agent_pid)
    return Holdings(
        links=counts[0],
        rules=counts[1],
        routes=counts[2],
        namespaces=sum(1 for target in open_files if target.startswith("net:")),
        descriptors=len(open_files),
        attachments=len(_pages(node, "attachments")),
        cooling=len(_pages(node, "cooling")),
        spooled=len(list((node.folder / "spool").glob("*.json"))),
        rss_mib=round(rss_mib(node.agent_pid), 1),
    )


def disagreements(node: Node) -> list[str]:
    """Where kernel, book and what was reported differ; empty when they are one."""
    book = {
        page["address"]: page["host_ifname"]
        for page in (
            json.loads(path.read_bytes())["body"] for path in _pages(node, "attachments")
        )
    }
    netns = open_netns(node.netns)
    try:
        with Conversation(netns) as kernel:
            name_of = {link.index: link.name for link in links(kernel)}
            wired = {
                str(route.to.network_address): name_of[route.link]
                for route in routes(kernel)
                if route.protocol == PROTOCOL and route.link is not None
                if is_pod_link(name_of[route.link])
            }
            present = {name for name in name_of.values() if is_pod_link(name)}
    finally:
        os.close(netns)
    bound = {address for address, state in node.told().items() if state == "bound_immediate"}
    found = []
    for what, held in (("routes", set(wired)), ("reports", bound)):
        if held != set(book):
            found.append(f"{what} differ from the book: {sorted(held ^ set(book))}")
    if present != set(book.values()) or wired != book:
        found.append(f"links differ from the book: {sorted(present ^ set(book.values()))}")
    return found


def until(is_so: Callable[[], bool], what: str) -> None:
    """The node is another process, which says nothing of this."""
    deadline_s = time.monotonic() + QUIET_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"{what}: not so after {QUIET_S:.0f} s")
        time.sleep(_LOOK_S)


def _pages(node: Node, shelf: str) -> list[Path]:
    folder = node.folder / "book" / shelf
    return [path for path in folder.iterdir() if not path.name.endswith(".new")]


def _open_files(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    found = []
    for name in os.listdir(folder):
        try:
            found.append(os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:
            continue
    return found
