"""Settings of the llama.cpp servers of this process."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

from graph.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a server of this process; equal settings and models share a server."""

    slots: int = 6
    """Concurrent requests; enough for each role of a run to keep its prompt's beginning in a slot."""
    context: int = 8192
    """Context of each slot in tokens, for prompt and reply together."""
    threads: int = 0
    """CPU threads; 0 means one per usable physical core that is idle when the model is loaded."""
    gpu_layers: int = -1
    """Layers on the GPU, if llama.cpp is built for one; -1 means as many as fit."""
    exact: bool = False
    """Make replies at temperature 0 depend only on their prompt: slow, with one slot and without prompt caches.

    Otherwise rounding may differ for a prompt that is cached, or processed together with another.
    """
    repack: bool | None = None
    """Let llama.cpp rearrange the weights for this CPU, which writes faster and needs a second copy of them in memory.

    Rounding then depends on the batch size, so what is cached affects answers. None: unless llama.cpp is built with
    AVX-512, whose kernels read so much faster without that the whole is faster (docs/measured.md).
    """

    @classmethod
    def from_environment(cls) -> ServerSettings:
        """The defaults, overridden by AGENTFLOW_EMBEDDED_SLOTS, _CONTEXT, _THREADS, _GPU_LAYERS, _EXACT and
        _REPACK.

        Raises:
            ConfigError: one of them is invalid.
        """

        def number(name: str, default: int, least: int = 1) -> int:
            value = os.environ.get(f"AGENTFLOW_EMBEDDED_{name}", "")
            if value and not (value.isdecimal() and int(value) >= least):
                raise ConfigError(f"AGENTFLOW_EMBEDDED_{name} is {value!r}; it must be a whole number from {least} on.")
            return int(value) if value else default

        def switch(name: str, default: T) -> bool | T:
            value = os.environ.get(f"AGENTFLOW_EMBEDDED_{name}", "")
            if value not in ("", "0", "1"):
                raise ConfigError(f"AGENTFLOW_EMBEDDED_{name} is {value!r}; it must be 1 or 0.")
            return value == "1" if value else default

        return cls(
            slots=number("SLOTS", cls.slots),
            context=number("CONTEXT", cls.context),
            threads=number("THREADS", cls.threads),
            gpu_layers=number("GPU_LAYERS", cls.gpu_layers, least=0),
            exact=switch("EXACT", cls.exact),
            repack=switch("REPACK", cls.repack),
        )
