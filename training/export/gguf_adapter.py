"""A LoRA adapter alone as a GGUF file of a few megabytes, which llama.cpp applies beside its base model.

Its tensors bear the names of those that they change, with `.lora_a` and `.lora_b` behind; llama.cpp multiplies their
product by alpha / rank. Rows of queries and keys are reordered as in `training.export.gguf`: these are the rows of B.

Both are stored in F16, a power of two moved from A to B first: after a short training B is so small that F16 would
lose digits of it.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graph.errors import ConfigError, DataError
from graph.models.adapters import FINGERPRINT, check_adapter, fingerprint
from graph.models.gguf_header import GGUFHeader, read_header
from training.export.gguf import PAIRED, PLAIN, interleaved
from training.models.adapters import CONFIG, WEIGHTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PREFIX = "base_model.model."
"""What PEFT puts before the names of the base model's modules."""


def write_gguf_adapter(adapter: Path, base: Path, out: Path, *, name: str) -> None:
    """Writes an adapter as a GGUF file.

    Args:
        adapter: a folder in the format of PEFT.
        base: the GGUF file of the base model, in any quantisation.
        out: the file to write, atomically.
        name: of the adapter, for its metadata.

    Raises:
        ConfigError: the adapter is no plain LoRA, or the base is not a GGUF file of its model.
        DataError: a weight is not finite in F16.
        OSError: the disk is full.
    """
    config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    header = _header(base)
    tensors = _tensors(adapter, header)
    temporary = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    try:
        _write(temporary, tensors, header, name=name, alpha=_alpha(config), mark=fingerprint(base, header))
        check_adapter(temporary, base)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def _header(base: Path) -> GGUFHeader:
    try:
        header = read_header(base)
    except FileNotFoundError:
        raise ConfigError(f"There is no GGUF file {base}; name the base model's file with --base.") from None
    except ValueError as error:
        raise ConfigError(f"{base} is not a GGUF file ({error}); name the base model's file with --base.") from error
    if header.architecture not in PAIRED | PLAIN:
        supported = ", ".join(sorted(PAIRED | PLAIN))
        raise ConfigError(f"{base} has the architecture {header.architecture!r}; GGUF export supports {supported}.")
    return header


def _alpha(config: dict[str, Any]) -> float:
    """Alpha as llama.cpp divides it by the rank; rank-stabilised LoRA divides by the root of the rank."""
    parts = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")
    reasons = [f"it uses {part}" for part in parts if config.get(part)]
    if config.get("peft_type") != "LORA":
        reasons.insert(0, f"it is a {config.get('peft_type')}")
    if reasons:
        raise ConfigError(f"llama.cpp applies plain LoRA only, and {reasons[0]}; export the merged model (--gguf).")
    alpha, rank = float(config["lora_alpha"]), int(config["r"])
    return alpha * math.sqrt(rank) if config.get("use_rslora") else alpha


def _tensors(adapter: Path, header: GGUFHeader) -> dict[str, NDArray[np.float16]]:
    """The matrices under the names of llama.cpp."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map
    from safetensors.torch import load_file

    arch = next(key for key, value in MODEL_ARCH_NAMES.items() if value == header.architecture)
    known = get_tensor_name_map(arch, header.number("block_count") or 0)
    weights = {name: value.float().numpy() for name, value in load_file(adapter / WEIGHTS).items()}
    tensors: dict[str, NDArray[np.float16]] = {}
    for key, down in weights.items():
        module, found, _ = key.partition(".lora_A.")
        if not found:
            continue
        ours = module.removeprefix(_PREFIX)
        theirs = known.get_name(ours)
        up = weights.get(f"{module}.lora_B.weight")
        if theirs is None or up is None:
            raise ConfigError(f"llama.cpp has no place for the adapter of {ours}; export the merged model (--gguf).")
        heads = _heads(theirs, header)
        shift = _shift(down, up)
        tensors[f"{theirs}.weight.lora_a"] = _half(down / shift, ours)
        tensors[f"{theirs}.weight.lora_b"] = _half((interleaved(up, heads) if heads else up) * shift, ours)
    if len(tensors) != len(weights):
        raise ConfigError("The adapter holds more than pairs of matrices; export the merged model (--gguf).")
    return tensors


def _heads(name: str, header: GGUFHeader) -> int:
    """How many heads a tensor has whose rows are reordered; 0 for all others."""
    if header.architecture not in PAIRED:
        return 0
    count = {"attn_q": "attention.head_count", "attn_k": "attention.head_count_kv"}.get(name.rpartition(".")[2])
    return (header.number(count) or header.number("attention.head_count") or 0) if count else 0


def _shift(down: NDArray[np.float32], up: NDArray[np.float32]) -> float:
    """The power of two that brings the largest entries of A and B to about the same size."""
    of_a, of_b = float(np.abs(down).max()), float(np.abs(up).max())
    if not (of_a and of_b and math.isfinite(of_a + of_b)):
        return 1.0
    return 2.0 ** round(math.log2(of_a / of_b) / 2)


def _half(values: NDArray[np.floating], module: str) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(values).astype(np.float16)
    if not np.isfinite(half).all():
        raise DataError(f"A weight of the adapter of {module} is not finite in F16; the adapter is broken.")
    return half


def _write(
    path: Path, tensors: dict[str, NDArray[np.float16]], header: GGUFHeader, *, name: str, alpha: float, mark: str
) -> None:
    from gguf import GGUFType, GGUFWriter

    writer = GGUFWriter(path, header.architecture)
    writer.add_type(GGUFType.ADAPTER)
    writer.add_name(name)
    base = header.fields.get("general.name")
    if base:
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, str(base))
    licence = header.fields.get("general.license")
    if licence:
        writer.add_license(str(licence))
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    if mark:
        writer.add_string(FINGERPRINT, mark)
    for tensor, values in tensors.items():
        writer.add_tensor(tensor, values)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
