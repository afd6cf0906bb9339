"""Flow-GRPO: train the planner inside the running graph. `python -m training.flow_grpo`, or:

train(FlowGRPOConfig(model="...", tasks="train.jsonl", out="runs/mine"))

config.py     settings
memory.py     bytes that trainer and server need on each GPU
lengths.py    what rollouts are taken to be like before any was made
micro_batches.py  their size by the memory that is free
update_memory.py  the memory of updates: planned, measured, made to do
own_server.py  the vLLM server that a run starts for itself
launch.py     runs the training that settings describe
agent.py      the agent that the settings name: ours, a function of one's own, or an object
collectors.py  what rolls out: in the trainer's process or several others
build.py      from settings to a trainer: model, engine, agent, reward, tasks
steps.py      a step up to its gradient: roll out, refill, credit, lay out
trainer.py    the update, on transformers' trainer
progress.py   what a run tells while it goes on, and the console
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.flow_grpo.config import FlowGRPOConfig
    from training.flow_grpo.launch import train

__all__ = ["FlowGRPOConfig", "train"]

_HOMES = {"FlowGRPOConfig": "training.flow_grpo.config", "train": "training.flow_grpo.launch"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
