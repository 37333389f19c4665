"""Plots as SVG, written by hand: a line over steps, and dots with intervals. They need no script and no colour to read.

Everything is drawn in the page's own text colour or in one of its classes (`ranker-0`, `ranker-1`, …), so that a plot
follows light, dark and print as the page does; dots differ by shape too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH = 720  # of every plot, in the SVG's own units
LEFT, RIGHT, TOP, BOTTOM = 150, 20, 12, 34  # room for labels
ROW = 17  # height of one dot's row
GROUP_GAP = 10
LINE_HEIGHT = 240
TICKS = 5
SHAPES = 5  # dots that can be told apart without colour; then they repeat


@dataclass(frozen=True)
class Dot:
    """One row of a dot plot: a mean and half the width of its interval."""

    label: str
    value: float
    half_width: float
    number: int  # of the ranker: decides shape and class


def line_chart(points: Sequence[tuple[int, float]], what: str) -> str:
    """`what` over steps; empty without two finite points."""
    finite = [(step, value) for step, value in points if np.isfinite(value)]
    if len(finite) < 2:
        return ""
    steps, values = zip(*finite, strict=True)
    across = _Axis(min(steps), max(steps), LEFT, WIDTH - RIGHT)
    up = _Axis(min(values), max(values), LINE_HEIGHT - BOTTOM, TOP)
    path = " ".join(f"{across.at(step):.1f},{up.at(value):.1f}" for step, value in finite)
    marks = [_down_tick(across.at(tick), TOP, LINE_HEIGHT - BOTTOM, f"{tick:,.0f}") for tick in across.ticks()]
    marks += [_side_tick(up.at(tick), f"{tick:.3g}") for tick in up.ticks()]
    label = f'<text class="axis" x="{WIDTH / 2}" y="{LINE_HEIGHT - 4}" text-anchor="middle">step</text>'
    return _svg(LINE_HEIGHT, what, [*marks, f'<polyline class="curve" points="{path}"/>', label])


def dot_chart(groups: Sequence[tuple[str, Sequence[Dot]]], what: str) -> str:
    """Groups of rows, each dot with its interval, on one axis from zero."""
    dots = [dot for _, rows in groups for dot in rows if np.isfinite(dot.value)]
    if not dots:
        return ""
    height = TOP + BOTTOM + sum(ROW * len(rows) + GROUP_GAP for _, rows in groups)
    axis = _Axis(0.0, max(dot.value + dot.half_width for dot in dots) or 1.0, LEFT, WIDTH - RIGHT)
    parts = [_down_tick(axis.at(tick), TOP, height - BOTTOM, f"{tick:.3g}") for tick in axis.ticks()]
    y = float(TOP + GROUP_GAP)
    for name, rows in groups:
        parts.append(f'<text class="group" x="4" y="{y + 5:.1f}">{escape(name)}</text>')
        for dot in rows:
            parts.append(_dot(dot, axis, y))
            y += ROW
        y += GROUP_GAP
    return _svg(height, what, parts)


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float  # where `low` is drawn
    end: float

    def at(self, value: float) -> float:
        span = self.high - self.low
        return self.start + (value - self.low) / (span or 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers inside the axis, about TICKS of them."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / TICKS
        unit = 10.0 ** np.floor(np.log10(rough))
        step = unit * min((1, 2, 5, 10), key=lambda times: abs(times * unit - rough))
        first = np.ceil(self.low / step)
        last = np.floor(self.high / step + 1e-9)
        return [float(number * step) for number in np.arange(first, last + 1)]


def _dot(dot: Dot, axis: _Axis, y: float) -> str:
    label = f'<text class="label" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(dot.label)}</text>'
    if not np.isfinite(dot.value):
        return label
    x, low, high = (
        axis.at(dot.value),
        axis.at(max(dot.value - dot.half_width, 0.0)),
        axis.at(dot.value + dot.half_width),
    )
    interval = f'<path class="interval" d="M{low:.1f} {y:.1f}H{high:.1f}"/>'
    told = f"{escape(dot.label)} {dot.value:.4f} ± {dot.half_width:.4f}"
    return (
        f'{label}<g class="ranker-{dot.number % SHAPES}"><title>{told}</title>{interval}{_shape(dot.number, x, y)}</g>'
    )


def _shape(number: int, x: float, y: float) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>',
        f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>',
        f'<path d="M{x:.1f} {y - 5:.1f}l5 9h-10z"/>',
        f'<path d="M{x:.1f} {y - 5.5:.1f}l5.5 5.5-5.5 5.5-5.5-5.5z"/>',
        f'<path class="cross" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8"/>',
    )[number % SHAPES]


def _down_tick(x: float, top: float, bottom: float, text: str) -> str:
    grid = f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>'
    return f'{grid}<text class="axis" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{text}</text>'


def _side_tick(y: float, text: str) -> str:
    grid = f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
    return f'{grid}<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'


def _svg(height: float, what: str, parts: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(what)}">'
    return "\n".join((head, *parts, "</svg>"))
