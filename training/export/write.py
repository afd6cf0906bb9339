"""Writes an export, atomically: a folder with merged model, adapter, GGUF file and model card, or an adapter alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from graph.command_line import did_you_mean
from graph.errors import ConfigError
from training.export.card import AGENT, base_name, model_card
from training.models.adapters import CONFIG, SHARED, WEIGHTS, saved_adapters
from training.run import checkpoints
from training.run.folder import SETTINGS, new_output, read_settings
from training.run.metrics import read_metrics

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


def export(
    run: Path, out: Path, *, checkpoint: int | None = None, role: str | None = None, gguf: str | None = None,
    base: Path | None = None, device: str = "auto",
) -> Path | None:  # fmt: skip
    """Writes a folder with the trained model, atomically.

    Args:
        run: a run's folder.
        out: the output folder.
        checkpoint: its number; None takes the newest.
        role: whose adapter, where each role has its own.
        gguf: a type of `gguf.KINDS`, to add a GGUF file.
        base: the GGUF file of the base model; None: the one that was trained.
        device: where the adapter is merged: `cpu`, `cuda`, or `auto`, on the GPU if it has room.

    Returns:
        The GGUF file, if requested.

    Raises:
        ConfigError, DataError: there is no such run, checkpoint or base; or `out` is taken, or another
            process writes it.
        OSError: the disk is full.
    """
    settings = run_settings(run)
    checkpoint_folder = checkpoints.weights_of(run, checkpoint)
    weights = _of_role(checkpoint_folder, role)
    if role:
        settings["role"] = role
    if gguf:
        base = base or base_file(settings)
    from training.models.policy import load_trained, quiet

    quiet()
    with new_output(out) as staged:
        staged.mkdir()
        with _progress() as progress:
            model, tokenizer = load_trained(str(settings["model"]), weights, str(settings["dtype"]))
            merged = merge(model, _room_for(model, device))
            if gguf and base:
                _add_gguf(merged, base, staged / f"{out.name}-{gguf}.gguf", gguf, progress)
            merged = merged.to(_dtype(settings))
            merged.save_pretrained(staged)
            tokenizer.save_pretrained(staged)
        _add_adapter(weights, staged, settings)
        _add_card(staged, out.name, run, checkpoint_folder, settings, base)
        checkpoints.let_others_read(staged)
    return out / f"{out.name}-{gguf}.gguf" if gguf else None


def export_adapter(
    run: Path, out: Path, *, checkpoint: int | None = None, role: str | None = None, base: Path | None = None
) -> None:
    """Writes the adapter alone as a GGUF file, which `embedded+FILE` applies beside the base model.

    Args:
        run: a run's folder.
        out: the output file.
        checkpoint: its number; None takes the newest.
        role: whose adapter, where each role has its own.
        base: the GGUF file of the base model; None: the one that was trained.

    Raises:
        ConfigError, DataError: there is no such run, checkpoint, adapter or base; or `out` is taken, or
            another process writes it.
        OSError: the disk is full.
    """
    settings = run_settings(run)
    weights = _of_role(checkpoints.weights_of(run, checkpoint), role)
    if not (weights / CONFIG).is_file():
        raise ConfigError(f"{weights} holds no adapter, because all weights were trained; export them with --gguf.")
    from training.export.gguf_adapter import write_gguf_adapter

    with new_output(out) as staged:
        write_gguf_adapter(weights, base or base_file(settings), staged, name=out.stem)


def _of_role(weights: Path, role: str | None) -> Path:
    """The folder of a role's adapter; with one policy for all roles the folder itself."""
    adapters = saved_adapters(weights)
    if not adapters or SHARED in adapters:
        if role:
            raise ConfigError(f"One policy plays all roles in {weights}; leave out --role.")
        return weights
    names = ", ".join(adapters)
    if not role:
        raise ConfigError(f"{weights} holds an adapter for each role ({names}); say which with --role.")
    if role not in adapters:
        raise ConfigError(
            f"There is no role {role!r} in {weights}.{did_you_mean(role, adapters)} Its roles are {names}."
        )
    return adapters[role]


