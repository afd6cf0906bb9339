"""The charts of the report, without scripts or fonts of their own.

Accuracies are bars of HTML, whose words stay readable on a narrow screen; accuracy and mean turns against the turn
limit are one inline SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

from evals.reports.cells import percent
from evals.reports.metrics import Summary
from evals.reports.turn_limits import Curve
from tools.counts import many

WIDTH, HEIGHT = 380, 260
LEFT, RIGHT, TOP, BOTTOM, MARGIN = 48, 16, 30, 40, 10
COLOURS = ("#2f6fde", "#c2571a", "#2c8a4b", "#8b4bb8", "#a8327d", "#6b7280")

_STYLE = (
    "<style>.limits { color: #222; font: 12px system-ui, sans-serif; fill: currentColor } "
    ".limits .grid { stroke: #8884 } @media (prefers-color-scheme: dark) { .limits { color: #ddd } }</style>"
)
"""In the figure itself, so that it can also stand alone."""


def accuracy_bars(summaries: Sequence[Summary]) -> str:
    """A bar for each run's accuracy under the exact rules, with its 95 % interval."""
    rows = []
    for summary in summaries:
        (low, high), rate = summary.interval, summary.accuracy
        asked = many(summary.questions, "question")
        words = f"{percent(rate)} <small>{100 * low:.1f} to {100 * high:.1f}, {asked}</small>"
        rows.append(
            f'<div class="run"><b>{escape(summary.name)}</b><span class="track"><i style="width:{100 * rate:.2f}%"></i>'
            f'<u style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></u></span><span>{words}</span></div>'
        )
    caption = '<p class="note">Right under the exact rules, with the 95 % interval over questions.</p>'
    return f'<section class="bars" aria-label="accuracy">{"".join(rows)}{caption}</section>'


def turn_limit_figure(curves: Sequence[Curve]) -> str:
    """The figure as part of a page; empty without curves."""
    return f'<div class="scroll">{turn_limit_svg(curves)}</div>' if curves else ""


def turn_limit_svg(curves: Sequence[Curve]) -> str:
    """Two panels side by side, with a line for each curve and a bar for each 95 % interval."""
    accuracy = [
        [_Mark(point.limit, 100 * point.accuracy, [100 * end for end in point.interval]) for point in curve.points]
        for curve in curves
    ]
    turns = [[_Mark(point.limit, point.turns, point.turns_interval) for point in curve.points] for curve in curves]
    legend = "".join(
        f'<g transform="translate({LEFT},{HEIGHT + 20 * index + 6})"><rect width="14" height="4" y="4" '
        f'fill="{_colour(index)}"/><text x="20" y="10">{escape(curve.name)}</text></g>'
        for index, curve in enumerate(curves)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="limits" viewBox="0 0 {2 * WIDTH} '
        f'{HEIGHT + 20 * len(curves) + 10}" role="img" aria-label="Accuracy and mean turns by turn limit">'
        f"{_STYLE}{_panel('accuracy in %', accuracy, 0)}{_panel('mean turns', turns, WIDTH)}{legend}</svg>"
    )


class _Mark(NamedTuple):
    """A value at a turn limit, with its 95 % interval."""

    limit: int
    value: float
    interval: Sequence[float]


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _ticks(highest: float) -> tuple[float, int]:
    """A round step of an axis from 0 that holds a value in at most five of them, and how many it takes."""
    least = highest / 5 or 0.2
    power = 10.0 ** floor(log10(least))
    step = next(step for factor in (1, 2, 2.5, 5, 10) if (step := factor * power) >= least)
    return step, max(1, ceil(highest / step))


def _panel(title: str, lines: Sequence[Sequence[_Mark]], offset: int) -> str:
    limits = sorted({mark.limit for marks in lines for mark in marks})
    step, ticks = _ticks(max((mark.interval[1] for marks in lines for mark in marks), default=0.0))
    top = step * ticks
    wide = max(1, limits[-1] - limits[0])

    def x(limit: int, line: float) -> float:
        """Lines stand a little apart, or their intervals would cover each other."""
        place = (limit - limits[0]) / wide if len(limits) > 1 else 0.5
        return LEFT + MARGIN + place * (WIDTH - LEFT - RIGHT - 2 * MARGIN) + 5 * (line - (len(lines) - 1) / 2)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    middle = (len(lines) - 1) / 2
    parts = [f'<text x="{LEFT}" y="16">{escape(title)}</text>']
    for value in (step * number for number in range(ticks + 1)):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    parts += [
        f'<text x="{x(limit, middle):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{limit}</text>'
        for limit in limits
    ]
    parts.append(f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">turn limit</text>')
    for index, marks in enumerate(lines):
        path = " ".join(f"{x(mark.limit, index):.1f},{y(mark.value):.1f}" for mark in marks)
        parts.append(f'<g stroke="{_colour(index)}" stroke-width="2"><polyline fill="none" points="{path}"/>')
        for mark in marks:
            place, (low, high) = f"{x(mark.limit, index):.1f}", mark.interval
            words = f"limit {mark.limit}: {mark.value:.2f} ({low:.2f} to {high:.2f})"
            parts.append(f'<line x1="{place}" x2="{place}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>')
            parts.append(
                f'<circle cx="{place}" cy="{y(mark.value):.1f}" r="3.5" fill="{_colour(index)}">'
                f"<title>{words}</title></circle>"
            )
        parts.append("</g>")
    return f'<g transform="translate({offset},0)">{"".join(parts)}</g>'
