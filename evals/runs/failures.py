"""What kept a run from its end: one vocabulary for evaluations and training.

What the agent does wrong is in its memory and is scored. Here are failures of what surrounds it: those that pass are
tried again, those of one run are recorded, and those that every run would meet end them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graph.errors import (
    AgentFlowError,
    ConfigError,
    ContextLengthExceeded,
    DataError,
    ModelRejected,
    ModelUnavailable,
    SandboxError,
)
from graph.state import Failure

PASSING = "unavailable"
"""Kind of a failure that another try may not meet."""

_LONGEST = 1000
"""Characters of a message that are kept."""


def classify(error: Exception, *, any_success: bool) -> Failure | None:
    """What a run is recorded as that ended with an error.

    Args:
        error: What the agent raised.
        any_success: Whether another run came to its end. Before that, a refused request or an error of the system
            (no space, no permission) is taken for one that all runs share.

    Returns:
        The failure; its kind is `unavailable` where another try may help, `defect` for an error that is nobody's
        known failure. None where every run would meet the error, which is then to be raised.
    """
    if isinstance(error, ModelUnavailable | ConnectionError | TimeoutError):
        return _failure(PASSING, str(error) or type(error).__name__)
    if isinstance(error, ConfigError | DataError | SandboxError):
        return None
    refused = isinstance(error, ModelRejected) and not isinstance(error, ContextLengthExceeded)
    if not any_success and (refused or isinstance(error, OSError)):
        return None
    if isinstance(error, AgentFlowError):
        return _failure(error.kind, str(error))
    return _failure("defect", f"{type(error).__name__}: {error}")


def unavailable_tool(state: Mapping[str, Any]) -> Failure | None:
    """The first call of a finished run whose tool's service was not there."""
    for turn in state.get("memory") or ():
        for error in (turn.get("error"), *(call.get("error") for call in turn.get("calls") or ())):
            if error and error["kind"] == "unavailable":
                tool = turn["plan"]["tool_name"]
                return _failure(PASSING, f"The service behind {tool} did not answer: {error['message']}")
    return None


def _failure(kind: str, message: str) -> Failure:
    return Failure(kind=kind, message=message[:_LONGEST])
