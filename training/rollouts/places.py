"""The place of a model call in a run: steps and paths of the graphs around it, the same in each run.

LangGraph tells a call the step and path of its innermost node alone. Two parallel branches that run the same sub-graph
look alike from there, so `Places`, a callback handler, keeps the chain of calls from the run's root to each node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.callbacks.manager import BaseRunManager

from training.rollouts.policy import Place


class Places(BaseCallbackHandler):
    """Follows a run of a graph; hand it to the run as a callback."""

    run_inline = True

    def __init__(self) -> None:
        self._parents: dict[UUID, UUID | None] = {}
        self._metadata: dict[UUID, Mapping[str, Any]] = {}

    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Records its parent and its place."""
        self._parents[run_id] = parent_run_id
        self._metadata[run_id] = metadata or {}

    def around(self, run_id: UUID | None) -> list[Mapping[str, Any]]:
        """The metadata of a call's ancestors, the outermost first."""
        found: list[Mapping[str, Any]] = []
        while run_id is not None and run_id in self._parents:
            found.append(self._metadata[run_id])
            run_id = self._parents[run_id]
        return found[::-1]


def place_of(manager: BaseRunManager | None) -> Place:
    """The place of the call that a callback manager belongs to; empty outside of a graph."""
    if manager is None:
        return ()
    handlers = (*manager.handlers, *manager.inheritable_handlers)
    places = next((handler for handler in handlers if isinstance(handler, Places)), None)
    around = [] if places is None else places.around(manager.parent_run_id)
    levels: dict[str, tuple[int, str]] = {}
    for metadata in (*around, manager.metadata or {}):
        if "langgraph_step" in metadata:
            name = str(metadata.get("langgraph_checkpoint_ns"))  # random, but one a node
            levels.setdefault(name, (int(metadata["langgraph_step"]), _path(metadata.get("langgraph_path", ()))))
    return tuple(levels.values())


def _path(path: Any) -> str:
    """As a text whose order is the path's."""
    if isinstance(path, list | tuple):
        return "/".join(_path(part) for part in path)
    return f"{path:06d}" if isinstance(path, int) and not isinstance(path, bool) else str(path)
