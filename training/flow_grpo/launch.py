"""Runs a training."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from graph.errors import ConfigError
from training.flow_grpo.config import RESUMABLE, FlowGRPOConfig
from training.flow_grpo.progress import ConsoleProgress, Progress
from training.rollouts.schedule import MIXED
from training.run.folder import claimed
from training.run.limits import is_out_of_memory, open_more_files


def train(config: FlowGRPOConfig, *, progress: Progress | None = None) -> None:
    """Trains to the end, from the last checkpoint if there is one.

    Args:
        config: settings of the run.
        progress: receives the progress of the run; default: the console.

    Raises:
        AgentFlowError: the run failed; the message says why.
        OSError: the disk is full.
    """
    from training.models.policy import quiet
    from training.run import ranks

    quiet()
    open_more_files()
    folder = Path(config.out)
    # Most schedules depend on the number of steps.
    independent = config.lr_scheduler.startswith("constant") and config.schedule == MIXED
    fixed = set() if independent else {"steps"}
    console = ConsoleProgress(config, quiet=ranks.rank() > 0)  # the first process speaks for all
    with claimed(folder, config.as_dict(), resumable=RESUMABLE - fixed), nullcontext() if progress else console:
        _train(config, progress or console)
    ranks.leave()


def _train(config: FlowGRPOConfig, progress: Progress) -> None:
    from training.flow_grpo.build import make_trainer

    trainer = make_trainer(config, progress=progress)
    try:
        trainer.train_from_last_checkpoint()
        trainer.save_final()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ConfigError(_memory_advice(trainer.config)) from error
    finally:
        trainer.close()


def _memory_advice(config: FlowGRPOConfig) -> str:
    """Why an update ran out of memory with these settings, and what to change."""
    smaller = f"set a smaller token_budget, e.g. {max(1, config.budget // 2)}"
    if config.recomputes:
        change = f"{smaller}, or take a smaller model or shorter transcripts (max_context, max_turns)"
    else:
        change = f"set gradient_checkpointing: true, or {smaller}"
    return (
        f"There is not enough memory for a gradient over {config.budget} tokens; {change}. The same command goes on "
        "from the last checkpoint."
    )
