"""The two ways in which a tool fails.

`ToolException` (LangChain's own) is the agent's failure: the tool worked, the request was bad, and the planner can do
better next time. `ToolUnavailable` is nobody's: the service behind the tool did not answer. The run sees both as a
failed call; training leaves out runs that met the second, since their outcome says nothing about the planner.
"""

from __future__ import annotations

from langchain_core.tools import ToolException


class ToolUnavailable(ToolException):
    """The service behind a tool could not be reached or failed, after the tool's own retries."""