def run_settings(run: Path) -> dict[str, Any]:
    """The settings of a run; for a supervised run with those of the agent that made its rollouts."""
    settings = read_settings(run)
    source = Path(str(settings.get("rollouts", "")).split("+")[0].strip()).expanduser()
    if "rollouts" not in settings or not (source / SETTINGS).is_file():
        return settings
    agent = read_settings(source)
    return {**{name: agent[name] for name in AGENT if name in agent}, **settings}


def merge(model: nn.Module, device: torch.device | None = None) -> PreTrainedModel:
    """The language model in float32 on the CPU, with its adapter added to its weights.

    In bfloat16 the sum would be rounded to 8 bits, of which a small change leaves little.
    """
    import torch
    from peft import PeftModel

    with torch.no_grad():
        model = model.to(device=device, dtype=torch.float32).eval()
        if isinstance(model, PeftModel):
            model = model.merge_and_unload()
    return cast("PreTrainedModel", model.cpu())


def _room_for(model: nn.Module, choice: str) -> torch.device:
    """Where to merge: on the device that is chosen; `auto` is the GPU if the model fits there in float32."""
    import torch

    from training.models.device import device_of

    device = device_of(choice)
    if choice == "auto" and device.type == "cuda":
        needed = 4 * sum(weight.numel() for weight in model.parameters())
        if needed > 0.8 * torch.cuda.mem_get_info()[0]:
            return torch.device("cpu")
    return device


def _dtype(settings: Mapping[str, Any]) -> Any:
    import torch

    return getattr(torch, str(settings["dtype"]))


def base_file(settings: Mapping[str, Any]) -> Path:
    """The GGUF file that a run trained.

    Raises:
        ConfigError: it trained a model in another format.
    """
    model = str(settings["model"])
    if not model.endswith(".gguf"):
        raise ConfigError(f"The run trained {base_name(model)}; name a GGUF file of the same model with --base.")
    return Path(model).expanduser()


def _add_gguf(
    model: PreTrainedModel, base: Path, out: Path, kind: str, progress: Callable[[str, int, int], None]
) -> None:
    from training.export.gguf import KINDS, write_gguf

    chosen = next(each for each in KINDS if each == kind)
    write_gguf(model, base, out, chosen, progress=lambda done, total: progress(out.name, done, total))


def _add_adapter(weights: Path, staged: Path, settings: Mapping[str, Any]) -> None:
    """The adapter as PEFT and vLLM read it, with the public name of its base model."""
    if not (weights / CONFIG).is_file():
        return
    import json

    folder = staged / "adapter"
    folder.mkdir()
    shutil.copyfile(weights / WEIGHTS, folder / WEIGHTS)
    config = json.loads((weights / CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_name(str(settings["model"]))
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _add_card(
    staged: Path, name: str, run: Path, weights: Path, settings: Mapping[str, Any], base: Path | None
) -> None:
    update = checkpoints.update_of(weights) if weights.name.startswith("checkpoint-") else None
    metrics = read_metrics(run / "metrics.jsonl") if (run / "metrics.jsonl").is_file() else []
    if update is not None:
        metrics = [line for line in metrics if line.get("update", 0) <= update]
    files = [path.name for path in staged.iterdir()]
    card = model_card(name, settings, metrics, update=update, files=files, licence=_licence(base))
    (staged / "README.md").write_text(card, encoding="utf-8")


def _licence(base: Path | None) -> str | None:
    """The licence in the file of the base model."""
    if base is None:
        return None
    from gguf import GGUFReader

    field = GGUFReader(base).fields.get("general.license")
    return str(field.contents()) if field is not None else None


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("merging the adapter", total=None)
        yield lambda words, done, total: bar.update(task, description=words, completed=done, total=total)
