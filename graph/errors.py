"""The errors of the project, named after the boundary at which they occur.

Two kinds of failure never mix. A failure of the *agent* (an unreadable plan, a tool's error, a wrong answer) is data:
it is recorded in the run's memory, and the run continues. A failure of its *environment* (no connection, a wrong key,
a missing file) is one of the exceptions below and ends the run, because an answer given after it would be meaningless.

Every message is one sentence that says what is wrong, where, and what to do next, without keys and passwords: it is
shown, logged, stored, and handed to the clients of a server. Command lines print it and exit with
code 2; nobody needs a traceback to fix a typo. Each class is also a ValueError or a RuntimeError, because the LangGraph
server only passes on the messages of those.
"""

from __future__ import annotations

from tools.secrecy import without_credentials


class AgentFlowError(Exception):
    """Base class of all errors that this project raises on purpose."""

    kind = "error"

    def __init__(self, *args: object) -> None:
        super().__init__(*(without_credentials(part) if isinstance(part, str) else part for part in args))


class ConfigError(AgentFlowError, ValueError):
    """An invalid setting, option or model spec."""

    kind = "config"


class DataError(AgentFlowError, ValueError):
    """A file or data set that cannot be read as expected."""

    kind = "data"


class ModelError(AgentFlowError, RuntimeError):
    """A language model did not answer."""

    kind = "model"


class ModelUnavailable(ModelError):
    """The model's server failed or could not be reached (connection, timeout, 5xx, cut reply): a retry may help."""


class ModelRejected(ModelError):
    """The server refused the request (wrong key, unknown model, prompt too long): a retry will not help."""


class UnknownModel(ModelRejected):
    """The server does not know the model, or nothing is served at this path."""


class RequestRefused(ModelRejected):
    """The server minds something in the request itself; `detail` is its own text."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ContextLengthExceeded(ModelRejected):
    """The prompt, or prompt and requested reply together, exceed the model's context: end the run, or shorten."""


class ResponseFormatError(ModelError):
    """The generator's reply does not follow the graph's `response_format`."""

    kind = "response_format"


class SandboxError(AgentFlowError, RuntimeError):
    """Code cannot be run on this machine with the required isolation."""

    kind = "sandbox"
