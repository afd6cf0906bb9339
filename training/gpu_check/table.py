"""The report of a check, and as Markdown, for docs/measured.md."""

from __future__ import annotations

from typing import Any, TypedDict

_UPDATE = {
    "model_flop_utilisation": "model FLOP utilisation",
    "time_ratio_trl_over_packed": "(c)/(a)",
    "time_ratio_trl_merged_over_packed": "(d)/(a)",
    "time_ratio_unpacked_over_packed": "(b)/(a)",
    "time_ratio_packed_over_unpacked_unshared": "nothing shared, (a)/(b)",
    "gradient_relative_error": "gradient error",
    "peak_memory_ratio_packed_over_trl": "peak memory (a)/(c)",
}

_STEP = (
    "eval/pass_rate", "reward", "logprob_gap", "seconds/rollout", "seconds/update", "seconds/sync",
    "seconds/checkpoint", "stretch", "tokens_per_second", "memory/peak_gib", "memory/planned_gib",
)  # fmt: skip


class PartReport(TypedDict):
    """What became of a part."""

    state: str
    """`done`, `failed`, `out of time`, `interrupted`, `left out`, or `not needed`."""
    seconds: float
    command: str
    figures: Any
    """Of a part that failed or ran out of time: those that it had by then."""
    reason: str


class Report(TypedDict):
    """The whole check."""

    device: str
    machine: dict[str, Any]
    versions: dict[str, str]
    parts: dict[str, PartReport]
    not_done: dict[str, str]
    """What the check could not do, and why."""


def table(report: Report) -> str:
    """One line for each part: its figures, or why there are none; then what could not be done."""
    machine = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    lines = [f"{machine}; {versions}", "", "| part | seconds | figures |", "| --- | --- | --- |"]
    lines += [f"| {name} | {part['seconds']:.0f} | {_told(part)} |" for name, part in report["parts"].items()]
    if report["not_done"]:
        lines += ["", "What could not be done:", ""]
        lines += [f"- {name}: {reason}" for name, reason in report["not_done"].items()]
    return "\n".join(lines) + "\n"


def _told(part: PartReport) -> str:
    state = part["state"] if part["state"] == "not needed" else f"{part['state']}: {part['reason']}"
    shown = [] if part["state"] == "done" else [state]
    if part["figures"]:
        shown.append(in_words(part["figures"]))
    return "; ".join(shown).replace("|", "/") or "done"


def in_words(figures: Any) -> str:
    """The figures of a part, in a line."""
    if isinstance(figures, list):
        return _of_steps(figures)
    if isinstance(figures, dict):
        return _of_figures(figures)
    return " ".join(str(figures).split())[:300]


def _of_figures(figures: dict[str, Any]) -> str:
    if "time_ratio_trl_over_packed" in figures:
        seconds = [f"(a) {figures['seconds']['packed']['median']:.3g} s"]
        ratios = [f"{words} {figures[name]:.3g}" for name, words in _UPDATE.items() if name in figures]
        phases = [f"{name} {value:.3g} s" for name, value in _seconds_of(figures.get("phases", {})).items()]
        return ", ".join([*seconds, *ratios, *phases])
    return "; ".join(f"{name}{' runs' * name.isdecimal()}: {_of_way(figure)}" for name, figure in figures.items())


def _seconds_of(phases: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in phases.items() if name in ("rollout", "reference", "update", "optimizer")}


def _of_way(figure: dict[str, Any]) -> str:
    """Of a way to compute an update, or of an engine at a number of runs."""
    if "failed" in figure:
        return f"failed ({figure['failed']})"
    if "tokens_per_second" in figure:
        return f"{figure['tokens_per_second']:g} tokens/s, {figure['step_ms']:g} ms a step"
    utilisation = f", utilisation {figure['model_flop_utilisation']:.1%}" if "model_flop_utilisation" in figure else ""
    kinds = ", ".join(f"{kind} {value:g} ms" for kind, value in figure["milliseconds"].items())
    return (
        f"{figure['seconds']:.3g} s (the first {figure['first_seconds']:.3g}){utilisation}, {figure['peak_gib']:g} GiB "
        f"at its peak; the largest micro-batch by kernels: {kinds or 'no kernel was seen'}"
    )


def _of_steps(steps: list[dict[str, float]]) -> str:
    parts = []
    for name in _STEP:
        values = [f"{step[name]:.3g}" for step in steps if name in step]
        if values:
            parts.append(f"{name} {', '.join(values)}")
    return "; ".join(parts)
