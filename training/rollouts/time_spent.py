"""Where the time of rollouts went: model, tools, sandbox, reward, waiting for a place, and our own process (the rest).

A rollout's time runs from the moment when its step could have started it to its end. At each moment it counts as one
thing: as waiting if any part of the run waits for a place, else as the innermost span that is open (`tools.spans`),
else as our own process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from tools.spans import Span

OWN = "process"
"""Our own process: what no span covers."""

WAIT = "wait_"
"""Prefix of what is waited for: a `place` among the runs at once, the `engine`, the `sandbox`, another `try`,
a group to replace (`refill`)."""

REFILL = "wait_refill"
"""Waiting for the group that another one replaces, which belongs to the longest way through a step."""

MEAN, SLOWEST = "rollout_seconds/", "slowest_seconds/"
"""Prefixes of figures."""

_SHOWN = 0.03
"""Share of the whole from which a part is worth words."""

WORK = ("model", "tools", "sandbox")
"""What a run itself takes, however many others there are."""

_ORDER = ("reward", "model", "tools", "sandbox", "wait")
"""Of spans that are open at once, the last in this order counts."""


def time_spent(spans: Iterable[Span], began: float, ended: float) -> dict[str, float]:
    """Seconds of a run by what they were spent on.

    Args:
        spans: of the run, in any order; what lies outside of the run is left out.
        began, ended: of the run, on the clock of the spans.

    Returns:
        Seconds by kind of span; `wait_NAME` for each place that was waited for; `process` for the rest. They sum to
        the run's seconds.
    """
    inside = [span for span in spans if span.ended > began and span.began < ended]
    edges = sorted({began, ended, *(min(max(edge, began), ended) for span in inside for edge in span[2:])})
    spent: dict[str, float] = {}
    starts = sorted(inside, key=lambda span: span.began)
    open_: list[Span] = []
    for left, right in pairwise(edges):
        while starts and starts[0].began <= left:
            open_.append(starts.pop(0))
        open_ = [span for span in open_ if span.ended > left]
        name = _name(max(open_, key=lambda span: _ORDER.index(span.kind))) if open_ else OWN
        spent[name] = spent.get(name, 0.0) + right - left
    return spent


def _name(span: Span) -> str:
    return WAIT + span.name if span.kind == "wait" else span.kind


def work_seconds(spent: Mapping[str, float]) -> float:
    """A run's own time: its models and tools, without waiting for a place, and the time of a group that it replaces."""
    return sum(spent.get(kind, 0.0) for kind in (*WORK, REFILL))


def time_figures(spent: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The figures of a step's rollouts.

    Args:
        spent: of each rollout, as `time_spent` tells it; those without are left out.

    Returns:
        `rollout_seconds/NAME`: mean of each part; `slowest_seconds/NAME`: the parts of the rollout that took longest;
        `ideal_seconds`: models and tools of the rollout that has most of them, which is what the step would take if
        nothing had to wait.
    """
    known = [each for each in spent if each]
    if not known:
        return {}
    slowest = max(known, key=lambda each: sum(each.values()))
    means = {name: fmean(each.get(name, 0.0) for each in known) for name in sorted({n for each in known for n in each})}
    return (
        {MEAN + name: seconds for name, seconds in means.items()}
        | {SLOWEST + name: seconds for name, seconds in sorted(slowest.items())}
        | {"ideal_seconds": max(work_seconds(each) for each in known)}
    )


def time_in_words(figures: Mapping[str, float]) -> str:
    """The figures of `time_figures`, and the step's `stretch`, for a terminal; empty without them."""
    parts = [f"{title} {_in_words(figures, prefix)}" for title, prefix in _TITLES.items() if _parts(figures, prefix)]
    if parts and "stretch" in figures:
        parts.append(f"the step took {figures['stretch']:.2f} times as long as its longest models and tools")
    return "; ".join(parts)


_TITLES = {"a run": MEAN, "the slowest": SLOWEST}


def _parts(figures: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in figures.items() if name.startswith(prefix)}


def _in_words(figures: Mapping[str, float], prefix: str) -> str:
    parts = _parts(figures, prefix)
    total = sum(parts.values())
    large = sorted((name for name in parts if parts[name] >= _SHOWN * total), key=lambda name: -parts[name])
    return f"{total:.3g} s ({', '.join(f'{name} {parts[name]:.2g}' for name in large)})"
