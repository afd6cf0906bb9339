"""LoRA adapters beside an embedded model: `embedded+./planner.gguf`.

llama.cpp loads an adapter of a few megabytes beside its base, and applies it to the requests that ask for it: the
planner can be a trained one and the other roles the base, with one server and one copy of the weights. An adapter that
does not fit is refused here with a reason; llama.cpp would only refuse to start.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from graph.errors import ConfigError
from graph.models.gguf_header import F32, GGUFHeader, read_header

FINGERPRINT: Final = "agentflow.base_fingerprint"
"""Metadata of an adapter: the fingerprint of the base that it was trained on."""
_FINGERPRINT_OF: Final = "output_norm.weight"
"""A tensor that every quantisation of a model keeps in F32."""
_PAIR: Final = re.compile(r"(?P<tensor>.+)\.lora_(?P<side>[ab])")


@dataclass(frozen=True)
class Applied:
    """With which of a server's adapters a request is computed."""

    loaded: tuple[str, ...] = ()
    """All adapters of the server, in the order of their numbers."""
    chosen: str = ""
    """One of them; empty: the base model alone."""
    digest: str = ""
    """SHA-256 of the chosen adapter's file."""

    @property
    def fields(self) -> dict[str, Any]:
        """What the request says of it.

        It names every adapter: to a request that names none, llama.cpp applies none, but gives it the keys and values
        that another request has read with one.
        """
        if not self.loaded:
            return {}
        return {"lora": [{"id": n, "scale": float(path == self.chosen)} for n, path in enumerate(self.loaded)]}


def split_adapter(spec: str) -> tuple[str, str]:
    """A spec without its adapter, and the adapter's path; the path is empty if the spec names none.

    Paths may hold a `+` themselves: the base ends where what stands before a `+` is a name or an existing path.
    """
    if _is_base(spec) and "/" in spec:
        return spec, ""
    parts = spec.split("+")
    splits = [("+".join(parts[:n]).strip(), "+".join(parts[n:]).strip()) for n in range(1, len(parts))]
    splits = [(base, path) for base, path in splits if base and ("/" in path or path.lower().endswith(".gguf"))]
    if not splits:
        return spec, ""
    base, path = next((split for split in splits if _is_base(split[0])), splits[-1])
    return base, str(Path(path).expanduser().absolute())


def _is_base(spec: str) -> bool:
    """Whether a spec is whole: a name, or a path that exists."""
    path = spec.removeprefix("embedded:")
    return "/" not in path or Path(path).expanduser().exists()


def check_adapter(adapter: Path, base: Path) -> None:
    """Check that an adapter can be loaded beside a base model.

    Raises:
        ConfigError: there is no such file, it is not a LoRA adapter, or was made for another model.
    """
    header = adapter_header(adapter)
    try:
        of_base = read_header(base)
    except ValueError as error:
        raise ConfigError(f"{base} is not a GGUF model ({error}); an adapter needs one as its base.") from error
    if header.architecture != of_base.architecture:
        raise ConfigError(
            f"The adapter {adapter} was made for the architecture {header.architecture!r}, and {base.name} has "
            f"{of_base.architecture!r}; name its own base as `embedded:BASE+{adapter}`."
        )
    for name, tensor in header.tensors.items():
        pair = _PAIR.fullmatch(name)
        whole = of_base.tensors.get(pair["tensor"]) if pair else None
        side = 0 if pair and pair["side"] == "a" else 1
        if whole is None or len(tensor.shape) != 2 or whole.shape[side : side + 1] != tensor.shape[side : side + 1]:
            raise _other_base(adapter, base, f"its {name} has no counterpart there")
    wanted, there = header.fields.get(FINGERPRINT), fingerprint(base, of_base)
    if wanted and there and wanted != there:
        raise _other_base(adapter, base, "the norms of its base differ")


def adapter_header(adapter: Path) -> GGUFHeader:
    """The header of an adapter's file.

    Raises:
        ConfigError: there is no such file, or it is not a LoRA adapter.
    """
    if not adapter.is_file():
        raise ConfigError(
            f"There is no adapter file {adapter}; export one with `python -m training.export RUN --gguf-adapter`."
        )
    try:
        header = read_header(adapter)
    except ValueError as error:
        raise ConfigError(f"{adapter} is not a GGUF file ({error}); an adapter has to be one.") from error
    if header.fields.get("general.type") != "adapter":
        raise ConfigError(f"{adapter} is a whole model and not an adapter; name it alone, without `+`.")
    if header.fields.get("adapter.type") != "lora":
        kind = header.fields.get("adapter.type", "unknown")
        raise ConfigError(f"{adapter} is an adapter of the kind {kind!r}; it has to be a LoRA adapter.")
    return header


def fingerprint(base: Path, header: GGUFHeader) -> str:
    """The same for all quantisations of a model, and another for every other model; empty if it cannot be told."""
    tensor = header.tensors.get(_FINGERPRINT_OF)
    if tensor is None or tensor.kind != F32:
        return ""
    with base.open("rb") as file:
        file.seek(header.data + tensor.offset)
        return hashlib.sha256(file.read(4 * tensor.shape[0])).hexdigest()[:32]


def _other_base(adapter: Path, base: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"The adapter {adapter} was made for another model than {base.name} ({reason}); name its own base as "
        f"`embedded:BASE+{adapter}`."
    )
