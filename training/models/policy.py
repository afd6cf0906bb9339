"""Loads the policy from a folder, the Hub or a GGUF file, with or without an adapter."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from graph.errors import ConfigError
from graph.models.download import cache_directory
from graph.models.hub_access import hub_options, unreachable_hint
from training.models.adapters import (
    SHARED,
    adapter_parameters,
    other_targets,
    saved_adapters,
    starting_adapters,
    trainability_kept,
)
from training.models.allocator import keep_freed_memory
from training.models.converted import alone, copy_of, keep_copy

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def quiet() -> None:
    """Limits transformers to errors unless the environment says otherwise; no progress bars without a terminal."""
    import transformers

    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def load_policy(spec: str, dtype: str = "bfloat16") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer.

    Args:
        spec: a folder in Hub format, a name on the Hub, or the path of a GGUF file, which is dequantised
            once (`training.models.converted`).
        dtype: of its weights, a torch name.

    Raises:
        ConfigError: there is no such model, or it cannot be loaded.
    """
    if not torch.cuda.is_available():
        keep_freed_memory()
    with _explained(spec):
        file = _gguf_file(spec)
        if file is None:
            return _from_pretrained(spec, dtype), load_tokenizer(spec)
        with alone(file, dtype):
            if copy := copy_of(file, dtype):
                return _from_pretrained(str(copy), dtype), load_tokenizer(str(copy))
            model, tokenizer = _from_pretrained(spec, dtype), load_tokenizer(spec)
            keep_copy(file, dtype, model, tokenizer)
            return model, tokenizer


def hub_folder(spec: str, dtype: str = "bfloat16") -> str:
    """A model's name for programs that read no GGUF file: the folder of its dequantised copy, or `spec` itself.

    Raises:
        ConfigError: there is no such model, it cannot be loaded, or the cache has no room for its copy.
    """
    with _explained(spec):
        file = _gguf_file(spec)
        if file is None:
            return spec
        if copy_of(file, dtype) is None:
            load_policy(spec, dtype)
        copy = copy_of(file, dtype)
    if copy is None:
        raise ConfigError(
            f"There is no room for a dequantised copy of {spec} in {cache_directory()}; make room, or set "
            "AGENTFLOW_CACHE to another directory."
        )
    return str(copy)


def _from_pretrained(spec: str, dtype: str) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM, GgufConfig

    place, options = _place(spec)
    if "gguf_file" in options:  # left packed it would be slow, and could be neither merged nor saved
        options["quantization_config"] = GgufConfig(dequantize=True)
    if "local_files_only" in options:  # transformers does not pass it on when it looks for an adapter
        options["adapter_kwargs"] = {"local_files_only": True}
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(place, dtype=getattr(torch, dtype), **options)
    return model


def load_trained(spec: str, weights: Path | None, dtype: str = "bfloat16") -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """A trained policy and its tokenizer.

    Args:
        spec: what was trained; see `load_policy`.
        weights: a folder with an adapter, with one for each role, or with all weights; None: nothing was trained yet.
        dtype: of the weights that are not an adapter's.

    Raises:
        ConfigError: the weights cannot be loaded, or the adapter does not fit the model.
    """
    if weights is None:
        return load_policy(spec, dtype)
    adapters = saved_adapters(weights)
    if not adapters:
        model, _ = load_policy(str(weights), dtype)
        return model, load_tokenizer(spec)
    from peft import PeftModel

    base, tokenizer = load_policy(spec, dtype)
    with _explained(str(weights)):
        try:
            (first, place), *others = adapters.items()
            trained = PeftModel.from_pretrained(base, str(place), adapter_name=first)
            for name, place in others:
                trained.load_adapter(str(place), name)
        except RuntimeError as error:  # shapes that differ
            raise ConfigError(f"The adapter {place} does not fit the model {spec!r}; was it trained on it?") from error
    return trained, tokenizer


