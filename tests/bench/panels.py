"""The kinds of panels that a chart is made of: bars in groups, rows of parts, lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from tests.bench.svg import (
    COLOURS,
    WIDTH,
    Box,
    Canvas,
    Scale,
    axis,
    document,
    height,
    legend_height,
    shown,
    text_width,
)

_TOP: Final = 38  # below the chart's title
_PLOT: Final = 210
_TITLE: Final = 28  # the panel's own, above its legend
_UNIT: Final = 20  # above a plot, for the unit of its axis
_BELOW: Final = 50
_LEFT: Final = 62
_ROW: Final = 30
_BAR: Final = 22
_AIM: Final = "#b00020"
_DASH: Final = "5 3"


class Panel(Protocol):
    def tall(self, width: float) -> float: ...

    def draw(self, canvas: Canvas, left: float, top: float, width: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Groups of bars from 0, each with its value above it; `aim` is a line across them."""

    title: str
    unit: str
    about: str  # what the groups are
    groups: tuple[str, ...]
    series: dict[str, tuple[float, ...]]  # a value for each group
    aim: tuple[str, float] | None = None

    def tall(self, width: float) -> float:
        return _plot_top(list(self.series), width) + _PLOT + _BELOW

    def draw(self, canvas: Canvas, left: float, top: float, width: float) -> None:
        names = list(self.series)
        _head(canvas, left, top, self.title)
        canvas.legend(left, top + _TITLE, names, width)
        box = _box(left, top + _plot_top(names, width), width)
        values = [value for each in self.series.values() for value in each]
        scale = Scale.linear(max([*values, *([self.aim[1]] if self.aim else [])]))
        axis(canvas, box, scale, self.unit)
        step = (box.right - box.left) / len(self.groups)
        thick = min(46.0, step * 0.82 / len(self.series))
        for place, group in enumerate(self.groups):
            middle = box.left + step * (place + 0.5)
            at = middle - thick * len(self.series) / 2
            for number, (name, given) in enumerate(self.series.items()):
                y = height(box, scale, given[place])
                told = f"{group}, {name}: {shown(given[place])} {self.unit}"
                canvas.rect(at + 1, y, thick - 2, box.bottom - y, COLOURS[number], told)
                canvas.text(at + thick / 2, y - 3, shown(given[place]), size=9, anchor="middle")
                at += thick
            canvas.text(middle, box.bottom + 14, group, anchor="middle")
        canvas.text((box.left + box.right) / 2, box.bottom + 31, self.about, anchor="middle")
        if self.aim is not None:
            y = height(box, scale, self.aim[1])
            canvas.line(box.left, y, box.right, y, _AIM, _DASH)
            said = f"{self.aim[0]} {shown(self.aim[1])} {self.unit}"
            canvas.text(box.right, y - 4, said, anchor="end", fill=_AIM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Rows that lie, each made of parts in a row; the parts of all rows share one scale."""

    title: str
    unit: str
    rows: dict[str, dict[str, float]]  # row -> part -> value

    def tall(self, width: float) -> float:
        return _TITLE + legend_height(self._names(), width) + _ROW * len(self.rows) + 22

    def _parts(self) -> list[str]:
        return list(dict.fromkeys(part for row in self.rows.values() for part in row))

    def _names(self) -> list[str]:
        """A part of one row alone has its value in the legend: it may be too thin for it."""
        found = []
        for part in self._parts():
            values = [row[part] for row in self.rows.values() if part in row]
            found.append(f"{part} {shown(values[0])}" if len(values) == 1 else part)
        return found

    def draw(self, canvas: Canvas, left: float, top: float, width: float) -> None:
        _head(canvas, left, top, self.title)
        canvas.legend(left, top + _TITLE, self._names(), width)
        y = top + _TITLE + legend_height(self._names(), width)
        wide = max(text_width(row) for row in self.rows) + 14
        ends = [f"{shown(_sum(row))} {self.unit}" for row in self.rows.values()]
        room = width - wide - max(text_width(each) for each in ends) - 12
        per_unit = room / max(_sum(row) for row in self.rows.values())
        for (row, parts), end in zip(self.rows.items(), ends, strict=True):
            at = left + wide
            canvas.text(at - 8, y + 15, row, anchor="end")
            for part, value in parts.items():
                colour = COLOURS[self._parts().index(part) % len(COLOURS)]
                told = f"{row}, {part}: {shown(value)} {self.unit}"
                canvas.rect(at, y, value * per_unit, _BAR, colour, told)
                at += value * per_unit
            canvas.text(at + 6, y + 15, end)
            y += _ROW


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Values over an axis; labelled one by one where there are few, else at both ends."""

    title: str
    unit: str
    about: str  # what the axis below is
    ticks: tuple[tuple[float, str], ...]  # of the axis below: place and name
    series: dict[str, tuple[tuple[float, float], ...]]  # (place, value)
    is_log: bool = False
    has_labels: bool = True
    dashed: frozenset[str] = field(default_factory=frozenset)
    below: frozenset[str] = field(default_factory=frozenset)  # labelled below their points

    def tall(self, width: float) -> float:
        return _plot_top(self._names(), width) + _PLOT + _BELOW

    def _names(self) -> list[str]:
        if self.has_labels:
            return list(self.series)
        return [
            f"{name}: {shown(points[0][1])} → {shown(points[-1][1])}"
            for name, points in self.series.items()
        ]

    def draw(self, canvas: Canvas, left: float, top: float, width: float) -> None:
        dashes = [_DASH if name in self.dashed else "" for name in self.series]
        _head(canvas, left, top, self.title)
        canvas.legend(left, top + _TITLE, self._names(), width, dashes)
        box = _box(left, top + _plot_top(self._names(), width), width)
        values = [value for points in self.series.values() for _, value in points]
        scale = (
            Scale.log(min(values), max(values)) if self.is_log else Scale.linear(max(values))
        )
        axis(canvas, box, scale, self.unit)
        places = [place for place, _ in self.ticks]
        across = _Across(box, min(places), max(places), inset=18 if self.has_labels else 0)
        for place, name in self.ticks:
            canvas.text(across.at(place), box.bottom + 14, name, anchor="middle")
        canvas.text((box.left + box.right) / 2, box.bottom + 31, self.about, anchor="middle")
        for number, (name, points) in enumerate(self.series.items()):
            colour = COLOURS[number % len(COLOURS)]
            drawn = [(across.at(place), height(box, scale, value)) for place, value in points]
            canvas.path(drawn, colour, dashes[number])
            if self.has_labels:
                down = 12 if name in self.below else -6
                for (x, y), (_, value) in zip(drawn, points, strict=True):
                    canvas.dot(x, y, colour)
                    canvas.text(x, y + down, shown(value), size=9, anchor="middle", fill=colour)


@dataclass(frozen=True, slots=True)
class _Across:
    box: Box
    first: float
    last: float
    inset: float

    def at(self, place: float) -> float:
        left, right = self.box.left + self.inset, self.box.right - self.inset
        return left + (right - left) * (place - self.first) / ((self.last - self.first) or 1)


def chart(title: str, panels: Sequence[Panel], *, columns: int = 1) -> str:
    """A file of panels, row by row."""
    canvas, gap = Canvas(), 18.0
    width = (WIDTH - 32 - gap * (columns - 1)) / columns
    top = float(_TOP)
    for begin in range(0, len(panels), columns):
        row = panels[begin : begin + columns]
        for column, panel in enumerate(row):
            panel.draw(canvas, 16 + column * (width + gap), top, width)
        top += max(panel.tall(width) for panel in row)
    return document(title, top + 6, canvas)


def _head(canvas: Canvas, left: float, top: float, title: str) -> None:
    canvas.text(left, top + 10, title, size=12, bold=True)


def _plot_top(names: Sequence[str], width: float) -> float:
    return _TITLE + legend_height(names, width) + _UNIT


def _box(left: float, top: float, width: float) -> Box:
    return Box(left=left + _LEFT - 16, top=top, right=left + width, bottom=top + _PLOT)


def _sum(row: dict[str, float]) -> float:
    return float(f"{sum(row.values()):.6g}")
