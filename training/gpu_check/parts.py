"""The parts of the check: commands that anybody could type, each with its share of the time."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

from training.run.metrics import read_metrics

STEPS = 10
RECIPE = Path(__file__).parents[1] / "recipes" / "cpu.yaml"
PACKAGES = ("torch", "transformers", "trl", "peft", "vllm", "liger-kernel")


@dataclass(frozen=True)
class Machine:
    """Where the check runs and on what."""

    device: str
    model: str | None
    """The policy of the parts that train; None: they are left out."""
    out: Path

    @property
    def engine(self) -> str:
        """What samples."""
        return "vllm" if self.device == "cuda" and find_spec("vllm") else "transformers"


@dataclass(frozen=True)
class Part:
    """One thing to measure."""

    name: str
    command: tuple[str, ...]
    """Words behind `python -m`."""
    share: float
    """Of the time, relative to the others; what one part leaves the later ones may use."""
    needs_model: bool = False
    read: Callable[[str], Any] = json.loads
    """Takes the figures from standard output."""


class PartReport(TypedDict):
    """What became of a part."""

    state: str
    """`done`, `failed`, `out of time`, or `left out`."""
    seconds: float
    command: str
    figures: Any
    reason: str


class Report(TypedDict):
    """The whole check."""

    device: str
    machine: dict[str, Any]
    versions: dict[str, str]
    parts: dict[str, PartReport]


def parts_of(machine: Machine) -> list[Part]:
    """All parts in order; those that cost most per figure come last."""
    small, large = ("tiny", "tiny") if machine.device == "cpu" else ("0.5b", "7b")
    policy = str(machine.out / "policy") if machine.model == "tiny" else str(machine.model)
    out, town = machine.out, machine.out / "town"
    speed: tuple[str, ...] = ("training.speed", "--device", machine.device, "--json", "--minutes", "1.5")
    speed = (*speed, "--repeats", "2")
    if machine.device == "cpu":
        speed = (*speed, "--groups", "1", "--group-size", "2", "--turns", "2", "--prompt", "40", "--completion", "8")
    kernels = ("training.gpu_check.kernels", "--device", machine.device, "--model", large)
    limit = "8" if machine.device == "cpu" else "100"
    held_out = ("--validation", str(town / "heldout.jsonl"), "--validation_limit", limit)
    validate = ("training.validate", "--config", str(out / "run" / "config.yaml"), *held_out)
    trained = ("--checkpoint", str(out / "run"))
    train: tuple[str, ...] = (
        "training.flow_grpo", "--config", str(RECIPE), "--model", policy, "--out", str(out / "run"), "--tasks",
        str(town / "train.jsonl"), "--steps", "2" if machine.device == "cpu" else str(STEPS), "--engine",
        machine.engine, "--validation", "null", "--validation_every", "0", "--validation_limit", "null",
    )  # fmt: skip
    if machine.device == "cpu":
        train = (*train, "--tasks_per_step", "2", "--group_size", "2", "--max_tokens", "16", "--max_context", "8192")
    parts = [
        Part("GPU tests", ("pytest", "tests/training", "-m", "gpu", "-q"), 1.5, read=_last_line),
        Part(f"update {small}", (*speed, "--model", small), 1.0),
        Part(f"update {large}, checkpointing", (*speed, "--model", large, "--phases"), 2.0),
        Part(f"update {large}, no checkpointing", (*speed, "--model", large, "--no-checkpointing"), 1.5),
        Part(f"update {large}, FlexAttention", (*speed, "--model", large, "--attention", "flex"), 1.5),
        Part("kernels", kernels, 0.7),
        Part("town", ("training.town", "--out", str(town), "--chains", "0.15"), 0.2, True, read=str),
        Part("training", train, 2.0, True, read=lambda _: _steps(out / "run")),
        Part("engine rates", ("training.gpu_check.rates", "--device", machine.device, "--model", policy), 1.0, True),
        Part("validation before", (*validate, "--out", str(out / "before")), 1.0, True, read=str),
        Part("validation after", (*validate, *trained, "--out", str(out / "after")), 1.0, True, read=str),
        Part("gain", ("training.validate", "--compare", str(out / "before"), str(out / "after")), 0.1, True, read=str),
    ]
    return parts if (Path.cwd() / "tests" / "training").is_dir() else parts[1:]


def run_parts(parts: Sequence[Part], machine: Machine, seconds: float, *, say: Callable[[str], None]) -> Report:
    """Runs the parts one after the other and writes `report.json` after each.

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
    report = Report(device=machine.device, machine=_described(machine), versions=_versions(), parts={})
    ends = time.monotonic() + seconds
    for place, part in enumerate(parts):
        share = part.share / sum(later.share for later in parts[place:])
        # A part that is slow at first may take twice its share: the quick ones behind it leave time.
        limit = min(2 * share, 1.0) * max(0.0, ends - time.monotonic())
        report["parts"][part.name] = made = _run(part, machine, limit)
        say(f"{part.name}: {made['state']} after {made['seconds']:.0f} s {made['reason']}".rstrip())
        _write(machine.out / "report.json", report)
    return report


def _run(part: Part, machine: Machine, limit: float) -> PartReport:
    command = f"python -m {' '.join(part.command)}"
    made = PartReport(state="left out", seconds=0.0, command=command, figures=None, reason="")
    if part.needs_model and machine.model is None:
        return {**made, "reason": "name a policy with --model"}
    if limit < 1:
        return {**made, "state": "out of time", "reason": "nothing is left of --minutes"}
    log = machine.out / f"{part.name.replace(' ', '-').replace(',', '')}.log"
    began = time.monotonic()
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", *part.command],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return {**made, "state": "out of time", "seconds": limit, "reason": f"it had {limit:.0f} s; see {log}"}
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    made["seconds"] = time.monotonic() - began
    if process.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return {**made, "state": "failed", "reason": f"{lines[-1][:200] if lines else output[-200:]} (see {log})"}
    try:
        return {**made, "state": "done", "figures": part.read(output)}
    except (ValueError, OSError, IndexError) as error:
        return {**made, "state": "failed", "reason": f"its output cannot be read: {error}"}


def _last_line(output: str) -> str:
    return output.strip().splitlines()[-1]


_SHOWN = (
    "reward",
    "pass_rate",
    "logprob_gap",
    "seconds/rollout",
    "seconds/update",
    "seconds/sync",
    "tokens_per_second",
)


def _steps(run: Path) -> list[dict[str, float]]:
    """The figures of each step."""
    lines = [line for line in read_metrics(run / "metrics.jsonl") if "loss" in line]
    return [{name: line[name] for name in ("update", *_SHOWN) if name in line} for line in lines]


def _described(machine: Machine) -> dict[str, Any]:
    import torch

    known: dict[str, Any] = {"cores": os.cpu_count(), "python": platform.python_version(), "engine": machine.engine}
    if machine.device == "cuda":
        card = torch.cuda.get_device_properties(0)
        known |= {"gpu": card.name, "memory_gib": round(card.total_memory / 2**30, 1), "cuda": torch.version.cuda}
    return known


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _write(path: Path, report: Report) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
