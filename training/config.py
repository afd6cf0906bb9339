"""Everything that a training run can be told: one flat, typed, frozen object, made from a YAML file and overrides."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from graph.context import Context
from graph.errors import ConfigError
from training.credit import ESTIMATORS, REDUCTIONS
from training.objectives import ObjectiveSettings

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]

S = TypeVar("S")


def _option(description: str, default: Any = MISSING) -> Any:
    metadata = {"description": description}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class FlowGRPOConfig:
    """Settings of one run of Flow-GRPO.

    Raises:
        ConfigError: a value is of the wrong type or out of range, or two do not go together.
    """

    # What is trained
    model: str = _option("The policy: a folder, a Hub name, or a GGUF file (dequantised for training).")
    out: str = _option("Folder of the run: checkpoints, rollouts, metrics.")
    tasks: str = _option("What it trains on: a file, `benchmark:NAME`, or `hub:REPO/PATH`.")
    role: str = _option("The role of the graph that is trained.", "planner")
    agent: str | None = _option("Import path of a function that makes your own agent; default: our graph.", None)
    dtype: Literal["float32", "bfloat16"] = _option("Type of the policy's frozen weights.", "bfloat16")
    lora_rank: Count = _option("Rank of the LoRA adapter; 0 trains all weights.", 16)
    lora_alpha: Positive = _option("Scale of the adapter is lora_alpha / lora_rank.", 32)
    lora_targets: str = _option(
        "Modules that get an adapter, by name and separated by commas, or `all-linear`.", "all-linear"
    )
    gradient_checkpointing: bool = _option("Whether activations are computed again to save memory.", False)

    # The agent around it (see graph.Context)
    agent_model: str | None = _option("Model spec of the frozen roles.", None)
    analyst: str | None = _option("Model of the analyst, if not agent_model.", None)
    executor: str | None = _option("Model of the executor, if not agent_model.", None)
    verifier: str | None = _option("Model of the verifier, if not agent_model.", None)
    generator: str | None = _option("Model of the generator, if not agent_model.", None)
    tools: tuple[str, ...] | None = _option("Tools the planner may choose from, by name or import path.", None)
    corpus: str | None = _option("File or folder that `local_search` searches.", None)
    max_turns: Positive = _option("Turns of a run.", 5)
    max_seconds: AboveZero = _option("Seconds of work of a run.", 300.0)
    max_result_chars: Positive = _option("Longest tool result that is kept.", 2000)
    analyse: bool = _option("Whether the question is analysed, once a group.", True)
    direct_arguments: bool = _option("Whether the planner writes the input of simple tools.", False)
    verify: Literal["model", "rules"] = _option("Who judges each turn.", "model")
    answer: Literal["model", "last_result"] = _option("Who writes the answer.", "model")

    # Rollouts
    steps: Positive = _option("Steps: rollouts, then updates.", 100)
    tasks_per_step: Positive = _option("Tasks of a step.", 8)
    group_size: Annotated[int, Field(ge=2)] = _option("G: runs of each task.", 8)
    replay: str | None = _option("Folder of stored rollouts to train on, step by step, in place of new ones.", None)
    concurrency: Positive | None = _option("Runs at once; default: all of a step.", None)
    temperature: AboveZero = _option("Of the policy's sampling.", 1.0)
    max_tokens: Positive = _option("Most tokens of one of the policy's replies.", 512)
    refill: Count = _option("Further rounds of tasks in place of groups without variance (DAPO).", 0)
    attempts: Positive = _option("Tries of a run while its surroundings fail.", 3)
    tail_fraction: Share | None = _option(
        "Share of a step's runs after whose end the others are hurried (training.tail); null: never.", None
    )
    tail_seconds: AboveZero = _option("Seconds that these then have, and again as many before they are cut off.", 60.0)
    overlap: bool = _option(
        "Whether a step is rolled out, with the policy before it, while the last one updates.", False
    )
    seed: Count = _option("Of everything that is drawn.", 0)
    deterministic: bool = _option("Whether a run can be repeated to the bit on one machine (CPU).", False)

    # Reward
    reward: str = _option("`scorer`, `partial`, `judge:SPEC`, or the import path of a function.", "scorer")
    format_weight: NotNegative = _option("Added times the share of readable plans.", 0.0)
    length_weight: NotNegative = _option("Subtracted times the mean share of max_tokens used.", 0.0)

    # Objective
    estimator: str = _option(f"Of advantages: {', '.join(ESTIMATORS)}.", "grpo")
    reduction: str = _option(f"Of the loss: {', '.join(REDUCTIONS)}.", "flow")
    objective: str = _option("ppo, gspo or cispo.", "ppo")
    clip_low: NotNegative | None = _option("Lower clip; default: the objective's usual value.", None)
    clip_high: NotNegative | None = _option("Upper clip.", None)
    beta: NotNegative = _option("Weight of the KL to the reference.", 0.001)
    tis_cap: AboveZero | None = _option("Cap of the importance weight of trainer to sampler; null: none.", 2.0)
    updates_per_step: Positive = _option("Updates with the same rollouts.", 1)

    # Update
    learning_rate: AboveZero = _option("Peak learning rate.", 1e-6)
    lr_scheduler: str = _option("Schedule, as in transformers' TrainingArguments.", "constant")
    warmup_steps: Count = _option("Steps over which the learning rate rises.", 0)
    weight_decay: NotNegative = _option("Of AdamW.", 0.0)
    max_grad_norm: AboveZero = _option("Gradients are scaled down to this norm.", 1.0)
    packing: Literal["auto", "off"] = _option("`auto`: by prefix tree where the model allows it.", "auto")
    token_budget: Positive = _option("Tokens of one forward and backward pass.", 8192)

    # Engine
    engine: Literal["transformers", "vllm"] = _option("What samples: this process, or a vLLM server.", "transformers")
    vllm_url: str | None = _option(
        "Address of the vLLM server, e.g. http://localhost:8000/v1; several by commas.", None
    )
    vllm_adapters: str | None = _option(
        "Folder for adapter versions, which trainer and vLLM servers see under this path; default: in `out`.", None
    )
    max_context: Positive = _option("Most tokens of a transcript.", 8192)
    max_batch: Positive = _option("Most completions drawn together (transformers).", 64)
    memory_tokens: Positive = _option("Tokens whose keys and values are kept between turns (transformers).", 200_000)

    # Validation, checkpoints, logs
    validation: str | None = _option("Held-out tasks, in the form of `tasks`.", None)
    validation_every: Count = _option("Steps between validations; 0: none.", 0)
    validation_limit: Positive | None = _option("Tasks of a validation, drawn by seed.", None)
    validation_temperature: NotNegative = _option("0 takes the likeliest tokens.", 0.0)
    save_every: Positive = _option("Steps between checkpoints: what is done since the last one is done again.", 1)
    keep: Positive = _option("Checkpoints that are kept.", 3)
    report_to: tuple[str, ...] = _option("tensorboard, wandb, trackio, ...", ())

    def __post_init__(self) -> None:
        check_types(self, lists=("tools", "report_to"))
        self._check()

    def _check(self) -> None:
        for name, known in (("estimator", ESTIMATORS), ("reduction", REDUCTIONS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"The setting `{name}` is {getattr(self, name)!r}; choose one of {', '.join(known)}.")
        self.objective_settings, self.context  # noqa: B018 - both check what they are made of
        problems = {
            "engine: vllm needs vllm_url, the address of the server": self.engine == "vllm" and not self.vllm_url,
            "vllm_url is given, but engine is not vllm": self.engine != "vllm" and bool(self.vllm_url),
            "deterministic needs engine: transformers": self.deterministic and self.engine != "transformers",
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
            "max_tokens must be less than max_context": self.max_tokens >= self.max_context,
            "with lora_rank 0 the servers of vllm_url change at every step; the frozen roles need another server": (
                self.engine == "vllm" and not self.lora_rank and self._frozen_roles_share_the_policys_server()
            ),
            "vllm_adapters is the folder of adapter versions, which engine: vllm with a lora_rank alone has": (
                bool(self.vllm_adapters) and not (self.engine == "vllm" and self.lora_rank)
            ),
        }
        found = next((problem for problem, is_there in problems.items() if is_there), None)
        if found:
            raise ConfigError(f"The settings do not go together: {found}.")

    def _frozen_roles_share_the_policys_server(self) -> bool:
        served = {url.strip().rstrip("/").removesuffix("/v1") for url in (self.vllm_url or "").split(",")}
        specs = (self.agent_model, self.analyst, self.executor, self.verifier, self.generator)
        return any(spec and spec.partition("@")[2].rstrip("/").removesuffix("/v1") in served for spec in specs)

    @property
    def objective_settings(self) -> ObjectiveSettings:
        """The loss."""
        return ObjectiveSettings(self.objective, self.clip_low, self.clip_high, self.beta, self.tis_cap)

    @property
    def context(self) -> Context:
        """The graph's settings."""
        names = ("analyst", "executor", "verifier", "generator", "tools", "corpus", "max_turns", "max_seconds",
                 "max_result_chars", "analyse", "direct_arguments", "verify", "answer")  # fmt: skip
        return Context(model=self.agent_model, **{name: getattr(self, name) for name in names})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return plain_values(self)


