"""The settings of a training run: one flat, typed, frozen object, read from a YAML file and overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from graph.context import Context
from graph.errors import ConfigError
from graph.options import option
from training.algo.credit import BROADCAST, CREDITS, ESTIMATORS, GROUPINGS, REDUCTIONS, ROLLOUT_TREE
from training.algo.settings import ObjectiveSettings
from training.engines.base import BASE
from training.engines.kinds import AUTO, ENGINES, VLLM
from training.models.adapters import SHARED
from training.rollouts.schedule import MIXED, SCHEDULES
from training.run.settings import (
    MOST_OF_A_TASK,
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

HTTP = "http"
"""Value of `agent` for a program or service that calls the policy over HTTP."""

OF_OWN_AGENT = ("agent_input", "agent_answer", "agent_config", "agent_resume", "agent_models")
"""Settings that our own graph does not have."""

USUAL_BUDGET = 8192
"""Tokens of a micro-batch where nothing speaks for another number."""

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
    tasks: str = option("Training tasks: a file, `benchmark:NAME`, or `hub:REPO/PATH`.")
    warm_start: str | None = option(
        "Trained weights to start from, instead of an untrained policy: a run's folder, a checkpoint or an adapter; "
        "the KL penalty still refers to `model`.",
        None,
    )
    role: str | tuple[str, ...] | None = option(
        "The role to train; separate several by commas. Default: the planner of our graph, or the only role of yours.",
        None,
        matters=True,
    )
    policies: Literal["shared", "per_role"] = option(
        "Whether one adapter plays all trained roles, or each has an adapter of its own.", "shared", matters=True
    )
    agent: str | None = option(
        "Import path of a function that makes your LangGraph graph from chat models, or `http` for a program or "
        "service in any framework; default: our graph.",
        None,
        matters=True,
    )
    dtype: Literal["float32", "bfloat16"] = option("Data type of the frozen weights.", "bfloat16", matters=True)
    lora_rank: Count = option("Rank of the LoRA adapter; 0 trains all weights.", 16)
    lora_alpha: Positive = option("The adapter is scaled by lora_alpha / lora_rank.", 32)
    lora_targets: str = option("Modules with an adapter, separated by commas, or `all-linear`.", "all-linear")
    device: Literal["auto", "cpu", "cuda"] = option(
        "Device of the policy; `auto` takes a GPU if there is one.", "auto", resumable=True
    )
    gradient_checkpointing: bool | Literal["auto"] = option(
        "Whether the backward pass recomputes activations, to save memory; `auto`: if they do not fit otherwise.",
        AUTO,
        resumable=True,
    )

    # The agent around it (see graph.Context)
    agent_model: str | None = option(
        "Model of the frozen roles; `base` is the policy's base model, on the policy's own vLLM server.",
        None,
        matters=True,
    )
    analyst: str | None = option("Model of the analyst, if not agent_model.", None, matters=True, context=True)
    executor: str | None = option("Model of the executor, if not agent_model.", None, matters=True, context=True)
    verifier: str | None = option("Model of the verifier, if not agent_model.", None, matters=True, context=True)
    generator: str | None = option("Model of the generator, if not agent_model.", None, matters=True, context=True)
    tools: tuple[str, ...] | None = option(
        "Tools for the planner, by name or import path.", None, matters=True, context=True
    )
    corpus: str | None = option("File or folder that `local_search` searches.", None, matters=True, context=True)
    max_turns: Positive = option("Maximum number of turns in a run.", 5, matters=True, context=True)
    max_seconds: AboveZero = option("Time budget of a run, in seconds.", 300.0, matters=True, context=True)
    max_result_chars: Positive = option(
        "Longest tool result kept in memory, in characters.", 2000, matters=True, context=True
    )
    analyse: bool = option("Whether the question is analysed first, once per group.", True, matters=True, context=True)
    justify: bool = option("Whether the planner justifies each step.", True, matters=True, context=True)
    direct_arguments: bool = option(
        "Whether the planner itself writes the input of tools that take one text.", False, matters=True, context=True
    )
    verify: Literal["model", "rules"] = option(
        "Whether a model judges each turn, or rules alone.", "model", matters=True, context=True
    )
    answer: Literal["model", "last_result"] = option(
        "Whether a model writes the answer, or the last accepted result is the answer.",
        "model",
        matters=True,
        context=True,
    )
    checks: Literal["auto", "on", "off"] = option(
        "Whether replies must pass the checks for small models.", "on", matters=True, context=True
    )

    # Your own agent (see docs/training-your-agent.md)
    agent_models: dict[str, str] | None = option(
        "Models of its frozen roles, where not agent_model, e.g. {solver: ollama:qwen2.5:7b}.", None, matters=True
    )
    agent_input: str | None = option(
        "Input field for the question; default: messages, else question.", None, matters=True
    )
    agent_answer: str | None = option(
        "Path of the answer in the final state, e.g. report.title; default: answer, else the last AI message.",
        None,
        matters=True,
    )
    agent_config: dict[str, Any] | None = option(
        "Its run configuration: configurable values, recursion_limit, context.", None, matters=True
    )
    agent_resume: str | None = option(
        "Import path of a function that answers its interrupts; default: interrupts are refused.", None, matters=True
    )

    # An agent in any framework (agent: http; see docs/training-your-agent.md)
    agent_command: str | None = option(
        "Command that runs your agent once, e.g. 'python my_agent.py'; started for each run.", None, matters=True
    )
    agent_url: str | None = option("Address of your agent's service, which takes tasks by POST.", None, matters=True)
    agent_listen: str = option(
        "Address at which the policy is served to your agent; another than the default opens it to the network.",
        "127.0.0.1",
        resumable=True,
    )
    agent_env: tuple[str, ...] = option(
        "Environment variables that your agent's command gets although they look like keys.", (), resumable=True
    )
    agent_calls: Positive = option(
        "Most model calls in a run of your own agent, graph or program; further ones are refused.", 100, matters=True
    )

    # Rollouts
    steps: Positive = option("Number of steps; each makes rollouts, then updates the policy.", 100, resumable=True)
    tasks_per_step: Positive = option("Tasks per step.", 8)
    schedule: str = option(
        "Order of the tasks: `mixed`, or `by_difficulty`, the easy ones first and all of them from half of the steps "
        "on (a task's `difficulty`, else its number of `steps`).",
        MIXED,
    )
    group_size: Annotated[int, Field(ge=2, le=MOST_OF_A_TASK)] = option("Runs of each task (G).", 8)
    replay: str | None = option("Folder of stored rollouts to train on instead of new ones, step by step.", None)
    concurrency: Positive | None = option(
        "Runs at once in all processes; default: a whole step, max_batch in engine transformers.", None, resumable=True
    )
    rollout_processes: Positive | Literal["auto"] = option(
        "Processes for rollouts; auto: one per 128 rollouts at once, on half of the cores; 1 with engine transformers.",
        "auto",
        resumable=True,
    )
    temperature: AboveZero = option("Sampling temperature of the policy.", 1.0)
    max_tokens: Positive = option("Longest reply of the policy, in tokens.", 512, matters=True)
    refill: Count = option("Times that a group without variance is replaced by another task's (DAPO).", 0)
    attempts: Positive = option("Attempts at a run when a server or service fails.", 3, resumable=True)
    tail_fraction: Share | None = option(
        "Fraction of a step's runs after which stragglers are hurried (training.rollouts.tail); null: never.", None
    )
    tail_seconds: AboveZero = option("Grace period in seconds; stragglers are cancelled after twice as long.", 60.0)
    overlap: bool = option(
        "Whether the next step's rollouts run during an update, with a policy one step older.", False
    )
    seed: Count = option("Seed of every random draw.", 0)
    deterministic: bool = option("Whether a run is bit-for-bit reproducible on one machine (CPU).", False)

    # Reward
    reward: str = option(
        "`scorer`, `exact`, `partial`, `judge:SPEC`, or the import path of a function.", "scorer", matters=True
    )
    format_weight: NotNegative = option("Bonus for well-formed plans: this times their share.", 0.0)
    length_weight: NotNegative = option("Penalty for length: this times the mean share of max_tokens used.", 0.0)

    # Objective
    estimator: str = option(f"Advantage estimator: {', '.join(ESTIMATORS)}.", "grpo")
    grouping: str = option(f"Which turns are compared where several roles are trained: {', '.join(GROUPINGS)}.", "role")
    credit: str = option(
        "What a turn is credited with: `broadcast`, its run's outcome, or `rollout_tree`, the outcomes of all runs "
        "that did the same in the same state (RTMC).",
        BROADCAST,
    )
    reduction: str = option(f"How token losses are averaged: {', '.join(REDUCTIONS)}.", "flow")
    objective: str = option("Policy objective: ppo, gspo or cispo.", "ppo")
    clip_low: NotNegative | None = option("Lower clip range; default: the usual value of the objective.", None)
    clip_high: NotNegative | None = option("Upper clip range; default: the usual value of the objective.", None)
    beta: NotNegative = option("Weight of the KL penalty.", 0.001)
    tis_cap: AboveZero | None = option(
        "Cap of the importance weight between trainer and sampler; null: no such weight.", 2.0
    )
    updates_per_step: Positive = option("Updates per step, all on the same rollouts.", 1)

    # Update
    learning_rate: AboveZero = option("Peak learning rate.", 1e-6)
    lr_scheduler: str = option("Learning rate schedule, as in transformers' TrainingArguments.", "constant")
    warmup_steps: Count = option("Updates over which the learning rate rises to its peak, whatever the schedule.", 0)
    weight_decay: NotNegative = option("Weight decay of AdamW.", 0.0)
    max_grad_norm: AboveZero = option("Largest gradient norm; larger gradients are scaled down.", 1.0)
    packing: Literal["auto", "off"] = option("`auto` packs rows by prefix tree if the model allows it.", "auto")
    token_budget: Positive | Literal["auto"] = option(
        "Tokens per micro-batch; `auto`: what suits the free memory.", AUTO, resumable=True
    )

    # Engine
    engine: str = option(
        "Sampling engine: `vllm` (the servers of vllm_url, or one that the run starts), `transformers` (in this "
        "process), or `auto`: vllm if vllm_url is set or a server can be started.",
        AUTO,
        resumable=True,
    )
    vllm_url: str | None = option(
        "Address of the vLLM server, e.g. http://localhost:8000/v1; separate several by commas.", None, resumable=True
    )
    vllm_adapters: str | None = option(
        "Folder for adapter versions, at the same path for trainer and vLLM servers; default: inside `out`.",
        None,
        resumable=True,
    )
    vllm_command: str = option(
        "Program that starts the run's own server, if vLLM is installed in another environment.",
        "vllm",
        resumable=True,
    )
    vllm_options: str = option(
        "Extra options for `vllm serve` of the run's own server, e.g. --gpu-memory-utilization 0.4.", "", resumable=True
    )
    max_context: Positive = option("Longest transcript, in tokens.", 8192, matters=True)
    max_batch: Positive = option("Largest sampling batch, in completions (engine transformers).", 64, resumable=True)
    memory_tokens: Positive = option(
        "Tokens of KV cache kept between turns (engine transformers).", 200_000, resumable=True
    )

    # Validation, checkpoints, logs
    validation: str | None = option("Held-out tasks, written as `tasks` is.", None)
    validation_every: Count = option("Steps between validations; 0: no validation.", 0, resumable=True)
    validation_limit: Positive | None = option("Number of validation tasks, sampled by `seed`; default: all.", None)
    validation_temperature: NotNegative = option("Sampling temperature of validations; 0 is greedy.", 0.0, matters=True)
    save_every: Positive = option(
        "Steps between checkpoints; an interrupted run repeats the steps since the last one.", 1, resumable=True
    )
    keep: Positive = option("Number of checkpoints to keep.", 3, resumable=True)
    report_to: tuple[str, ...] = option("Trackers: tensorboard, wandb, trackio, ...", (), resumable=True)

    def __post_init__(self) -> None:
        if self.role is None and self.agent is None:
            object.__setattr__(self, "role", "planner")
        if isinstance(self.role, str) and "," in self.role:
            object.__setattr__(self, "role", tuple(name.strip() for name in self.role.split(",")))
        check_types(self, lists=("tools", "report_to", "agent_env"), mappings=("agent_config", "agent_models"))
        self._check()

    def _check(self) -> None:
        for name, choices in (
            ("estimator", ESTIMATORS),
            ("grouping", GROUPINGS),
            ("credit", CREDITS),
            ("schedule", SCHEDULES),
            ("reduction", REDUCTIONS),
            ("engine", (AUTO, *ENGINES)),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"The setting `{name}` is {getattr(self, name)!r}; choose one of {', '.join(choices)}."
                )
        self.objective_settings, self.context  # noqa: B018 - both check their values
        problems = {
            **self._engine_problems(),
            "deterministic needs concurrency unset": self.deterministic and self.concurrency is not None,
            "deterministic needs tail_fraction unset, since that depends on the clock": (
                self.deterministic and self.tail_fraction is not None
            ),
            "deterministic excludes overlap, since the first step after a resume would use another policy": (
                self.deterministic and self.overlap
            ),
            "overlap needs new rollouts, and replay makes none": bool(self.replay) and self.overlap,
            "validation_every needs validation, the held-out tasks": bool(self.validation_every)
            and not self.validation,
            "validation_limit is set without validation": bool(self.validation_limit) and not self.validation,
            "refill needs new rollouts, and replay makes none": bool(self.refill) and bool(self.replay),
            f"credit: {ROLLOUT_TREE} compares the turns of one state, so grouping has no use": (
                self.credit == ROLLOUT_TREE and self.grouping != "role"
            ),
            f"credit: {ROLLOUT_TREE} needs estimator grpo or no_std": (
                self.credit == ROLLOUT_TREE and self.estimator not in ("grpo", "no_std")
            ),
            "replay has its own order of tasks, so schedule has no use": (bool(self.replay) and self.schedule != MIXED),
            f"{', '.join(OF_OWN_AGENT)} are of an agent of your own; set agent": (
                self.agent is None and any(getattr(self, name) for name in OF_OWN_AGENT)
            ),
            **self._http_problems(),
            "role is empty; name one, or leave it out": self.role is not None and not all(self.roles or ("",)),
            "a role is named twice in role": len(set(self.roles)) < len(self.roles),
            "policies: per_role needs several roles in role": self.policies == "per_role" and len(self.roles) < 2,
            "policies: per_role needs adapters; set lora_rank": bool(self.adapters) and not self.lora_rank,
            f"with policies: per_role no role can be called {SHARED}": SHARED in self.adapters,
            f"agent_config may hold {', '.join(AGENT_CONFIG)}, and nothing else": (
                not set(self.agent_config or ()) <= set(AGENT_CONFIG)
            ),
            "max_tokens must be less than max_context": self.max_tokens >= self.max_context,
            "with lora_rank 0 the policy's servers change at every step, so the frozen roles need another server": (
                not self.lora_rank and self._frozen_roles_share_the_policys_server()
            ),
            "vllm_adapters is a folder for adapters, and lora_rank 0 trains none": (
                bool(self.vllm_adapters) and not self.lora_rank
            ),
        }
        problem = next((problem for problem, holds in problems.items() if holds), None)
        if problem:
            raise ConfigError(f"The settings do not go together: {problem}.")

    def _http_problems(self) -> dict[str, bool]:
        """Reasons why an agent that asks over HTTP cannot work with these settings, and whether each holds."""
        over_http = self.agent == HTTP
        graphs = [
            name for name in ("agent_model", "agent_input", "agent_config", "agent_resume") if getattr(self, name)
        ]
        http = [name for name in ("agent_command", "agent_url", "agent_env") if getattr(self, name)]
        return {
            "agent: http needs either agent_command or agent_url, not both": (
                over_http and bool(self.agent_command) == bool(self.agent_url)
            ),
            f"{' and '.join(graphs)} apply to graphs, and agent is http": over_http and bool(graphs),
            f"{' and '.join(http)} apply to agent: http": not over_http and bool(http),
        }

    def _engine_problems(self) -> dict[str, bool]:
        """Reasons why the engine cannot work with these settings, and whether each holds."""
        if self.engine == AUTO:
            return {f"deterministic excludes {VLLM}, and vllm_url is set": (
                self.deterministic and bool(self.vllm_url)
            )}  # fmt: skip
        kind = ENGINES[self.engine]
        foreign = {
            f"{setting} is set, but engine is not {name}": bool(getattr(self, setting))
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
            "agent_model: base needs the policy's vLLM server, which engine: transformers does not have": (
                not kind.served and BASE in self.frozen_models
            ),
        }

    def _frozen_roles_share_the_policys_server(self) -> bool:
        served = {url.strip().rstrip("/").removesuffix("/v1") for url in (self.vllm_url or "").split(",")}
        specs = self.frozen_models
        return BASE in specs or any(spec.partition("@")[2].rstrip("/").removesuffix("/v1") in served for spec in specs)

    @property
    def frozen_models(self) -> tuple[str, ...]:
        """Model specs of the frozen roles that are set."""
        return (*(spec for name in FROZEN if (spec := getattr(self, name))), *(self.agent_models or {}).values())

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are trained; empty for the only one of an agent of one's own."""
        return (self.role,) if isinstance(self.role, str) else self.role or ()

    @property
    def several_roles(self) -> tuple[str, ...]:
        """The roles that are trained where there are several; none where there is one."""
        return self.roles if len(self.roles) > 1 else ()

    @property
    def adapters(self) -> tuple[str, ...]:
        """The roles that have an adapter of their own; none where one adapter plays all."""
        return self.roles if self.policies == "per_role" else ()

    @property
    def budget(self) -> int:
        """Tokens per micro-batch; the usual number while `auto` stands for one that has not been chosen."""
        return USUAL_BUDGET if self.token_budget == AUTO else int(self.token_budget)

    @property
    def recomputes(self) -> bool:
        """Whether activations are recomputed in the backward pass; not while `auto` has not been decided."""
        return self.gradient_checkpointing is True

    @property
    def starts_server(self) -> bool:
        """Whether the run starts a vLLM server of its own."""
        return self.engine == VLLM and not self.vllm_url

    @property
    def objective_settings(self) -> ObjectiveSettings:
        """The loss."""
        return ObjectiveSettings(self.objective, self.clip_low, self.clip_high, self.beta, self.tis_cap)

    @property
    def context(self) -> Context:
        """The graph's settings."""
        return Context(model=self.agent_model, **{name: getattr(self, name) for name in CONTEXT})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return plain_values(self)


FROZEN = ("agent_model", "analyst", "executor", "verifier", "generator")
"""Settings that name the models of frozen roles."""

RESUMABLE = marked(FlowGRPOConfig, "resumable")
MATTERS = marked(FlowGRPOConfig, "matters")
CONTEXT = marked(FlowGRPOConfig, "context")

GROUPS = {
    "model": "What is trained",
    "agent_model": "The agent around it",
    "agent_models": "Your own agent (see docs/training-your-agent.md)",
    "agent_command": "An agent in any framework (agent: http; see docs/training-your-agent.md)",
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
