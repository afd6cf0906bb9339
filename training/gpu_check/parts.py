"""The parts of the check: commands that anybody could type, each with its share of the time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.engines.kinds import IN_PROCESS, VLLM
from training.engines.vllm.child import installed
from training.run.metrics import read_metrics

STEPS = 10
RECIPE = Path(__file__).parents[1] / "recipes" / "cpu.yaml"


@dataclass(frozen=True)
class Machine:
    """Where the check runs and on what."""

    device: str
    model: str | None
    """The policy of the parts that train; None: they are left out."""
    out: Path
    vllm_command: str = "vllm"
    vllm_options: str = ""
    dtype: str = "bfloat16"

    @property
    def vllm(self) -> bool:
        """Whether vLLM is there: on a GPU, or named for a dry run."""
        return self.wants_vllm and installed(self.vllm_command)

    @property
    def wants_vllm(self) -> bool:
        """Whether the check is to measure vLLM."""
        return self.device == "cuda" or self.vllm_command != "vllm"

    @property
    def policy(self) -> str:
        """What stands for the policy in commands."""
        return str(self.out / "policy") if self.model in ("tiny", None) else str(self.model)


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
    """Takes the figures from standard output; also from what an interrupted command has written."""
    makes: Path | None = None
    """A folder that is made anew."""
    instead_of: str | None = None
    """Runs only if this part has failed."""
    missing: str = ""
    """Why it cannot run here."""


def parts_of(machine: Machine) -> list[Part]:
    """All parts, the most telling ones first: the large update, training, and then what they are made of."""
    small, large = ("tiny", "tiny") if machine.device == "cpu" else ("0.5b", "7b")
    parts = [
        # A card with room for a 7B model trains it best with all activations kept and all rollouts in one micro-batch.
        Part(f"update {large}", (*_speed(machine), "--model", large, "--phases", *_ROOMY), 2.5, read=_last_json),
        *_training(machine),
        _tests(),
        Part(f"kernels {large}", _kernels(machine, large), 1.0, read=_last_json),
        Part(f"update {small}", (*_speed(machine), "--model", small), 1.2, read=_last_json),
        Part(f"kernels {small}", _kernels(machine, small), 0.5, read=_last_json),
        *_engine_rates(machine),
    ]
    first = {part.name: part for part in reversed(parts)}  # on a CPU both shapes are the tiny one
    return [part for part in parts if part is first[part.name]]


_ROOMY = ("--no-checkpointing", "--token-budget", "12000")


def _tests() -> Part:
    """The files with tests for a GPU; to load all others would need more packages."""
    files = sorted(Path("tests/training").glob("**/test_*.py"))
    marked = [str(file) for file in files if "pytest.mark.gpu" in file.read_text(encoding="utf-8")]
    missing = "" if marked else "there are no tests here; run the check in the folder of the sources"
    return Part(
        "GPU tests", ("pytest", *marked, "-m", "gpu", "-q", "-p", "no:cacheprovider"), 1.2, read=_last, missing=missing
    )


def _speed(machine: Machine) -> tuple[str, ...]:
    words = ("training.speed", "--device", machine.device, "--so-far", "--minutes", "1.5", "--repeats", "2")
    if machine.device == "cuda":
        return words
    return (*words, "--groups", "1", "--group-size", "2", "--turns", "2", "--prompt", "40", "--completion", "8")


def _kernels(machine: Machine, shape: str) -> tuple[str, ...]:
    return ("training.gpu_check.kernels", "--device", machine.device, "--model", shape)


def _engine_rates(machine: Machine) -> list[Part]:
    """With vLLM where it is installed, and in this process where it is not or fails."""
    words = (
        "training.gpu_check.rates",
        "--device",
        machine.device,
        "--model",
        machine.policy,
        "--dtype",
        machine.dtype,
    )
    own = Part("engine rates, in-process", (*words, "--engine", IN_PROCESS), 0.8, True, read=_last_json)
    folder = machine.out / "rates"
    served = (
        *words, "--engine", VLLM, "--vllm-command", machine.vllm_command, f"--vllm-options={machine.vllm_options}",
        "--out", str(folder),
    )  # fmt: skip
    missing = "" if machine.vllm else f"there is no program {machine.vllm_command!r}; name it with --vllm-command"
    vllm = Part("engine rates, vLLM", served, 1.8, True, read=_last_json, makes=folder, missing=missing)
    return [vllm, own] if machine.wants_vllm else [own]


def _training(machine: Machine) -> list[Part]:
    """Ten steps of the small world of `training.town`, with held-out tasks before and after."""
    out, town = machine.out, machine.out / "town"
    on_cpu = machine.device == "cpu"
    steps = "2" if on_cpu else str(STEPS)
    words: tuple[str, ...] = (
        "training.flow_grpo", "--config", str(RECIPE), "--model", machine.policy, "--out", str(out / "run"),
        "--tasks", str(town / "train.jsonl"), "--steps", steps, "--dtype", machine.dtype,
        "--device", machine.device, "--token_budget", "auto", "--validation", str(town / "heldout.jsonl"),
        "--validation_every", steps, "--validation_limit", "8" if on_cpu else "100",
    )  # fmt: skip
    if on_cpu:
        words = (*words, "--tasks_per_step", "2", "--group_size", "2", "--max_tokens", "16", "--max_context", "8192")
        words = (*words, "--beta", "0.001")  # it earns nothing; so there is something to update all the same
    served = (*words, "--engine", VLLM, "--vllm_command", machine.vllm_command)
    if machine.vllm_options:
        served = (*served, f"--vllm_options={machine.vllm_options}")
    in_process = (*words, "--engine", IN_PROCESS)

    def read(_: str) -> Any:
        return steps_of(out / "run")

    # A server's start takes a minute or two and more.
    train = [Part("training", served if machine.vllm else in_process, 5.0, True, read, out / "run")]
    if machine.vllm:
        train.append(Part("training, in-process", in_process, 2.0, True, read, out / "run", "training"))
    return [Part("town", ("training.town", "--out", str(town)), 0.2, True, str), *train]


def _last(output: str) -> str:
    return output.strip().splitlines()[-1]


def _last_json(output: str) -> Any:
    """The last whole line: an interrupted command has written one for each thing that it has measured."""
    lines = output.splitlines(keepends=True)
    return json.loads([line for line in lines if line.endswith("\n")][-1])


def steps_of(run: Path) -> list[dict[str, float]]:
    """The metrics of each step of a run, and of its validations.

    Raises:
        ValueError: the run has made no step.
    """
    path = run / "metrics.jsonl"
    lines = read_metrics(path) if path.exists() else []
    if not any("loss" in line for line in lines):
        raise ValueError("no step")
    return lines
