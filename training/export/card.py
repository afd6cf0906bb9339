"""The README of an exported policy: base model, training, measurements and use.

It states only what is in the run's folder: the settings, and the figures of `metrics.jsonl`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from graph.models.download import MODEL_FILES

_FIGURES = {
    "reward": "mean reward of a rollout",
    "pass_rate": "share of rollouts with the right answer",
    "turns": "turns of a rollout",
    "completion_tokens": "tokens of a reply",
    "rejected_turns": "share of rejected turns",
    "failed_turns": "share of turns with a tool call that failed or could not be read",
    "entropy": "entropy of the policy, nats a token",
    "kl": "KL to the base, nats a token",
    "eval/pass_rate": "held-out tasks solved",
    "eval/valid_format": "held-out runs whose replies all had the form",
    "eval/right_tool": "held-out runs with the right tools",
    "eval/right_input": "held-out runs with the right tools and inputs",
    "loss": "loss",
}
AGENT = ("tools", "max_turns", "direct_arguments", "analyse", "justify", "verify", "answer", "checks", "agent_model")
"""Settings of the agent in which the policy was trained."""

_SHOWN = (
    "tasks", "rollouts", "agent", "role", "policies",
    "steps", "tasks_per_step", "group_size", "temperature", "max_tokens", "reward",
    "estimator", "objective", "reduction", "beta", "epochs", "batch_size", "min_reward", "learning_rate", "lora_rank",
    "lora_alpha", "lora_targets", "dtype", "seed", *AGENT,
)  # fmt: skip


def model_card(
    name: str,
    settings: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    *,
    update: int | None,
    files: Sequence[str],
    licence: str | None = None,
) -> str:
    """A model card in Markdown with its YAML front matter.

    Args:
        name: of the exported folder.
        settings: of the run.
        metrics: lines of its `metrics.jsonl`, up to the exported checkpoint.
        update: number of the checkpoint, if known.
        files: names of GGUF files and `adapter`, if in the folder.
        licence: of the base model, from its own file.
    """
    base = base_name(str(settings["model"]))
    supervised = settings.get("command") == "training.sft"
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if "/" in base:
        front |= {"base_model": base, "base_model_relation": "finetune"}
    if licence:
        front["license"] = licence
    roles = roles_in(settings)
    front["tags"] = ["agentflow", *roles, "sft" if supervised else "flow-grpo"]
    method = (
        "fine-tuned on the planner turns of successful rollouts (supervised)"
        if supervised
        else "trained inside the running agent with Flow-GRPO (arXiv 2510.05592)"
    )
    at = f", checkpoint {update}" if update is not None else ""
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {name}",
        f"The {' and '.join(roles) or 'policy'} of {_agent(settings)}: {base}, {method}{at}. {_purpose(settings)}",
        "## Settings\n\n| setting | value |\n| --- | --- |\n" + "\n".join(_settings(settings)),
        _measured(metrics),
        _use(settings, files),
        f"## Licence\n\nThat of the base model, {base}, holds"
        + (f": {licence}." if licence else "; add it here and as `license` above before publishing."),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def base_name(spec: str) -> str:
    """The public name of the base model: on the Hub, or the bare name of the file or folder."""
    file = Path(spec).name
    repo = next((f"{entry.repo}" for entry in MODEL_FILES.values() if entry.filename == file), None)
    is_path = spec.endswith(".gguf") or spec.startswith(("/", ".", "~")) or spec.count("/") != 1 or Path(spec).is_dir()
    return repo or (file if is_path else spec)


def roles_in(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles that a run's settings name; the planner where a run of our graph names none."""
    role = settings.get("role") or ("" if settings.get("agent") else "planner")
    return tuple(filter(None, [role] if isinstance(role, str) else role))


def _agent(settings: Mapping[str, Any]) -> str:
    return f"the agent `{settings['agent']}`" if settings.get("agent") else "an AgentFlow agent"


def _purpose(settings: Mapping[str, Any]) -> str:
    if settings.get("agent"):
        return "It was trained with that agent's prompts and tools; with others it may do worse."
    if roles_in(settings) == ("planner",):
        return "It plans one tool call at a time, in the format of its system prompt; it is not a chat model."
    return "It keeps to the formats of the prompts of these roles; it is not a chat model."


