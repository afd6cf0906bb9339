"""Everything that a training run can be told: one flat, typed, frozen object, made from a YAML file and overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from graph.context import Context
from graph.errors import ConfigError
from graph.options import option
from training.algo.credit import ESTIMATORS, REDUCTIONS
from training.algo.settings import ObjectiveSettings
from training.engines.base import BASE
from training.engines.kinds import AUTO, ENGINES, VLLM
from training.run.settings import (
    AboveZero,
    Count,
    NotNegative,
    Positive,
    Share,
    check_types,
    load_settings,
    marked,
    plain_values,
)

AGENT_CONFIG = ("configurable", "recursion_limit", "context")
"""What `agent_config` may hold: LangGraph's own words."""


@dataclass(frozen=True, kw_only=True)
class FlowGRPOConfig:
    """Settings of one run of Flow-GRPO.

    Raises:
        ConfigError: a value is of the wrong type or out of range, or two do not go together.
    """

    # What is trained
    model: str = option("The policy: a folder, a Hub name, or a GGUF file (dequantised for training).")
    out: str = option("Folder of the run: checkpoints, rollouts, metrics.")
    tasks: str = option("What it trains on: a file, `benchmark:NAME`, or `hub:REPO/PATH`.")
    role: str | tuple[str, ...] | None = option(
        "The role that is trained, or several by commas; default: the planner of our graph, the only one of your own.",
        None,
        matters=True,
    )
    agent: str | None = option(
        "Import path of a function from chat models to your own LangGraph graph; default: our graph.",
        None,
        matters=True,
    )
    dtype: Literal["float32", "bfloat16"] = option("Type of the policy's frozen weights.", "bfloat16", matters=True)
    lora_rank: Count = option("Rank of the LoRA adapter; 0 trains all weights.", 16)
    lora_alpha: Positive = option("Scale of the adapter is lora_alpha / lora_rank.", 32)
    lora_targets: str = option(
        "Modules that get an adapter, by name and separated by commas, or `all-linear`.", "all-linear"
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "Where the policy is; `auto`: on the GPU that is there.", "auto", resumable=True
    )
    gradient_checkpointing: bool = option("Whether activations are computed again to save memory.", False)

    # The agent around it (see graph.Context)
    agent_model: str | None = option(
        "Model spec of the frozen roles; `base`: the policy's base model, from the policy's own vLLM server.",
        None,
        matters=True,
    )
    analyst: str | None = option("Model of the analyst, if not agent_model.", None, matters=True, context=True)
    executor: str | None = option("Model of the executor, if not agent_model.", None, matters=True, context=True)
    verifier: str | None = option("Model of the verifier, if not agent_model.", None, matters=True, context=True)
    generator: str | None = option("Model of the generator, if not agent_model.", None, matters=True, context=True)
    tools: tuple[str, ...] | None = option(
        "Tools the planner may choose from, by name or import path.", None, matters=True, context=True
    )
    corpus: str | None = option("File or folder that `local_search` searches.", None, matters=True, context=True)
    max_turns: Positive = option("Turns of a run.", 5, matters=True, context=True)
    max_seconds: AboveZero = option("Seconds of work of a run.", 300.0, matters=True, context=True)
    max_result_chars: Positive = option("Longest tool result that is kept.", 2000, matters=True, context=True)
    analyse: bool = option("Whether the question is analysed, once a group.", True, matters=True, context=True)
    direct_arguments: bool = option(
        "Whether the planner writes the input of simple tools.", False, matters=True, context=True
    )
    verify: Literal["model", "rules"] = option("Who judges each turn.", "model", matters=True, context=True)
    answer: Literal["model", "last_result"] = option("Who writes the answer.", "model", matters=True, context=True)
    checks: Literal["auto", "on", "off"] = option(
        "Whether replies are held to the checks for small models.", "on", matters=True, context=True
    )

    # Your own agent (see docs/training-your-agent.md)
    agent_input: str | None = option(
        "Field of its input that takes the question; default: messages, else question.", None, matters=True
    )
    agent_answer: str | None = option(
        "Path of the answer in its final state, e.g. report.title; default: answer, else the last AI message.",
        None,
        matters=True,
    )
    agent_config: dict[str, Any] | None = option(
        "Its configuration: configurable values, recursion_limit, context.", None, matters=True
    )
    agent_resume: str | None = option(
        "Import path of a function that answers its interrupts; default: they are refused.", None, matters=True
    )

    # Rollouts
    steps: Positive = option("Steps: rollouts, then updates.", 100, resumable=True)
    tasks_per_step: Positive = option("Tasks of a step.", 8)
    group_size: Annotated[int, Field(ge=2)] = option("G: runs of each task.", 8)
    replay: str | None = option("Folder of stored rollouts to train on, step by step, in place of new ones.", None)
    concurrency: Positive | None = option("Runs at once; default: all of a step.", None, resumable=True)
    temperature: AboveZero = option("Of the policy's sampling.", 1.0)
    max_tokens: Positive = option("Most tokens of one of the policy's replies.", 512, matters=True)
    refill: Count = option("Further rounds of tasks in place of groups without variance (DAPO).", 0)
    attempts: Positive = option("Tries of a run while its surroundings fail.", 3, resumable=True)
    tail_fraction: Share | None = option(
        "Share of a step's runs after whose end the others are hurried (training.rollouts.tail); null: never.", None
    )
    tail_seconds: AboveZero = option("Seconds that these then have, and again as many before they are cut off.", 60.0)
    overlap: bool = option(
        "Whether a step is rolled out, with the policy before it, while the last one updates.", False
    )
    seed: Count = option("Of everything that is drawn.", 0)
    deterministic: bool = option("Whether a run can be repeated to the bit on one machine (CPU).", False)

    # Reward
    reward: str = option(
        "`scorer`, `exact`, `partial`, `judge:SPEC`, or the import path of a function.", "scorer", matters=True
    )
    format_weight: NotNegative = option("Added times the share of readable plans.", 0.0)
    length_weight: NotNegative = option("Subtracted times the mean share of max_tokens used.", 0.0)

    # Objective
    estimator: str = option(f"Of advantages: {', '.join(ESTIMATORS)}.", "grpo")
    reduction: str = option(f"Of the loss: {', '.join(REDUCTIONS)}.", "flow")
    objective: str = option("ppo, gspo or cispo.", "ppo")
    clip_low: NotNegative | None = option("Lower clip; default: the objective's usual value.", None)
    clip_high: NotNegative | None = option("Upper clip.", None)
    beta: NotNegative = option("Weight of the KL to the reference.", 0.001)
    tis_cap: AboveZero | None = option("Cap of the importance weight of trainer to sampler; null: none.", 2.0)
    updates_per_step: Positive = option("Updates with the same rollouts.", 1)

    # Update
    learning_rate: AboveZero = option("Peak learning rate.", 1e-6)
    lr_scheduler: str = option("Schedule, as in transformers' TrainingArguments.", "constant")
    warmup_steps: Count = option("Steps over which the learning rate rises.", 0)
    weight_decay: NotNegative = option("Of AdamW.", 0.0)
    max_grad_norm: AboveZero = option("Gradients are scaled down to this norm.", 1.0)
    packing: Literal["auto", "off"] = option("`auto`: by prefix tree where the model allows it.", "auto")
    token_budget: Positive = option("Tokens of one forward and backward pass.", 8192, resumable=True)

    # Engine
    engine: str = option(
        "What samples: `vllm` (the servers of vllm_url, or one that the run starts), `transformers` (this process), or "
        "`auto`: vllm where it is given or can be started.",
        AUTO,
        resumable=True,
    )
    vllm_url: str | None = option(
        "Address of the vLLM server, e.g. http://localhost:8000/v1; several by commas.", None, resumable=True
    )
    vllm_adapters: str | None = option(
        "Folder for adapter versions, which trainer and vLLM servers see under this path; default: in `out`.",
        None,
        resumable=True,
    )
    vllm_command: str = option(
        "Program that a server of the run's own is started with, where vLLM has an environment of its own.",
        "vllm",
        resumable=True,
    )
    vllm_options: str = option(
        "Further options of `vllm serve` for such a server, e.g. --gpu-memory-utilization 0.4.", "", resumable=True
    )
    max_context: Positive = option("Most tokens of a transcript.", 8192, matters=True)
    max_batch: Positive = option("Most completions drawn together (transformers).", 64, resumable=True)
    memory_tokens: Positive = option(
        "Tokens whose keys and values are kept between turns (transformers).", 200_000, resumable=True
    )

    # Validation, checkpoints, logs
    validation: str | None = option("Held-out tasks, in the form of `tasks`.", None)
    validation_every: Count = option("Steps between validations; 0: none.", 0, resumable=True)
    validation_limit: Positive | None = option("Tasks of a validation, drawn by seed.", None)
    validation_temperature: NotNegative = option("0 takes the likeliest tokens.", 0.0, matters=True)
    save_every: Positive = option(
        "Steps between checkpoints: what is done since the last one is done again.", 1, resumable=True
    )
    keep: Positive = option("Checkpoints that are kept.", 3, resumable=True)
    report_to: tuple[str, ...] = option("tensorboard, wandb, trackio, ...", (), resumable=True)

    def __post_init__(self) -> None:
        if self.role is None and self.agent is None:
            object.__setattr__(self, "role", "planner")
        if isinstance(self.role, str) and "," in self.role:
            object.__setattr__(self, "role", self.role.split(","))
        check_types(self, lists=("tools", "report_to"), mappings=("agent_config",))
        self._check()

    def _check(self) -> None:
        for name, choices in (("estimator", ESTIMATORS), ("reduction", REDUCTIONS), ("engine", (AUTO, *ENGINES))):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"The setting `{name}` is {getattr(self, name)!r}; choose one of {', '.join(choices)}."
                )
        self.objective_settings, self.context  # noqa: B018 - both check what they are made of
        problems = {
            **self._engine_problems(),
            "deterministic needs concurrency to be left unset": self.deterministic and self.concurrency is not None,
            "deterministic needs tail_fraction to be left unset: the clock would decide": (
                self.deterministic and self.tail_fraction is not None
            ),
            "deterministic cannot be kept with overlap: after a resume the first step would have another policy": (
                self.deterministic and self.overlap
            ),
            "replay makes no rollouts that could overlap with updates": bool(self.replay) and self.overlap,
            "validation_every needs validation, the held-out tasks": bool(self.validation_every)
            and not self.validation,
            "validation_limit is given without validation": bool(self.validation_limit) and not self.validation,
            "refill asks for new rollouts, whose place replay takes": bool(self.refill) and bool(self.replay),
            "agent_input, agent_answer, agent_config and agent_resume are of an agent of your own; set agent": (
                self.agent is None and any((self.agent_input, self.agent_answer, self.agent_config, self.agent_resume))
            ),
            f"agent_config may hold {', '.join(AGENT_CONFIG)}, and nothing else": (
                not set(self.agent_config or ()) <= set(AGENT_CONFIG)
            ),
            "max_tokens must be less than max_context": self.max_tokens >= self.max_context,
            "with lora_rank 0 the policy's servers change at every step; the frozen roles need another server": (
                not self.lora_rank and self._frozen_roles_share_the_policys_server()
            ),
            "vllm_adapters is the folder of adapter versions, and lora_rank 0 trains none": (
                bool(self.vllm_adapters) and not self.lora_rank
            ),
        }
        problem = next((problem for problem, holds in problems.items() if holds), None)
        if problem:
            raise ConfigError(f"The settings do not go together: {problem}.")

    def _engine_problems(self) -> dict[str, bool]:
        """What keeps the engine from these settings, and whether it does."""
        if self.engine == AUTO:
            return {f"deterministic cannot be kept with {VLLM}, whose vllm_url is given": (
                self.deterministic and bool(self.vllm_url)
            )}  # fmt: skip
        kind = ENGINES[self.engine]
        foreign = {
            f"{setting} is given, but engine is not {name}": bool(getattr(self, setting))
            for name, other in ENGINES.items()
            if other is not kind
            for setting in other.settings
        }
        reproducible = " or ".join(name for name, other in ENGINES.items() if other.reproducible)
        return foreign | {
            f"deterministic needs engine: {reproducible}": self.deterministic and not kind.reproducible,
            f"engine: {VLLM} with lora_rank 0 needs vllm_url, a server with a GPU of its own": (
                kind.served and not self.lora_rank and not self.vllm_url
            ),
            "agent_model: base is served by the policy's vLLM server, which engine: transformers has not": (
                not kind.served and BASE in self.frozen_models
            ),
        }

    def _frozen_roles_share_the_policys_server(self) -> bool:
        served = {url.strip().rstrip("/").removesuffix("/v1") for url in (self.vllm_url or "").split(",")}
        specs = self.frozen_models
        return BASE in specs or any(spec.partition("@")[2].rstrip("/").removesuffix("/v1") in served for spec in specs)

    @property
    def frozen_models(self) -> tuple[str, ...]:
        """Model specs of the frozen roles, as far as they are given."""
        return tuple(spec for name in FROZEN if (spec := getattr(self, name)))

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are trained; empty for the only one of an agent of one's own."""
        return (self.role,) if isinstance(self.role, str) else self.role or ()

    @property
    def objective_settings(self) -> ObjectiveSettings:
        """The loss."""
        return ObjectiveSettings(self.objective, self.clip_low, self.clip_high, self.beta, self.tis_cap)

    @property
    def context(self) -> Context:
        """The graph's settings."""
        return Context(model=self.agent_model, **{name: getattr(self, name) for name in _CONTEXT})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return plain_values(self)


FROZEN = ("agent_model", "analyst", "executor", "verifier", "generator")
"""Settings that name the models of frozen roles."""

RESUMABLE = marked(FlowGRPOConfig, "resumable")
MATTERS = marked(FlowGRPOConfig, "matters")
_CONTEXT = marked(FlowGRPOConfig, "context")

GROUPS = {
    "model": "What is trained",
    "agent_model": "The agent around it",
    "agent_input": "Your own agent (see docs/training-your-agent.md)",
    "steps": "Rollouts",
    "reward": "Reward",
    "estimator": "Objective",
    "learning_rate": "Update",
    "engine": "Engine",
    "validation": "Validation, checkpoints, logs",
}
"""Headings of the settings, by the first setting under each."""


def load_config(path: Path | None, overrides: Mapping[str, Any] | None = None) -> FlowGRPOConfig:
    """The configuration of a run of Flow-GRPO from a YAML file and overrides, which win.

    Raises:
        ConfigError: the file cannot be read, or a name or value is wrong.
    """
    return load_settings(FlowGRPOConfig, path, overrides or {})
