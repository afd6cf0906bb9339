"""What can go wrong, named after the boundary at which it did.

Two kinds of failure never mix. A failure of the *agent* (an unreadable plan, a tool that returned an error, a wrong
answer) is data: it is recorded in the run's memory and the run goes on. A failure of the *surroundings* (no
connection, a wrong key, a missing file) is one of the exceptions below and leaves the run, because no answer made
after it would mean anything.

Every message is one sentence that says what is wrong, where, and what to do next. Command lines print it and exit
with code 2; nobody needs a traceback to mend a typing error. Each is a ValueError or a RuntimeError too, because the
LangGraph server passes on the words of those alone.
"""

from __future__ import annotations


class AgentFlowError(Exception):
    """Base of every error that this project raises on purpose."""

    kind = "error"


class ConfigError(AgentFlowError, ValueError):
    """A setting, an option or a model spec that cannot be used as given."""

    kind = "config"


class DataError(AgentFlowError, ValueError):
    """A file or data set that cannot be read as what it should be."""

    kind = "data"


class ModelError(AgentFlowError, RuntimeError):
    """A language model did not answer."""

    kind = "model"


class ModelUnavailable(ModelError):
    """The model's server failed or was out of reach (connection, time-out, 5xx, cut reply): trying again may help."""


class ModelRejected(ModelError):
    """The server refused the request (wrong key, unknown model, prompt too long): trying again will not help."""


class UnknownModel(ModelRejected):
    """The server does not know the model, or nothing is served at this path."""


class RequestRefused(ModelRejected):
    """The server minds something in the request itself; `detail` is its own text."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ContextLengthExceeded(ModelRejected):
    """The prompt, or the prompt and the reply asked for, do not fit the model's context: end the run, or shorten."""


class ResponseFormatError(ModelError):
    """The generator's model did not fill in the `response_format` that the graph was built with."""

    kind = "response_format"


class SandboxError(AgentFlowError, RuntimeError):
    """Code cannot be run with the promised isolation on this machine."""

    kind = "sandbox"