def _settings(settings: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in _SHOWN:
        value = settings.get(name)
        if value is None or value == "":
            continue
        if name in ("tasks", "rollouts"):
            value = " + ".join(_without_folders(part.strip()) for part in str(value).split("+"))
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        lines.append(f"| {name} | {shown} |")
    return lines


def _without_folders(spec: str) -> str:
    """A file's name without its folders; names of benchmarks and of the Hub unchanged."""
    return spec if spec.startswith(("benchmark:", "hub:")) else "/".join(Path(spec).parts[-2:]).lstrip("/")


def _measured(metrics: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for name, words in _FIGURES.items():
        values = [line for line in metrics if isinstance(line.get(name), int | float)]
        if values:
            first, last = values[0], values[-1]
            cells = [f"{line[name]:.4g} (update {line.get('update', '?')})" for line in (first, last)]
            lines.append(f"| {words} | {' | '.join(cells)} |")
    if not lines:
        return ""
    head = "## Measured while training\n\n| figure | first | last |\n| --- | --- | --- |\n"
    return head + "\n".join(lines) + "\n\nFrom the log of one run, which does not prove a gain."


def _use(settings: Mapping[str, Any], files: Sequence[str]) -> str:
    own = settings.get("agent")
    parts = ["## Use", "PATH is this folder."]
    if not own and any(file.endswith(".gguf") for file in files):
        command = f'python -m graph "QUESTION" {agent_options(settings, "PATH")}'
        parts.append(f"In the agent, with llama.cpp in the same process:\n\n```bash\n{command}\n```")
    served = serve_command(settings, "PATH")
    if not own:
        served += f'\npython -m graph "QUESTION" {agent_options(settings)}'
    parts.append(f"Served by vLLM:\n\n```bash\n{served}\n```")
    parts.append(
        "With transformers:\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained("PATH")\nmodel = AutoModelForCausalLM.from_pretrained("PATH")\n```'
    )
    if "adapter" in files:
        parts.append(
            "`adapter/` holds the LoRA adapter alone, for the base model named above (PEFT, vLLM's `--enable-lora`)."
        )
    if not own:
        parts.append(
            "It was trained with the prompts of `graph/prompts/`; with other prompts or tools it may do worse."
        )
    return "\n\n".join(parts)


def serve_command(settings: Mapping[str, Any], folder: str) -> str:
    """Serves an exported folder by vLLM, under the name that `agent_options` asks for."""
    return f"vllm serve {folder} --served-model-name {_served_name(settings)} --generation-config vllm"


def _served_name(settings: Mapping[str, Any]) -> str:
    return "-".join(roles_in(settings)) or "policy"


def _switch(name: str, setting: bool | None) -> str:
    """An option that is on unless the setting says otherwise. It is always said: its default differs between models."""
    return f"--{'no-' * (setting is False)}{name}"


def agent_options(settings: Mapping[str, Any], spec: str = "") -> str:
    """Options of `python -m graph` and `python -m evals run` that ask the trained model as it was trained.

    Args:
        settings: of the run.
        spec: of the model; empty: as `serve_command` serves it.
    """
    spec = spec or f"vllm:{_served_name(settings)}@http://localhost:8000/v1"
    options = [f"--{role}-model {spec}" for role in roles_in(settings)]
    if settings.get("direct_arguments"):
        options.append("--direct-arguments")
    options.append(_switch("analysis", settings.get("analyse")))
    if not settings.get("direct_arguments"):
        options.append(_switch("justification", settings.get("justify")))
    for name in ("verify", "answer"):
        if settings.get(name) not in (None, "model"):
            options += [f"--{name}", str(settings[name])]
    if settings.get("checks", "auto") != "auto":
        options += ["--checks", str(settings["checks"])]
    if settings.get("tools"):
        options += ["--tools", ",".join(settings["tools"])]
    if settings.get("max_turns"):
        options += ["--max-turns", str(settings["max_turns"])]
    return " ".join(options)
