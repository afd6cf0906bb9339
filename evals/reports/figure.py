"""The charts of the report, without scripts or fonts of their own.

Accuracies are bars of HTML, whose words stay readable on a narrow screen; accuracy and mean turns against the turn
limit are one inline SVG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from evals.reports.markdown import percent
from evals.reports.metrics import Summary

WIDTH, HEIGHT = 380, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 16, 30, 40
COLOURS = ("#2f6fde", "#c2571a", "#2c8a4b", "#8b4bb8", "#a8327d", "#6b7280")


def accuracy_bars(summaries: Sequence[Summary]) -> str:
    """A bar for each run's accuracy under the exact rules, with its 95 % interval."""
    rows = []
    for summary in summaries:
        (low, high), rate = summary.interval, summary.accuracy
        words = f"{percent(rate)} <small>{100 * low:.1f} to {100 * high:.1f}, {summary.questions} questions</small>"
        rows.append(
            f'<div class="run"><b>{escape(summary.name)}</b><span class="track"><i style="width:{100 * rate:.2f}%"></i>'
            f'<u style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></u></span><span>{words}</span></div>'
        )
    caption = '<p class="note">Right under the exact rules, with the 95 % interval over questions.</p>'
    return f'<section class="bars" aria-label="accuracy">{"".join(rows)}{caption}</section>'


def turn_limit_figure(groups: Mapping[str, Sequence[Summary]]) -> str:
    """Two panels side by side, with a line for each group of runs; empty without groups."""
    if not groups:
        return ""
    accuracy = {
        name: [(int(run.settings["max_turns"]), 100 * run.accuracy) for run in runs] for name, runs in groups.items()
    }
    turns = {name: [(int(run.settings["max_turns"]), run.turns) for run in runs] for name, runs in groups.items()}
    legend_height = 20 * len(groups)
    legend = "".join(
        f'<g transform="translate({LEFT},{HEIGHT + 20 * index + 6})"><rect width="14" height="4" y="4" '
        f'fill="{_colour(index)}"/><text x="20" y="10">{escape(name)}</text></g>'
        for index, name in enumerate(groups)
    )
    return (
        f'<div class="scroll"><svg viewBox="0 0 {2 * WIDTH} {HEIGHT + legend_height + 10}" role="img" '
        'aria-label="Accuracy and mean turns by turn limit">'
        f"{_panel('accuracy in %', accuracy, 0)}{_panel('mean turns', turns, WIDTH)}{legend}</svg></div>"
    )


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _panel(title: str, lines: Mapping[str, Sequence[tuple[int, float]]], offset: int) -> str:
    limits = sorted({limit for points in lines.values() for limit, _ in points})
    top = max((value for points in lines.values() for _, value in points), default=0.0) * 1.1 or 1.0

    def x(limit: int) -> float:
        return LEFT + (limit - limits[0]) / (limits[-1] - limits[0]) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="16">{escape(title)}</text>']
    for step in range(5):
        value = top * step / 4
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    parts += [
        f'<text x="{x(limit):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{limit}</text>' for limit in limits
    ]
    parts.append(f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">turn limit</text>')
    for index, points in enumerate(lines.values()):
        path = " ".join(f"{x(limit):.1f},{y(value):.1f}" for limit, value in points)
        parts.append(f'<polyline fill="none" stroke="{_colour(index)}" stroke-width="2" points="{path}"/>')
        parts += [
            f'<circle cx="{x(limit):.1f}" cy="{y(value):.1f}" r="3.5" fill="{_colour(index)}">'
            f"<title>{limit} turns: {value:.2f}</title></circle>"
            for limit, value in points
        ]
    return f'<g transform="translate({offset},0)">{"".join(parts)}</g>'
