"""One adapter for all roles, or one for each, on one base model.

A role is played by the adapter that bears its name, and where there is none by `SHARED`, the only one. Adapters are
PEFT's; which one computes is a state of the model, set by `play` before a forward pass and left alone until its
backward pass has ended. PEFT freezes the adapters that it deactivates; here all stay as trainable as they were.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

SHARED = "default"
"""The adapter that plays every role: PEFT's own name for an only adapter."""

CONFIG = "adapter_config.json"
"""The file by which a folder shows that it holds an adapter."""
WEIGHTS = "adapter_model.safetensors"
"""The file with the adapter's matrices."""


def adapters_of(model: nn.Module) -> tuple[str, ...]:
    """The names of a model's adapters, wrapped or not; none of a model without."""
    return tuple(getattr(_peft(model), "peft_config", ()))


def adapter_for(model: nn.Module, role: str) -> str | None:
    """The adapter that plays a role; None for a model without adapters.

    Raises:
        ConfigError: the model's adapters are for other roles.
    """
    names = adapters_of(model)
    return adapter_among(names, role) if names else None


def adapter_among(names: Collection[str], role: str) -> str:
    """The adapter that plays a role.

    Raises:
        ConfigError: the adapters are for other roles.
    """
    name = role if role in names else SHARED
    if name not in names:
        raise ConfigError(
            f"The policy is asked to play {role or 'no role'!r}, and has adapters for {', '.join(names)}: name the "
            "role in `role`, or set policies: shared."
        )
    return name


def play(model: nn.Module, role: str) -> None:
    """From here on the model computes with the adapter of a role.

    Args:
        model: wrapped or not; one without adapters, or with one for all roles, stays as it is.
        role: who is to be played.

    Raises:
        ConfigError: the model's adapters are for other roles.
    """
    name = adapter_for(model, role)
    peft = _peft(model)
    if name is not None and peft.active_adapters != [name]:
        with trainability_kept(peft):
            peft.set_adapter(name)


def adapter_parameters(model: nn.Module, name: str) -> Iterator[nn.Parameter]:
    """The weights of one adapter."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        for kind in module.adapter_layer_names if isinstance(module, BaseTunerLayer) else ():
            held = getattr(module, kind)
            if name in held:
                part = held[name]
                yield from part.parameters() if hasattr(part, "parameters") else [part]


@contextmanager
def trainability_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards each parameter requires a gradient if it did before."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for parameter, trainable in before:
            parameter.requires_grad_(trainable)


def saved_adapters(folder: Path) -> dict[str, Path]:
    """The adapters that a folder holds, by name, in order of their names: its own, or those of its sub-folders.

    A folder with a whole model (`training.export`) is that model: the adapter beside it is merged into it already.
    """
    if (folder / CONFIG).is_file():
        return {SHARED: folder}
    if any(folder.glob("model*.safetensors")):
        return {}
    places = sorted(folder.iterdir()) if folder.is_dir() else []
    return {place.name: place for place in places if (place / CONFIG).is_file()}


def starting_adapters(weights: Path, wanted: Mapping[str, tuple[int, int]], targets: str) -> dict[str, Path]:
    """Where each new adapter of a run finds the weights that it starts from; reads no weights.

    Args:
        weights: a folder with an adapter, which all start from, or with one for each role.
        wanted: `lora_rank` and `lora_alpha` of the new ones, by name.
        targets: their `lora_targets`. Which modules are `all-linear` is only known of a model (`other_targets`).

    Raises:
        ConfigError: the folder holds no such adapter, or one of another shape.
    """
    saved = saved_adapters(weights)
    places: dict[str, Path] = {}
    for name, own in wanted.items():
        place = saved.get(name) or saved.get(SHARED)
        if place is None:
            held = f"adapters for {', '.join(saved)}" if saved else "no adapter"
            raise ConfigError(f"warm_start: {weights} holds {held}, and the run has one for {name!r}.")
        try:
            config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
            theirs = int(config["r"]), int(config["lora_alpha"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(f"warm_start: {place / CONFIG} describes no LoRA adapter; name another folder.") from None
        for setting, value, mine in zip(("lora_rank", "lora_alpha"), theirs, own, strict=True):
            if value != mine:
                raise ConfigError(
                    f"The adapter {place} has {setting} {value}, and the run {mine}: set {setting}: {value}."
                )
        if targets != "all-linear" and _kinds(targets.split(",")) != _targets(place):
            raise other_targets(place, targets)
        places[name] = place
    return places


def other_targets(place: Path, targets: str) -> ConfigError:
    """The error of an adapter that is on other modules than the run's."""
    theirs = ",".join(_targets(place))
    return ConfigError(
        f"The adapter {place} is on other modules than lora_targets {targets!r}: set lora_targets: {theirs}."
    )


def _targets(place: Path) -> list[str]:
    named = json.loads((place / CONFIG).read_text(encoding="utf-8")).get("target_modules") or []
    return _kinds([named] if isinstance(named, str) else named)


def _kinds(modules: Iterable[str]) -> list[str]:
    """The last parts of modules' names: PEFT may list every layer's."""
    return sorted({module.strip().rpartition(".")[2] for module in modules})


def _peft(model: nn.Module) -> Any:
    """The PEFT model inside what a trainer wraps around it (DDP and DeepSpeed: `module`)."""
    inner: Any = model
    while not hasattr(inner, "peft_config") and hasattr(inner, "module"):
        inner = inner.module
    return inner
