"""Fine-tune on the planner turns of successful rollouts: the paper's supervised baseline (section 4.4).

    python -m training.sft --rollouts runs/mine --model PATH.gguf --out runs/sft
    python -m training.sft --config FILE [--setting value ...]

TRL's `SFTTrainer` on the very token ids that were sampled; only the planner's own tokens carry loss. What it leaves is
a run's folder like any other, for `python -m training.export runs/sft` and `training.validate --checkpoint runs/sft`.
The same command goes on where an interrupted run stopped.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graph.errors import AgentFlowError, ConfigError, DataError
from training.assemble import rows_of
from training.config import (
    AboveZero,
    Count,
    NotNegative,
    Positive,
    check_types,
    described,
    load_settings,
    plain_values,
)
from training.records import Rollout
from training.run_folder import claim, held, said
from training.secrecy import without_credentials
from training.store import read_rollouts

if TYPE_CHECKING:
    from training.sft_trainer import PlannerSFTTrainer

COMMAND = "training.sft"
MAY_CHANGE = frozenset({"keep", "save_every", "report_to", "micro_batch"})


def _option(description: str, default: Any = MISSING) -> Any:
    metadata = {"description": description}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class SFTSettings:
    """Settings of one supervised run.

    Raises:
        ConfigError: a value is of the wrong type or out of range, or two do not go together.
    """

    model: str = _option("What is trained: a folder, a Hub name, or a GGUF file (dequantised for training).")
    out: str = _option("Folder of the run.")
    rollouts: str = _option("A run's folder, its rollouts/, or one file of rollouts; several joined by +.")
    min_reward: float = _option("Least reward of a rollout that is learned from.", 1.0)
    dedupe: bool = _option("Whether equal transcripts of a task are learned once.", True)
    per_task: Count = _option("Most transcripts of a task, the first that succeeded; 0: all.", 0)
    accepted_only: bool = _option("Whether only turns that were accepted carry loss.", False)
    max_length: Positive = _option("Longer transcripts are left out, in tokens.", 8192)
    dtype: Literal["float32", "bfloat16"] = _option("Type of the frozen weights.", "bfloat16")
    lora_rank: Count = _option("Rank of the LoRA adapter; 0 trains all weights.", 16)
    lora_alpha: Positive = _option("Scale of the adapter is lora_alpha / lora_rank.", 32)
    lora_targets: str = _option("Modules that get an adapter, separated by commas, or `all-linear`.", "all-linear")
    gradient_checkpointing: bool = _option("Whether activations are computed again to save memory.", False)
    epochs: AboveZero = _option("Passes over the transcripts.", 1.0)
    batch_size: Positive = _option("Transcripts of an update.", 16)
    micro_batch: Positive = _option("Transcripts computed together.", 4)
    learning_rate: AboveZero = _option("Peak learning rate.", 1e-5)
    lr_scheduler: str = _option("Schedule, as in transformers' TrainingArguments.", "cosine")
    warmup_steps: Count = _option("Updates over which the learning rate rises.", 0)
    weight_decay: NotNegative = _option("Of AdamW.", 0.0)
    max_grad_norm: AboveZero = _option("Gradients are scaled down to this norm.", 1.0)
    seed: Count = _option("Of everything that is drawn.", 0)
    save_every: Positive = _option("Updates between checkpoints.", 50)
    keep: Positive = _option("Checkpoints that are kept.", 2)
    report_to: tuple[str, ...] = _option("tensorboard, wandb, trackio, ...", ())

    def __post_init__(self) -> None:
        check_types(self, lists=("report_to",))
        if self.batch_size % self.micro_batch:
            raise ConfigError(
                f"The settings do not go together: batch_size ({self.batch_size}) must be a multiple of micro_batch "
                f"({self.micro_batch})."
            )


GROUPS = {"model": "What is trained", "min_reward": "What it learns from", "dtype": "How"}
"""Headings of the settings in `--help`, by the first setting under each."""


@dataclass(frozen=True)
class Examples:
    """Transcripts to learn from."""

    rows: list[dict[str, list[int]]]
    """`input_ids`, and `labels` with -100 where no loss is."""
    successes: int
    """Rollouts that earned enough."""
    rollouts: int
    duplicates: int
    too_long: int
    enough: int
    """Transcripts left out because their task had its share."""


def examples(rollouts: Iterator[Rollout], settings: SFTSettings) -> Examples:
    """The transcripts of successful rollouts, token for token as they were sampled.

    Raises:
        DataError: no rollout earned enough.
    """
    rows: list[dict[str, list[int]]] = []
    seen: set[tuple[str, tuple[int, ...]]] = set()
    of_task: Counter[str] = Counter()
    total = successes = duplicates = too_long = enough = 0
    for rollout in rollouts:
        total += 1
        if rollout.reward is None or rollout.reward < settings.min_reward:
            continue
        successes += 1
        kept = _with_loss(rollout, settings)
        for row in rows_of(rollout, kept, 1.0):
            ids = row.input_ids.tolist()
            chosen = row.terms.positions[row.terms.weights > 0].tolist()
            key = (rollout.task.id, tuple(ids))
            if len(ids) > settings.max_length:
                too_long += 1
            elif settings.dedupe and key in seen:
                duplicates += 1
            elif settings.per_task and of_task[rollout.task.id] >= settings.per_task:
                enough += 1
            elif chosen:
                seen.add(key)
                of_task[rollout.task.id] += 1
                learned = set(chosen)
                labels = [token if place in learned else -100 for place, token in enumerate(ids)]
                rows.append({"input_ids": ids, "labels": labels})
    if not rows:
        raise DataError(
            f"None of the {total} rollouts of {settings.rollouts} can be learned from: {successes} earned "
            f"{settings.min_reward:g} or more, {too_long} transcripts are longer than max_length; lower min_reward."
        )
    return Examples(rows, successes, total, duplicates, too_long, enough)


def _with_loss(rollout: Rollout, settings: SFTSettings) -> list[float]:
    """1 for each turn that carries loss, else 0."""
    if not settings.accepted_only or len(rollout.memory) != len(rollout.turns):
        return [1.0] * len(rollout.turns)
    return [float(turn["verdict"]["accepted"]) for turn in rollout.memory]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m training.sft",
        usage="%(prog)s [--config FILE] [--SETTING VALUE ...]",
        description="Fine-tune on the planner turns of successful rollouts.",
        epilog="settings, in the YAML file or after it as --SETTING VALUE, which wins:\n\n"
        + described(SFTSettings, GROUPS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of settings")
    options, pairs = parser.parse_known_args(argv)
    try:
        train(load_settings(SFTSettings, options.config, pairs))
    except AgentFlowError as error:
        sys.stderr.write(f"error: {without_credentials(str(error))}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: {said(error, options.config)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on from the last checkpoint\n")
        return 130
    return 0


def train(settings: SFTSettings) -> None:
    """Runs the training, from its last checkpoint if there is one.

    Raises:
        AgentFlowError: what ended it, in one sentence.
        OSError: the disk is full.
    """
    import torch

    from training import ranks
    from training.policy_model import quiet

    quiet()
    found = examples(_rollouts(settings.rollouts), settings)
    sys.stderr.write(
        f"{len(found.rows)} transcripts of {found.successes} successful among {found.rollouts} rollouts "
        f"({found.duplicates} duplicates, {found.too_long} too long and {found.enough} beyond per_task left out)\n"
    )
    folder = Path(settings.out)
    claim(folder, {**plain_values(settings), "command": COMMAND}, may_change=MAY_CHANGE)
    with held(folder):
        trainer = make_trainer(settings, found)
        try:
            trainer.train_from_last_checkpoint()
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"There is not enough memory for {settings.micro_batch} transcripts; lower micro_batch, or turn "
                "gradient_checkpointing on. The same command goes on from the last checkpoint."
            ) from error
    ranks.leave()


def _rollouts(spec: str) -> Iterator[Rollout]:
    for part in spec.split("+"):
        path = Path(part.strip()).expanduser()
        yield from read_rollouts(path / "rollouts" if (path / "rollouts").is_dir() else path)


def make_trainer(settings: SFTSettings, found: Examples) -> PlannerSFTTrainer:
    """TRL's trainer, with our checkpoints and metrics.

    Raises:
        ConfigError: the model cannot be had, or has no such modules.
        DataError: the transcripts are not of this model.
    """
    from datasets import Dataset

    from training.policy_model import load_policy, with_adapter
    from training.sft_trainer import PlannerSFTTrainer

    base, tokenizer = load_policy(settings.model, settings.dtype)
    vocabulary = int(base.config.vocab_size)
    if max(max(row["input_ids"]) for row in found.rows) >= vocabulary:
        raise DataError(
            f"The rollouts of {settings.rollouts} hold tokens that {settings.model} does not know; train the model "
            "that made them."
        )
    model: Any = base
    if settings.lora_rank:
        model = with_adapter(
            base, rank=settings.lora_rank, alpha=settings.lora_alpha, targets=settings.lora_targets, seed=settings.seed
        )
    return PlannerSFTTrainer(model, settings, Dataset.from_list(found.rows), tokenizer)


if __name__ == "__main__":
    sys.exit(main())