def check_types(settings: Any, lists: Sequence[str] = ()) -> None:
    """Brings each value of a frozen dataclass of settings to the type of its field.

    Args:
        settings: the object in the making.
        lists: fields that may be written as one text, separated by commas.

    Raises:
        ConfigError: a value cannot be of its type, or is out of range.
    """
    for name in lists:
        value = getattr(settings, name)
        if isinstance(value, str | list):
            parts = value.split(",") if isinstance(value, str) else value
            object.__setattr__(settings, name, tuple(part.strip() for part in parts if str(part).strip()))
    for name, adapter in _adapters(settings.__class__).items():
        try:
            object.__setattr__(settings, name, adapter.validate_python(getattr(settings, name)))
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Input ").removeprefix("Value ")
            raise ConfigError(f"The setting `{name}` is {getattr(settings, name)!r}; it {said}.") from None


def plain_values(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as plain values, for YAML."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


@functools.cache
def _adapters(kind: type) -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


GROUPS = {
    "model": "What is trained",
    "agent_model": "The agent around it",
    "steps": "Rollouts",
    "reward": "Reward",
    "estimator": "Objective",
    "learning_rate": "Update",
    "engine": "Engine",
    "validation": "Validation, checkpoints, logs",
}
"""Headings of the settings, by the first setting under each."""


def described(kind: type = FlowGRPOConfig, groups: Mapping[str, str] = GROUPS) -> str:
    """All settings with what they mean and their defaults, as text."""
    hints = get_type_hints(kind)
    lines: list[str] = []
    for item in fields(kind):
        if item.name in groups:
            lines += ["", f"{groups[item.name]}:"]
        default = "required" if item.default is MISSING else f"default: {_written(item.default)}"
        choices = _choices(hints[item.name])
        lines.append(f"  --{item.name:<22} {item.metadata['description']} ({choices}{default})")
    return "\n".join(lines[1:])


def _choices(hint: Any) -> str:
    return f"{' or '.join(get_args(hint))}; " if get_origin(hint) is Literal else ""


def _written(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, tuple):
        value = list(value)
    return "null" if value is None else str(yaml.safe_dump(value, default_flow_style=True)).split("\n")[0]


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> FlowGRPOConfig:
    """The configuration of a run of Flow-GRPO; see `load_settings`."""
    return load_settings(FlowGRPOConfig, path, overrides)


def load_settings(kind: type[S], path: Path | None, overrides: Sequence[str] = ()) -> S:
    """A dataclass of settings from a YAML file and `--key value` pairs, which win.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong.
    """
    values = dict(_from_file(path)) if path else {}
    values |= _from_pairs(overrides)
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    unknown = next((name for name in values if name not in known), None)
    if unknown is not None:
        raise ConfigError(f"There is no setting {unknown!r}{_meant(unknown, known)}; --help lists them all.")
    missing = [name for name, item in known.items() if item.default is MISSING and name not in values]
    if missing:
        raise ConfigError(f"The setting `{missing[0]}` is missing: {known[missing[0]].metadata['description']}")
    return kind(**values)


def _meant(name: str, known: Mapping[str, Any]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _from_file(path: Path) -> Mapping[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read ({error.strerror}); check --config.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}," if place else ""
        raise ConfigError(f"The configuration {path}{where} is not YAML; mend it.") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"The configuration {path} must be a list of `setting: value` lines.")
    return {str(key).replace("-", "_"): value for key, value in loaded.items()}


def _from_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    rest = list(pairs)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise ConfigError(f"{word!r} is no setting; write --setting value.")
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"The setting --{name} has no value; write --{name} value.")
            text = rest.pop(0)
        if not text:
            raise ConfigError(f"The setting --{name} has an empty value; write null to leave it unset.")
        values[name.replace("-", "_")] = _value(text)
    return values


def _value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, dict):  # "judge:" is a text here; no setting is a mapping
        return text
    if isinstance(value, str):  # YAML 1.1 takes 1e-6 for a text
        try:
            return float(value)
        except ValueError:
            return value
    return value