def load_tokenizer(spec: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model; see `load_policy`."""
    from transformers import AutoTokenizer

    with _explained(spec):
        place, options = _place(spec)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, **options)
    return tokenizer


def _place(spec: str) -> tuple[str, dict[str, Any]]:
    """Arguments of transformers' `from_pretrained`."""
    path = _gguf_file(spec)
    return (spec, dict(hub_options(spec))) if path is None else (str(path.parent), {"gguf_file": path.name})


def _gguf_file(spec: str) -> Path | None:
    """The GGUF file that a model is; None for any other model."""
    if not spec.endswith(".gguf"):
        return None
    path = Path(spec).expanduser()
    if not path.is_file():
        raise ConfigError(f"There is no GGUF file at {spec}; check `model`.")
    return path


@contextmanager
def _explained(spec: str) -> Iterator[None]:
    """Turns the exceptions of loading a model into one sentence."""
    try:
        yield
    except ConfigError:
        raise
    except ImportError as error:
        raise ConfigError(f"Loading {spec} needs a package that is not installed: {error}.") from error
    except (OSError, ValueError, KeyError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"The model {spec!r} cannot be loaded: {unreachable_hint(spec) or said}") from error


def with_adapter(
    model: PreTrainedModel, *, rank: int, alpha: int, targets: str, seed: int, names: Sequence[str] = (SHARED,)
) -> nn.Module:
    """The model with new LoRA adapters, its own weights frozen.

    The adapters' random halves are drawn from the seed alone, one after the other.

    Args:
        model: the base model.
        rank, alpha, targets: of LoRA, the same for all adapters.
        seed: of the random halves.
        names: of the adapters; the first is active.

    Raises:
        ConfigError: the model has no such modules.
    """
    from peft import LoraConfig, get_peft_model

    chosen: Any = targets if targets == "all-linear" else [name.strip() for name in targets.split(",")]

    def settings() -> LoraConfig:
        return LoraConfig(r=rank, lora_alpha=alpha, target_modules=chosen, lora_dropout=0.0, task_type="CAUSAL_LM")

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            adapted: Any = get_peft_model(model, settings(), adapter_name=names[0])
        except ValueError as error:
            raise ConfigError(f"lora_targets {targets!r} does not fit this model: {error}") from error
        for name in names[1:]:
            adapted.add_adapter(name, settings())
            adapted.set_requires_grad(name)
    trained: nn.Module = adapted
    return trained


def start_from(model: nn.Module, weights: Path, spec: str, targets: str) -> None:
    """Gives a model's new adapters the weights that a folder holds.

    Args:
        model: from `with_adapter`.
        weights: a folder with an adapter, which all start from, or with one for each role.
        spec: of the base model, for messages.
        targets: the run's `lora_targets`.

    Raises:
        ConfigError: the folder holds no such adapter, or one of another shape.
    """
    from peft import set_peft_model_state_dict
    from peft.utils.save_and_load import load_peft_weights

    peft: Any = model
    wanted = {name: (own.r, own.lora_alpha) for name, own in peft.peft_config.items()}
    for name, place in starting_adapters(weights, wanted, targets).items():
        try:
            state = load_peft_weights(str(place), device="cpu")
            fitted: Any = set_peft_model_state_dict(peft, state, adapter_name=name)
        except RuntimeError as error:  # shapes that differ
            raise ConfigError(f"The adapter {place} does not fit the model {spec!r}; was it trained on it?") from error
        if fitted.unexpected_keys or len(state) != sum(1 for _ in adapter_parameters(model, name)):
            raise other_targets(place, targets)


def twin(model: nn.Module) -> nn.Module:
    """A second model that shares the frozen weights and has a copy of the trained ones.

    It has its own modules, so training mode, checkpointing and hooks of the two are independent.
    """
    frozen: list[torch.Tensor] = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    shared: list[torch.Tensor] = [*frozen, *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


def copy_trained(source: nn.Module, target: nn.Module) -> None:
    """Copies the trained weights of a model to its `twin`."""
    with torch.no_grad():
        for mine, theirs in zip(target.parameters(), source.parameters(), strict=True):
            if theirs.requires_grad:
                mine.copy_(theirs)


@contextmanager
def without_adapter(model: nn.Module) -> Iterator[None]:
    """Inside, a PEFT model computes without its adapter; other models are unchanged."""
    disable: Callable[[], AbstractContextManager[Any]] = getattr(model, "disable_adapter", nullcontext)
    with trainability_kept(model), disable():
        yield
