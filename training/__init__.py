"""Train the planner inside the running graph.

What can be run, each with `--help`:

    python -m training.flow_grpo   train with Flow-GRPO
    python -m training.sft         the supervised baseline
    python -m training.validate    measure a policy on held-out tasks, compare two measurements
    python -m training.export      a trained model in Hub format and as GGUF
    python -m training.replay      look at stored rollouts, score them again, take in an app's threads
    python -m training.summary     what a run has come to
    python -m training.plan        memory, tokens and seconds before a run is begun
    python -m training.speed       what an update costs, beside TRL's
    python -m training.gpu_check   what one GPU does, part by part
    python -m training.town        the tasks of a small world to try it in
    python -m training.chronicle   questions for the full graph: a look-up in a made-up corpus, then a computation
    python -m training.vllm_trial  a few steps against a real vLLM server on the CPU

Which folder holds which stage, from the ground up; each knows only those before it (`tests/test_layers.py`):

    algo/       the objective: advantages, token weights, losses
    run/        a run on disk: settings, folder, checkpoints, metrics, processes
    models/     the policy as weights
    engines/    what samples: in this process, or vLLM servers
    rollouts/   runs of the agent: from tasks to rewarded records
    update/     from rollouts to a gradient: rows, packing, attention, log-probabilities
    flow_grpo/  a training run: settings, steps, trainer
    sft/        the supervised one
    recipes/    settings to start from

Your own agent is trained through the protocol `Agent`; `GraphAgent` is ours. A `Rollout` is what a run leaves, its
`PlannerTurn`s token for token.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from _agentflow_shadows import require

require("tools", "graph", "evals")

if TYPE_CHECKING:
    from training.rollouts.agents import Agent, GraphAgent
    from training.rollouts.records import PlannerTurn, Rollout

__all__ = ["Agent", "GraphAgent", "PlannerTurn", "Rollout"]

_HOMES = {
    "Agent": "training.rollouts.agents",
    "GraphAgent": "training.rollouts.agents",
    "PlannerTurn": "training.rollouts.records",
    "Rollout": "training.rollouts.records",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
