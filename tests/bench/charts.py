"""Which charts docs/benchmarks.md shows, drawn from the figures that its tables are made of."""

from __future__ import annotations

from typing import Any, Final

from tests.bench.panels import Bars, Lines, Panel, Parts, chart

OURS: Final = "berth"
_MS: Final = 1000
Figures = dict[str, dict[str, Any]]


def charts(figures: Figures, soak: dict[str, Any] | None) -> dict[str, str]:
    """By file name; a figure that was not measured has no chart."""
    drawn = {
        "acquire-rate.svg": ("acquire_p50", _acquire_rate),
        "acquire-latency.svg": ("acquire_p50", _acquire_latency),
        "cni.svg": ("cni_add_p50", _cni),
        "recovery.svg": ("recovery_100k", _recovery),
        "storm.svg": ("storm_time", _storm),
    }
    found = {name: draw(figures) for name, (of, draw) in drawn.items() if of in figures}
    if soak is not None:
        found["soak.svg"] = _soak(soak)
    return found


def _acquire_rate(figures: Figures) -> str:
    rows = figures["acquire_p50"]["detail"]["rows"]
    allocators = sorted({row["allocators"] for row in rows})
    in_flight = sorted({row["in_flight"] for row in rows})

    def bars(title: str, key: str) -> Bars:
        return Bars(
            title=title,
            unit="per s",
            about="allocators",
            groups=tuple(str(each) for each in allocators),
            series={
                f"{flight} in flight": tuple(
                    next(
                        row[key]
                        for row in rows
                        if (row["allocators"], row["in_flight"]) == (each, flight)
                    )
                    for each in allocators
                )
                for flight in in_flight
            },
        )

    return chart(
        "Durable, journaled acquires per second, on two cores with bus, store and load",
        [
            bars("berth", "per_s"),
            bars("nats-py echo of the same bytes, same run", "echo_per_s"),
        ],
        columns=2,
    )


def _acquire_latency(figures: Figures) -> str:
    rows = figures["acquire_p50"]["detail"]["rows"]
    flights = sorted({row["in_flight"] for row in rows})

    def lines(allocators: int) -> Lines:
        mine = sorted(
            (row for row in rows if row["allocators"] == allocators),
            key=lambda row: int(row["in_flight"]),
        )
        keys = ("p99_ms", "p50_ms", "echo_p99_ms", "echo_p50_ms")
        names = ("p99", "p50", "echo p99", "echo p50")
        return Lines(
            title=f"{allocators} allocator{'s' if allocators > 1 else ''}",
            unit="ms",
            about="in flight",
            ticks=tuple((float(place), str(each)) for place, each in enumerate(flights)),
            series={
                name: tuple((float(place), row[key]) for place, row in enumerate(mine))
                for name, key in zip(names, keys, strict=True)
            },
            is_log=True,
            dashed=frozenset({"echo p99", "echo p50"}),
            below=frozenset({"p50", "echo p50"}),
        )

    counts = sorted({row["allocators"] for row in rows})
    return chart(
        "How long one acquire takes, by requests in flight, beside the echo (logarithmic)",
        [lines(each) for each in counts],
        columns=len(counts),
    )


def _cni(figures: Figures) -> str:
    """Phases are of rounds of their own, with an agent that notes the moments."""
    add = figures["cni_add_p50"]
    detail = add["detail"]
    other = detail["baseline"]
    phases = {name: us / _MS for name, us in detail["phases_us"].items() if name != "whole"}
    calls = [("ADD, median", add["value"], add["baseline"])]
    calls += [
        (title, figures[name]["value"], figures[name]["baseline"])
        for title, name in (("ADD, 99th", "cni_add_p99"), ("DEL, median", "cni_del_p50"))
        if name in figures
    ]
    parallel = detail["parallel_p50_ms"]
    calls.append((f"ADD, {detail['parallel']} at once", parallel[OURS], parallel[other]))
    panels: list[Panel] = [
        Parts(
            title="Where the time of an ADD goes (medians of rounds of their own)",
            unit="ms",
            rows={
                f"{OURS}, by phase": phases,
                OURS: {"a whole call": add["value"]},
                other: {"a whole call": add["baseline"]},
            },
        ),
        Bars(
            title="Calls, exec to exit, alternating",
            unit="ms",
            about="",
            groups=tuple(name for name, _, _ in calls),
            series={
                OURS: tuple(ours for _, ours, _ in calls),
                other: tuple(theirs for _, _, theirs in calls),
            },
        ),
    ]
    return chart(f"CNI calls beside {other}", panels)


def _recovery(figures: Figures) -> str:
    detail = figures["recovery_100k"]["detail"]
    emptied = {f"emptied {n}": each for n, each in enumerate(detail["emptied"], start=1)}
    losses = emptied | {name: each for name, each in detail.items() if _is_loss(each)}
    return chart(
        f"A store that lost {detail['leases']:,} leases, under load",
        [
            Bars(
                title="From the loss, by what was lost",
                unit="s",
                about="emptied: FLUSHALL, five times",
                groups=tuple(losses),
                series={
                    "first new acquire": tuple(each["first_s"] for each in losses.values()),
                    "every lease back": tuple(each["all_back_s"] for each in losses.values()),
                },
                aim=("aim", 10.0),
            )
        ],
    )


def _is_loss(value: object) -> bool:
    return isinstance(value, dict) and "first_s" in value


def _storm(figures: Figures) -> str:
    time, calls = figures["storm_time"], figures.get("storm_calls")
    detail = time["detail"]
    runs = {f"run {n}": {"storm": each} for n, each in enumerate(detail["runs_s"], start=1)}
    floor = {"longest chain": detail["longest_chain_s"], "documented rates": detail["rates_s"]}
    panels: list[Panel] = [
        Parts(
            title="To the last answer, beside what the cloud's own times add up to",
            unit="s",
            rows=runs | {"baseline": floor},
        )
    ]
    if calls is not None:
        panels.append(
            Parts(
                title="Mutating calls to the cloud",
                unit="calls",
                rows={
                    OURS: calls["detail"]["by_action"],
                    "one call a pod": {"one call a pod": calls["baseline"]},
                },
            )
        )
    return chart("5,000 ADDs at once on 100 nodes without an address", panels)


def _soak(soak: dict[str, Any]) -> str:
    points = {
        name: tuple((at_s / 60, value) for at_s, value in each)
        for name, each in soak["points"].items()
    }
    minutes = soak["minutes"]
    ticks = tuple((minutes * n / 6, f"{minutes * n / 6:g}") for n in range(7))

    def lines(title: str, unit: str, what: str) -> Lines:
        return Lines(
            title=title,
            unit=unit,
            about="minutes",
            ticks=ticks,
            series={
                name.partition(": ")[0]: each
                for name, each in points.items()
                if name.partition(": ")[2] == what
            },
            has_labels=False,
        )

    panels = [
        lines("Resident memory", "MiB", "rss"),
        lines("Open descriptors", "", "descriptors"),
        lines("The store's own memory", "MiB", "used memory"),
        lines("Messages of the streams", "", "messages"),
    ]
    return chart(
        f"{minutes:g} minutes under a steady load: first and last value of each line",
        [panel for panel in panels if panel.series],
    )
