"""Bar and line charts as SVG (pure): the same figures make the same bytes.

A chart has a light ground of its own, so it is readable on a page of any colour, and each value
stands beside its mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from typing import Final
from xml.sax.saxutils import escape

COLOURS: Final = (
    *("#1f5fa8", "#d0661a", "#2f8a4c", "#a3356b", "#6b55b5", "#8a6a1f", "#3a8f95", "#777777"),
    *("#c9a227", "#4a4a8a"),
)
WIDTH: Final = 900
_GROUND, _INK, _FAINT = "#ffffff", "#222222", "#d8d8d8"
_SMALL: Final = 10
LEGEND_ROW: Final = 16
_LETTER: Final = 0.54  # of a letter's height, its width
_MARGIN: Final = 16
_TICKS: Final = 5


def text_width(text: str, size: int = _SMALL) -> float:
    return len(text) * size * _LETTER


def shown(value: float) -> str:
    """A value as its label says it."""
    return f"{value:g}"


@dataclass(slots=True)
class Canvas:
    """Elements in the order in which they are drawn."""

    elements: list[str] = field(default_factory=list)

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, title: str = ""
    ) -> None:
        told = f"<title>{escape(title)}</title>" if title else ""
        self.elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
            f' fill="{fill}">{told}</rect>'
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, stroke: str, dash: str = ""
    ) -> None:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.elements.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            f' stroke="{stroke}"{dashed}/>'
        )

    def path(self, points: Sequence[tuple[float, float]], stroke: str, dash: str = "") -> None:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.elements.append(
            f'<polyline points="{joined}" fill="none" stroke="{stroke}"'
            f' stroke-width="1.6"{dashed}/>'
        )

    def dot(self, x: float, y: float, fill: str) -> None:
        self.elements.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{fill}"/>')

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = _SMALL,
        anchor: str = "start",
        fill: str = _INK,
        bold: bool = False,
    ) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self.elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
            f' fill="{fill}"{weight}>{escape(text)}</text>'
        )

    def legend(
        self, x: float, y: float, names: Sequence[str], width: float, dashes: Sequence[str] = ()
    ) -> None:
        for number, (row, at, name) in enumerate(legend_places(names, width)):
            colour = COLOURS[number % len(COLOURS)]
            dash = f' stroke-dasharray="{dashes[number]}"' if dashes and dashes[number] else ""
            middle = y + row * LEGEND_ROW - 4
            self.elements.append(
                f'<line x1="{x + at:.1f}" y1="{middle:.1f}" x2="{x + at + 20:.1f}"'
                f' y2="{middle:.1f}" stroke="{colour}" stroke-width="5"{dash}/>'
            )
            self.text(x + at + 25, middle + 4, name)


def legend_places(names: Sequence[str], width: float) -> list[tuple[int, float, str]]:
    """Row and place of each name, in as many rows as they need."""
    found: list[tuple[int, float, str]] = []
    row, at = 0, 0.0
    for name in names:
        needs = 25 + text_width(name) + 12
        if at and at + needs > width:
            row, at = row + 1, 0.0
        found.append((row, at, name))
        at += needs
    return found


def legend_height(names: Sequence[str], width: float) -> float:
    places = legend_places(names, width)
    return (places[-1][0] + 1) * LEGEND_ROW if places else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Where a panel's marks go."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From values to heights; a logarithmic one has a tick at each power of ten."""

    low: float
    high: float
    ticks: tuple[float, ...]
    is_log: bool = False

    def share(self, value: float) -> float:
        if self.is_log:
            return log10(value / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    @classmethod
    def linear(cls, most: float) -> Scale:
        """From 0: what is drawn twice as high is twice as much."""
        step = _nice(most / _TICKS if most > 0 else 1.0)
        count = max(1, ceil(most * 1.06 / step))
        ticks = tuple(float(f"{number * step:.6g}") for number in range(count + 1))
        return cls(low=0.0, high=ticks[-1], ticks=ticks)

    @classmethod
    def log(cls, least: float, most: float) -> Scale:
        low, high = floor(log10(least)), ceil(log10(most))
        ticks = tuple(10.0**power for power in range(low, max(high, low + 1) + 1))
        return cls(low=ticks[0], high=ticks[-1], ticks=ticks, is_log=True)


def _nice(step: float) -> float:
    power = 10.0 ** floor(log10(step))
    return next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= step), 10 * power)


def axis(canvas: Canvas, box: Box, scale: Scale, unit: str) -> None:
    """Ticks with their values, and the unit above them."""
    canvas.text(box.left - 6, box.top - 8, unit, anchor="end")
    for tick in scale.ticks:
        y = height(box, scale, tick)
        canvas.line(box.left, y, box.right, y, _FAINT)
        canvas.text(box.left - 6, y + 3.5, shown(tick), anchor="end")


def height(box: Box, scale: Scale, value: float) -> float:
    return box.bottom - scale.share(value) * (box.bottom - box.top)


def document(title: str, tall: float, canvas: Canvas) -> str:
    """The file."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall:.0f}"'
        f' width="{WIDTH}" height="{tall:.0f}" role="img"'
        ' font-family="Helvetica, Arial, sans-serif">'
    )
    ground = Canvas()
    ground.rect(0, 0, WIDTH, tall, _GROUND)
    ground.text(_MARGIN, 22, title, size=14, bold=True)
    body = "\n".join([*ground.elements, *canvas.elements])
    return f"{head}\n<title>{escape(title)}</title>\n{body}\n</svg>\n"
