"""Runs the parts of the check one after the other, each within its limit, and keeps the report."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from training.gpu_check.parts import Machine, Part
from training.gpu_check.table import PartReport, Report, in_words, table

PACKAGES = ("torch", "transformers", "trl", "peft", "vllm", "liger-kernel")

REPORT, TABLE = "report.json", "table.md"
"""Files in the check's folder."""

_SETTLING = 20.0
"""Most seconds after a part on a GPU was killed, until the memory of its processes is free: a server has `GRACE` of
them to end by itself."""

_OUT_OF_TIME, _INTERRUPTED = "out of time", "interrupted"


def run_parts(parts: Sequence[Part], machine: Machine, seconds: float, *, say: Callable[[str], None]) -> Report:
    """Runs the parts one after the other, and writes report and table after each.

    Parts of an earlier check in the same folder that are not run now stay in the report. An interrupt ends the part at
    hand and the check, but not the report.

    Args:
        parts: in order.
        machine: where they run.
        seconds: for all of them. Each may take its share of what is left.
        say: told of every part.
    """
    machine.out.mkdir(parents=True, exist_ok=True)
    if machine.model == "tiny":
        from training.gpu_check.tiny import save_tiny_policy

        save_tiny_policy(machine.out / "policy")
    report = Report(
        device=machine.device, machine=described(machine), versions=_versions(), parts=_earlier(machine.out),
        not_done={},
    )  # fmt: skip
    ends = time.monotonic() + seconds
    for place, part in enumerate(parts):
        share = part.share / sum(later.share for later in parts[place:])
        # A part that is slow at first may take twice its share: the quick ones behind it leave time.
        limit = min(2 * share, 1.0) * max(0.0, ends - time.monotonic())
        try:
            result = _run(part, machine, limit, report)
        except KeyboardInterrupt:  # before it began or after it ended
            result = {**_left_out(part, ""), "state": _INTERRUPTED}
        interrupted = result["state"] == _INTERRUPTED
        report["parts"].pop(part.name, None)
        report["parts"][part.name] = result
        for later in parts[place + 1 :] if interrupted else ():
            report["parts"].setdefault(later.name, _left_out(later, "the check was interrupted"))
        report["not_done"] = {
            name: f"{each['state']}: {each['reason']}"
            for name, each in report["parts"].items()
            if each["state"] not in ("done", "not needed")
        }
        say(f"{part.name}: {result['state']} after {result['seconds']:.0f} s {result['reason']}".rstrip())
        _write(machine.out / REPORT, json.dumps(report, indent=1) + "\n")
        _write(machine.out / TABLE, table(report))
        if interrupted:
            break
    return report


def _left_out(part: Part, reason: str) -> PartReport:
    command = f"python -m {' '.join(part.command)}" if part.command else ""
    return PartReport(state="left out", seconds=0.0, command=command, figures=None, reason=reason)


def _run(part: Part, machine: Machine, limit: float, report: Report) -> PartReport:
    result = _left_out(part, part.missing)
    if part.missing:
        return result
    if part.needs_model and machine.model is None:
        return {**result, "reason": "name a policy with --model"}
    first = report["parts"].get(part.instead_of) if part.instead_of else None
    if first and first["figures"]:
        return {**result, "state": "not needed"}
    if limit < 1:
        return {**result, "state": _OUT_OF_TIME, "reason": "nothing is left of --minutes"}
    if part.makes:
        shutil.rmtree(part.makes, ignore_errors=True)
    log = machine.out / f"{part.name.replace(' ', '-').replace(',', '')}.log"
    began = time.monotonic()
    output, code = _within(limit, part.command, log)
    result["seconds"] = time.monotonic() - began
    try:
        figures = part.read(output)
        in_words(figures)
        result["figures"], unread = figures, ""
    except Exception as error:  # noqa: BLE001  # whatever a part has written, the others go on
        unread = f"its output cannot be read: {error}"
    if code == _INTERRUPTED:
        return {**result, "state": _INTERRUPTED, "reason": f"see {log}"}
    if code == _OUT_OF_TIME:
        _settle(machine.device)
        return {**result, "state": _OUT_OF_TIME, "reason": f"it had {limit:.0f} s; see {log}"}
    if code != 0:
        reason = _reason(log, output)
        with log.open("a") as errors:
            errors.write(output)
        return {**result, "state": "failed", "reason": f"{reason} (see {log})"}
    return {**result, "state": "failed" if unread else "done", "reason": unread}


def _within(limit: float, words: Sequence[str], log: Path) -> tuple[str, int | str]:
    """The output of a command, and its exit code or what killed it: `_OUT_OF_TIME`, `_INTERRUPTED`."""
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            start_new_session=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            with suppress(ProcessLookupError):  # it may have ended by the same signal
                os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return output, _INTERRUPTED if isinstance(error, KeyboardInterrupt) else _OUT_OF_TIME
    return output, process.returncode


def _settle(device: str) -> None:
    """Waits until the memory of a GPU is free; asked in a process of its own, since whoever asks takes some of it."""
    if device == "cuda":
        subprocess.run([sys.executable, "-c", _UNTIL_FREE.format(seconds=_SETTLING)], check=False)  # noqa: S603


_UNTIL_FREE = """
import time, torch
ends = time.monotonic() + {seconds}
while time.monotonic() < ends:
    free, total = torch.cuda.mem_get_info()
    if free > 0.95 * total:
        break
    time.sleep(0.5)
"""


def _reason(log: Path, output: str) -> str:
    """The last words of a command that failed."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error: ")]
    return (told or lines or [output[-200:]])[-1][:300]


def described(machine: Machine) -> dict[str, Any]:
    """The machine: cores, Python, GPU, and the engine that samples."""
    import torch

    facts: dict[str, Any] = {
        "cores": os.cpu_count(), "python": platform.python_version(),
        "engine": "vllm" if machine.vllm else "transformers",
    }  # fmt: skip
    if machine.device == "cuda":
        card = torch.cuda.get_device_properties(0)
        facts |= {"gpu": card.name, "memory_gib": round(card.total_memory / 2**30, 1), "cuda": torch.version.cuda}
    return facts


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _earlier(out: Path) -> dict[str, PartReport]:
    try:
        parts: dict[str, PartReport] = json.loads((out / REPORT).read_text(encoding="utf-8"))["parts"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return parts


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
