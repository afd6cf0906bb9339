"""The report of a check as Markdown, for docs/measured.md."""

from __future__ import annotations

from typing import Any

from training.gpu_check.parts import PartReport, Report

_UPDATE = {
    "model_flop_utilisation": "model FLOP utilisation",
    "time_ratio_trl_over_packed": "(c)/(a)",
    "time_ratio_trl_merged_over_packed": "(d)/(a)",
    "time_ratio_unpacked_over_packed": "(b)/(a)",
    "time_ratio_packed_over_unpacked_unshared": "nothing shared, (a)/(b)",
    "gradient_relative_error": "gradient error",
}


def table(report: Report) -> str:
    """One line a part: its figures, or why there are none."""
    machine = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in report["versions"].items())
    lines = [f"{machine}; {versions}", "", "| part | seconds | figures |", "| --- | --- | --- |"]
    lines += [f"| {name} | {part['seconds']:.0f} | {_told(part)} |" for name, part in report["parts"].items()]
    return "\n".join(lines) + "\n"


def _told(part: PartReport) -> str:
    if part["state"] != "done":
        return f"{part['state']}: {part['reason']}".replace("|", "/")
    figures: Any = part["figures"]
    if isinstance(figures, list):
        return _of_steps(figures)
    if isinstance(figures, dict):
        return _of_figures(figures)
    return " ".join(str(figures).split())[:300].replace("|", "/")


def _of_figures(figures: dict[str, Any]) -> str:
    if "time_ratio_trl_over_packed" in figures:
        named = {words: figures.get(name) for name, words in _UPDATE.items()}
        return ", ".join(f"{words} {value:.3g}" for words, value in named.items() if isinstance(value, float))
    if "milliseconds" in figures:
        return ", ".join(f"{kind} {value:g} ms" for kind, value in figures["milliseconds"].items())
    rates = [f"{runs} runs: {rate['tokens_per_second']:g} tokens/s" for runs, rate in figures.items()]
    return ", ".join(rates)


def _of_steps(steps: list[dict[str, float]]) -> str:
    if not steps:
        return "no step"
    parts = []
    for name in ("reward", "logprob_gap", "seconds/rollout", "seconds/update", "tokens_per_second"):
        values = [f"{step[name]:.3g}" for step in steps if name in step]
        if values:
            parts.append(f"{name} {', '.join(values)}")
    return "; ".join(parts)
