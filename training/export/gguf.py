"""A trained model as a GGUF file for llama.cpp: the base file with its tensors replaced.

The metadata (tokenizer, chat template, hyper-parameters) is copied byte for byte, so the trained model is served with
the tokenizer of its base; only the number of the file type changes. Matrices become F16 or Q8_0; tensors in F32 (norms,
biases) stay in F32. Fewer than 8 bits can round off what an adapter has learned.

In llama.cpp's `llama` architecture the rotary embedding pairs neighbouring rows of a head, in transformers a row of the
first half with one of the second: query and key rows are reordered, the reverse of what transformers does on reading.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from graph.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

Kind = Literal["F16", "Q8_0"]
KINDS: tuple[Kind, ...] = ("F16", "Q8_0")

PAIRED = frozenset({"llama"})
"""Architectures whose query and key rows are reordered."""

PLAIN = frozenset({"qwen2", "qwen3"})

_HEADER = struct.Struct("<4sIQQ")
"""Magic, version, number of tensors, number of metadata entries."""

_Array = np.ndarray[Any, np.dtype[Any]]


def write_gguf(
    model: PreTrainedModel,
    base: Path,
    out: Path,
    kind: Kind = "F16",
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the weights of a model into a copy of its base file.

    Args:
        model: the trained model, merged, in float32 to avoid rounding.
        base: the GGUF file of the base model, in any quantisation.
        out: the file to write, atomically.
        kind: type of the matrices; Q8_0 falls back to F16 if the row length is no multiple of 32.
        progress: called after each tensor with the number written and the total.

    Raises:
        ConfigError: the base is not a GGUF file, or has an unsupported architecture, or is of another model.
        DataError: a weight is not finite in this type.
        OSError: the disk is full.
    """
    from gguf import GGML_QUANT_SIZES, LlamaFileType

    reader = _opened(base)
    arch = str(reader.fields["general.architecture"].contents())
    names = _names(model, arch, reader, base)
    heads = _heads(model, arch)
    missing = sorted(names.keys() - {tensor.name for tensor in reader.tensors})
    if missing:
        raise ConfigError(f"{base} has no tensor {missing[0]}; it is not the base of this model.")
    state = model.state_dict()
    kinds = [_kind(tensor, kind) if tensor.name in names else tensor.tensor_type for tensor in reader.tensors]
    sizes = []
    for tensor, chosen in zip(reader.tensors, kinds, strict=True):
        block, size = GGML_QUANT_SIZES[chosen]
        sizes.append(int(tensor.n_elements) // block * size)
    temporary = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            version = int(reader.fields["GGUF.version"].contents())
            file.write(_HEADER.pack(b"GGUF", version, len(reader.tensors), len(reader.fields) - 3))
            file.write(_metadata(reader, LlamaFileType[f"MOSTLY_{kind}"]))
            file.write(_directory(reader, kinds, sizes))
            for number, (tensor, chosen) in enumerate(zip(reader.tensors, kinds, strict=True), 1):
                file.write(bytes(-file.tell() % int(reader.alignment)))
                if tensor.name in names:
                    values = _values(state, names[tensor.name], tensor, heads, base)
                    file.write(_encoded(values, chosen, tensor.name))
                else:
                    file.write(tensor.data.tobytes())
                if progress:
                    progress(number, len(reader.tensors))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def _opened(base: Path) -> Any:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(base)
    except FileNotFoundError:
        raise ConfigError(f"There is no GGUF file {base}; name the base model's file with --base.") from None
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{base} is not a GGUF file ({error}); name the base model's file with --base.") from error
    if reader.byte_order != "I":
        raise ConfigError(f"{base} has another byte order than this machine; convert it first.")
    split = reader.fields.get("split.count")
    if split is not None and int(split.contents()) > 1:
        raise ConfigError(f"{base} is one of several parts of a model; merge them first (llama-gguf-split --merge).")
    return reader


def _names(model: PreTrainedModel, arch: str, reader: Any, base: Path) -> dict[str, str]:
    """The model's tensors by the names that llama.cpp gives them."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    if arch not in PAIRED | PLAIN:
        supported = ", ".join(sorted(PAIRED | PLAIN))
        raise ConfigError(f"{base} has the architecture {arch!r}; GGUF export supports {supported}.")
    kind = next(key for key, value in MODEL_ARCH_NAMES.items() if value == arch)
    known_names = get_tensor_name_map(kind, model.config.num_hidden_layers)
    names = {}
    for ours in model.state_dict():
        name, _, ending = ours.rpartition(".")
        theirs = known_names.get_name(name)
        if theirs is None:
            raise ConfigError(f"llama.cpp has no place for the tensor {ours} in a model of {arch}; serve it with vLLM.")
        names[f"{theirs}.{ending}"] = ours
    # Where a model has one matrix for embeddings and output, the file may hold it once or twice.
    if model.config.tie_word_embeddings and not any(tensor.name == "output.weight" for tensor in reader.tensors):
        names.pop("output.weight", None)
    return names


def _heads(model: PreTrainedModel, arch: str) -> Mapping[str, int]:
    """Numbers of heads whose rows are reordered, by the part of the name that distinguishes query and key."""
    if arch not in PAIRED:
        return {}
    config = model.config
    return {".attn_q.": config.num_attention_heads, ".attn_k.": config.num_key_value_heads}


def _kind(tensor: Any, kind: Kind) -> Any:
    from gguf import GGMLQuantizationType

    if tensor.tensor_type == GGMLQuantizationType.F32 or len(tensor.shape) < 2:
        return GGMLQuantizationType.F32
    return GGMLQuantizationType["F16" if int(tensor.shape[0]) % 32 else kind]


def _metadata(reader: Any, file_type: int) -> bytes:
    """The metadata of the base file, with the file type replaced."""
    end = min(tensor.field.offset for tensor in reader.tensors)
    data = bytearray(reader.data[_HEADER.size : end].tobytes())
    field = reader.fields.get("general.file_type")
    if field is not None:
        place = field.offset - _HEADER.size + sum(part.nbytes for part in field.parts[:-1])
        data[place : place + 4] = struct.pack("<I", file_type)
    return bytes(data)


def _directory(reader: Any, kinds: list[Any], sizes: list[int]) -> bytes:
    """Name, shape, type and place of each tensor."""
    directory, place = bytearray(), 0
    for tensor, kind, size in zip(reader.tensors, kinds, sizes, strict=True):
        name = tensor.name.encode()
        directory += struct.pack("<Q", len(name)) + name
        directory += struct.pack(
            f"<I{len(tensor.shape)}QIQ", len(tensor.shape), *map(int, tensor.shape), int(kind), place
        )
        place += size + -size % int(reader.alignment)
    return bytes(directory)


def _values(state: Mapping[str, Tensor], name: str, tensor: Any, heads: Mapping[str, int], base: Path) -> _Array:
    """The values of a tensor in float32, with rows in the order of llama.cpp."""
    values = state[name].detach().float().cpu().numpy()
    shape = tuple(int(size) for size in reversed(tensor.shape))
    if values.shape != shape:
        raise ConfigError(f"The tensor {tensor.name} has the shape {shape} in {base} and {values.shape} in the model.")
    for part, count in heads.items():
        if part in tensor.name:
            return interleaved(values, count)
    return values


def interleaved(rows: _Array, heads: int) -> _Array:
    """The rows of each head with both halves interleaved (from half-split rotary order to pairs of neighbours)."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _encoded(values: _Array, kind: Any, name: str) -> bytes:
    from gguf import quantize

    with np.errstate(over="ignore"):
        encoded = quantize(np.ascontiguousarray(values), kind)
    finite = encoded if encoded.dtype.kind == "f" else values
    if not np.isfinite(finite).all():
        raise DataError(f"A weight of {name} is not finite in {kind.name}; the model is broken, or needs Q8_0.")
    return bytes(np.ascontiguousarray(encoded).tobytes())
