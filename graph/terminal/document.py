"""The JSON of a run: what `--json` prints and `--save` keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from graph.errors import ConfigError
from graph.output import output_file
from graph.state import State
from graph.trace import Trace

SCHEMA = 1
"""Version of the document that `--save` writes."""

SHOWN = ("question", "analysis", "memory", "answer", "report", "ended_by", "usage", "seconds")
"""The parts of the final state that `--json` and `--save` hold."""


def as_json(state: State) -> str:
    """The final state as a JSON document."""
    return json.dumps(_shown(state), ensure_ascii=False, indent=2)


def as_document(state: State, trace: Trace, *, finished: bool) -> str:
    """What `--save` writes: the state, and the trace of what the models were asked."""
    whole = {"schema": SCHEMA, "finished": finished, **_shown(state), "trace": trace.as_dict()}
    return json.dumps(whole, ensure_ascii=False, indent=2)


def _shown(state: State) -> dict[str, Any]:
    return {key: state[key] for key in SHOWN if key in state}  # type: ignore[literal-required]


def save(text: str, path: Path) -> None:
    """Write a file whole or not at all.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        with output_file(path) as file:
            file.write(text.encode("utf-8", errors="replace"))
    except OSError as error:
        raise ConfigError(
            f"The file {path} cannot be written ({error.strerror}): choose another for --save."
        ) from error
