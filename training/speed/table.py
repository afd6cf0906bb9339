"""The report of the benchmark as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.counts import many

_NAMES = {
    "packed": "(a) ours, packed",
    "unpacked": "(b) ours, unpacked",
    "trl": "(c) TRL, a sample a turn",
    "trl_merged": "(d) TRL, a sample a rollout",
}

_RATIOS = {
    "time_ratio_trl_over_packed": "(c) / (a)",
    "time_ratio_trl_merged_over_packed": "(d) / (a)",
    "time_ratio_unpacked_over_packed": "(b) / (a)",
    "time_ratio_packed_over_unpacked_unshared": "(a) / (b), nothing shared",
}


def table(report: Mapping[str, Any]) -> str:
    """What was measured, then a line per variant, then ratios with their spread."""
    size = report["workload"]
    lines = [
        f"{report['model']} ({report['parameters'] / 1e6:.0f}M parameters), {report['dtype']} on {report['device']}, "
        f"{many(report['threads'], 'thread')}, load {report['load_average']}",
        f"{many(size['groups'], 'group')} of {many(size['group_size'], 'rollout')}, {many(size['turns'], 'turn')}; "
        f"prompt {size['prompt']}, completion {size['completion']}, observation {many(size['observation'], 'token')}; "
        f"{many(report['repeats'], 'repeat')}",
        "",
        f"{'':30}{'tokens':>9}{'seconds':>10}{'low..high':>18}{'timed':>11}{'reference':>11}{'stock head':>12}",
    ]
    for key, name in _NAMES.items():
        seconds = report["seconds"][key]
        stock = report["stock_head_seconds"].get(key)
        spread = f"{seconds['low']:.4g}..{seconds['high']:.4g}"
        lines.append(
            f"{name:30}{report['tokens'][key]:9}{seconds['median']:10.4g}{spread:>18}"
            f"{report['micro_batches_timed'][key]:>11}{report['reference_seconds'][key]:11.4g}"
            + (f"{stock:12.4g}" if stock is not None else "")
        )
    lines.append(f"{'unique tokens of the step':30}{report['unique_tokens']:9}")
    lines.append("")
    for key, name in _RATIOS.items():
        low, high = report["spread"][key]
        lines.append(f"{name:30}{report[key]:9.3g}   {low:.3g} to {high:.3g}")
    peak = report["peak_memory_bytes"]
    lines += [
        f"{'peak memory (a) / (c)':30}{report['peak_memory_ratio_packed_over_trl']:9.3g}   "
        f"{peak['packed'] / 2**30:.2f} and {peak['trl'] / 2**30:.2f} GiB, {report['token_budget']} tokens",
        f"{'gradients of (a) and (b)':30}{report['gradient_relative_error']:9.2g}   relative error, "
        f"{many(report['gradient_rows'], 'rollout')}",
    ]
    if "model_flop_utilisation" in report:
        lines.append(
            f"{'model FLOP utilisation':30}{report['model_flop_utilisation']:9.1%}   with what is computed again "
            f"{report['hardware_flop_utilisation']:.1%} (training.models.flops says how it is counted)"
        )
    for name, value in report.get("phases", {}).items():
        lines.append(f"{'phase ' + name:30}{value:9.4g}")
    return "\n".join(lines) + "\n"
