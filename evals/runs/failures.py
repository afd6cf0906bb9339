"""Classification of runs that raise, shared by evaluations and training.

The agent's own mistakes are in its memory and are scored. This is about failures of its environment: transient ones are
retried, those of a single run are recorded, and those that would affect every run end them all.
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
from tools.secrecy import without_credentials

TRANSIENT = "unavailable"
"""Kind of failures that a retry may avoid."""

_LONGEST = 1000
"""Maximum length of a message in characters."""


def classify(error: Exception, *, any_success: bool) -> Failure | None:
    """The failure to record for a run that raised an error.

    Args:
        error: The error.
        any_success: Whether any run has succeeded. Until then, a refused request or a system error (no space, no
            permission) is assumed to affect all runs.

    Returns:
        The failure, of kind `unavailable` if a retry may help, and `defect` for an unexpected error. None if the error
        would affect every run; the caller then raises it.
    """
    if isinstance(error, ModelUnavailable | ConnectionError | TimeoutError):
        return _failure(TRANSIENT, str(error) or type(error).__name__)
    if isinstance(error, ConfigError | DataError | SandboxError):
        return None
    refused = isinstance(error, ModelRejected) and not isinstance(error, ContextLengthExceeded)
    if not any_success and (refused or isinstance(error, OSError)):
        return None
    if isinstance(error, AgentFlowError):
        return _failure(error.kind, str(error))
    return _failure("defect", f"{type(error).__name__}: {error}")


def unavailable_tool(state: Mapping[str, Any]) -> Failure | None:
    """The first call of a finished run that failed because the tool's service was down."""
    for turn in state.get("memory") or ():
        for error in (turn.get("error"), *(call.get("error") for call in turn.get("calls") or ())):
            if error and error["kind"] == "unavailable":
                tool = turn["plan"]["tool_name"]
                return _failure(TRANSIENT, f"The service behind {tool} did not answer: {error['message']}")
    return None


def _failure(kind: str, message: str) -> Failure:
    return Failure(kind=kind, message=without_credentials(message)[:_LONGEST])
