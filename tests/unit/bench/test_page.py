"""docs/benchmarks.md and its charts: made of the stored figures, and telling all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench.families import FIGURES
from tests.bench.page import (
    CHARTS,
    DOCS,
    PAGE,
    Stored,
    files,
    measured,
    taken,
    written_by_people,
)

SVG = "{http://www.w3.org/2000/svg}"
WHEN = "2026-01-02"


def soak_result() -> dict[str, Any]:
    """Of eleven looks at one process that grows, and at one stream."""
    rss = [[at * 180.0, 100.0 + at] for at in range(11)]
    messages = [[at * 180.0, 7.0] for at in range(11)]
    series = (("allocator-1: rss", "MiB", rss), ("stream J: messages", "", messages))
    return {
        "when": "today",
        "machine": "two cores",
        "command": "soak",
        "minutes": 30.0,
        "counts": {"add ok": 12345},
        "wrong": [],
        "is_good": False,
        "series": [
            {"name": name, "unit": unit, "points": points} for name, unit, points in series
        ],
        "rows": [
            {
                "name": name,
                "unit": unit,
                "first": points[0][1],
                "thirds": [points[1][1], points[5][1], points[9][1]],
                "last": points[-1][1],
                "per_hour": 20.0,
                "grown": 6.667,
                "allowed": 4.2,
                "verdict": "grows",
            }
            for name, unit, points in series
        ],
    }


def texts(svg: str) -> set[str]:
    """Every word that the chart shows; raises for what is not well-formed XML."""
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    shown = [each.text or "" for each in root.iter(f"{SVG}text")]
    return {word.rstrip(":") for each in shown for word in each.split()}


def made() -> dict[str, str]:
    return files(Stored.read(), written_by_people())


def drawn(name: str) -> set[str]:
    return texts(made()[f"{CHARTS}/{name}"])


def detail(figure: str) -> dict[str, Any]:
    found: dict[str, Any] = Stored.read().figures[figure]["detail"]
    return found


def test_page_figures_and_charts_are_what_the_stored_figures_make() -> None:
    found = made()

    stale = [name for name, text in found.items() if (DOCS / name).read_text() != text]
    charts = {f"{CHARTS}/{path.name}" for path in (DOCS / CHARTS).iterdir()}
    assert stale == [], "run `make page`"
    assert charts == {name for name in found if name.startswith(CHARTS)}


def test_the_page_shows_every_chart_and_every_figure() -> None:
    found = made()

    for name in found:
        if name.startswith(CHARTS):
            assert f"]({name})" in found[PAGE]
    for figure in Stored.read().figures:
        assert found[PAGE].count(f"`{figure}`") >= 2, "in the table, and in the details"


def test_every_chart_is_well_formed_and_has_a_ground_of_its_own() -> None:
    for name, text in made().items():
        if name.startswith(CHARTS):
            root = ElementTree.fromstring(text)
            ground = root.find(f"{SVG}rect")
            assert ground is not None, name
            assert ground.get("fill") == "#ffffff"
            assert float(ground.get("width", "0")) == float(root.get("width", "-1"))


def test_charts_of_acquires_show_every_value_of_the_table() -> None:
    rows = detail("acquire_p50")["rows"]

    rates = {f"{row[key]:g}" for row in rows for key in ("per_s", "echo_per_s")}
    times = {
        f"{row[key]:g}"
        for row in rows
        for key in ("p50_ms", "p99_ms", "echo_p50_ms", "echo_p99_ms")
    }
    assert rates <= drawn("acquire-rate.svg")
    assert times <= drawn("acquire-latency.svg")


def test_the_chart_of_cni_calls_shows_calls_phases_and_the_other_side() -> None:
    figures = Stored.read().figures
    values = [
        figures[name][side]
        for name in ("cni_add_p50", "cni_add_p99", "cni_del_p50")
        for side in ("value", "baseline")
    ]
    values += detail("cni_add_p50")["parallel_p50_ms"].values()
    values += [us / 1000 for us in detail("cni_add_p50")["phases_us"].values()]

    assert {f"{each:g}" for each in values} <= drawn("cni.svg")


def test_the_chart_of_recovery_shows_every_loss() -> None:
    told = detail("recovery_100k")
    losses = [*told["emptied"], told["kill -9"], told["older state"], told["promoted replica"]]

    values = {f"{loss[key]:g}" for loss in losses for key in ("first_s", "all_back_s")}
    assert values <= drawn("recovery.svg")


def test_the_chart_of_the_storm_shows_every_run_and_call() -> None:
    told = detail("storm_time")
    values = [*told["runs_s"], told["longest_chain_s"], told["rates_s"]]
    values += detail("storm_calls")["by_action"].values()

    assert {f"{each:g}" for each in values} <= drawn("storm.svg")


def test_a_soak_is_taken_over_with_its_table_and_its_chart() -> None:
    stored = taken(Stored.read(), json.dumps(soak_result(), indent=1), WHEN)
    found = files(stored, "")

    assert "| allocator-1: rss, MiB | 100 | 101 | 105 | 109 | 110 |" in found[PAGE]
    assert "12,345 add ok" in found[PAGE]
    chart = texts(found[f"{CHARTS}/soak.svg"])
    assert {"allocator-1", "100", "110", "7"} <= chart


def test_a_long_soak_is_thinned_but_keeps_its_ends() -> None:
    result = soak_result()
    result["series"][0]["points"] = [[float(at), 1.0 + at] for at in range(5001)]
    stored = taken(Stored.read(), json.dumps(result, indent=1), WHEN)

    assert stored.soak is not None
    points = stored.soak["points"]["allocator-1: rss"]
    assert len(points) < 70
    assert (points[0], points[-1]) == ([0, 1.0], [5000, 5001.0])


def test_one_figure_is_taken_over_with_its_day_and_the_rest_stays() -> None:
    line = {"figure": "agent_rss", "value": 1.5, "unit": "MiB", "baseline": None}
    before = Stored.read()
    after = taken(before, json.dumps(line | {"ratio": None, "detail": {}}) + "\n", WHEN)

    page = files(after, "")[PAGE]
    assert "| `agent_rss` | 1.5 MiB | - | - |" in page
    assert f"2,000 pods, the device plugin on and pods watched. Of {WHEN}." in page
    others = {name for name in before.figures if name != "agent_rss"}
    assert all(after.figures[name] == before.figures[name] for name in others)


def test_a_figure_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"figure 'speed' is not known; known: .*acquire_p50"):
        taken(Stored.read(), '{"figure": "speed"}\n', WHEN)


def test_a_run_with_fewer_figures_still_has_a_page() -> None:
    stored = measured({})

    page = files(replace(stored, soak=None), "")[PAGE]
    assert "![" not in page
    assert stored.notes == (), "what was said of the run before is not true of this one"
    assert stored.soak == Stored.read().soak


def test_every_figure_has_a_name_of_its_own() -> None:
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)
