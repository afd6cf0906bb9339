"""Runs the training that a configuration describes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from graph.errors import ConfigError
from training.flow_grpo.config import RESUMABLE, FlowGRPOConfig
from training.flow_grpo.progress import ConsoleProgress, Progress
from training.run.folder import claim, held


def train(config: FlowGRPOConfig, *, progress: Progress | None = None) -> None:
    """Runs the training that a configuration describes, from its last checkpoint.

    Args:
        config: the run's settings.
        progress: what hears how it goes; default: the console.

    Raises:
        AgentFlowError: what ended it, in one sentence.
        OSError: the disk is full.
    """
    from training.flow_grpo.build import make_trainer
    from training.models.policy import quiet
    from training.run import ranks

    quiet()
    folder = Path(config.out)
    # Another number of steps would change a schedule that ends with them.
    fixed = set() if config.lr_scheduler.startswith("constant") else {"steps"}
    claim(folder, config.as_dict(), resumable=RESUMABLE - fixed)
    console = ConsoleProgress(config, quiet=ranks.rank() > 0)  # the first process speaks for all
    with held(folder):
        trainer = make_trainer(config, progress=progress or console)
        with nullcontext() if progress else console:
            try:
                trainer.train_from_last_checkpoint()
                trainer.save_final()
            except (MemoryError, RuntimeError) as error:
                if not _is_about_memory(error):
                    raise
                raise ConfigError(
                    f"There is not enough memory for a gradient over {config.token_budget} tokens; lower token_budget, "
                    "or turn gradient_checkpointing on. The same command goes on from the last checkpoint."
                ) from error
            finally:
                trainer.close()
    ranks.leave()


def _is_about_memory(error: Exception) -> bool:
    """torch has a class of its own for the memory of GPUs, and a plain RuntimeError for that of the machine."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
