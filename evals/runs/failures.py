"""Classification of runs that raise, shared by evaluations and training.

The agent's own mistakes are in its memory and are scored. This is about failures of its environment: transient ones are
retried, those of a single run are recorded, and those that would affect every run end them all. `classify` alone says
which is which; whoever knows more about an error first puts it into the words of `graph.errors`.
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
from graph.models.calling import as_model_error
from graph.state import Failure
from tools.errors import ToolUnavailable
from tools.secrecy import without_credentials

TRANSIENT = "unavailable"
"""Kind of failures that a retry may avoid."""

DEFECT = "defect"
"""Kind of unexpected errors."""

_LONGEST = 1000
"""Maximum length of a message in characters."""


def classify(error: BaseException, *, any_success: bool) -> Failure | None:
    """The failure to record for a run that raised an error.

    Args:
        error: The error.
        any_success: Whether any run has succeeded. Until then, a refused request, a setting or a file that cannot be
            used, and a system error (no space, no permission) are assumed to affect all runs.

    Returns:
        The failure, of kind `unavailable` if a retry may help, and `defect` for an unexpected error. None if the error
        would affect every run; the caller then raises it.
    """
    if is_outage(error):
        return _failure(TRANSIENT, str(error) or type(error).__name__)
    if isinstance(error, SandboxError):
        return None
    refused = isinstance(error, ModelRejected) and not isinstance(error, ContextLengthExceeded)
    if not any_success and (refused or isinstance(error, ConfigError | DataError | OSError)):
        return None
    if isinstance(error, AgentFlowError):
        return _failure(error.kind, str(error))
    return _failure(DEFECT, f"{type(error).__name__}: {error}")


def is_outage(error: BaseException) -> bool:
    """Whether a server or service was not there: no connection, a timeout, overload, a server error."""
    if isinstance(error, AgentFlowError | ToolUnavailable):
        return isinstance(error, ModelUnavailable | ToolUnavailable)
    return isinstance(error, Exception) and isinstance(as_model_error(error, ""), ModelUnavailable)


def unavailable_tool(state: Mapping[str, Any]) -> Failure | None:
    """The first call of a finished run that failed because the tool's service was down.

    Args:
        state: The run's; its calls are those of its `memory`, and `early_calls` that a graph made before any turn.
    """
    failed = [(call["tool"], call["error"]) for call in state.get("early_calls") or ()]
    for turn in state.get("memory") or ():
        errors = (turn.get("error"), *(call.get("error") for call in turn.get("calls") or ()))
        failed += [(turn["plan"]["tool_name"], error) for error in errors]
    for tool, error in failed:
        if error and error["kind"] == TRANSIENT:
            return _failure(TRANSIENT, f"The service behind {tool} did not answer: {error['message']}")
    return None


def _failure(kind: str, message: str) -> Failure:
    return Failure(kind=kind, message=without_credentials(message)[:_LONGEST])
