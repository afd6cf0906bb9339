"""One run of any graph: its limits, its interrupts, and how it ended.

What ended it is not judged here: an error that may be somebody else's is put into the words of `graph.errors`, and the
collector asks `evals.runs.failures.classify` about it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphRecursionError
from langgraph.pregel import Pregel
from langgraph.types import Command, Interrupt

from evals.runs.failures import is_outage
from graph.errors import AgentFlowError, ConfigError, ContextLengthExceeded, ModelUnavailable
from graph.models.calling import as_model_error
from training.rollouts.policy import CallLimitReached, Policy
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.run_record import RunRecord
from training.run.imports import in_words

_OF_THE_CODE = (NameError, ImportError, SyntaxError, NotImplementedError)
"""Errors of code that cannot run, the agent's as a rule; but a reply that is run or parsed as code causes them, too."""

_LIMITS: Mapping[type[Exception], str] = {
    GraphRecursionError: "recursion",
    ContextLengthExceeded: "context",
    CallLimitReached: "calls",
}
"""Limits of a run, and what its `ended_by` calls them."""


@dataclass(frozen=True)
class GraphOptions:
    """How a graph is run and read."""

    input_field: str | None = None
    """Field of its input that takes the question; None: `messages` if it has them, else `question`."""
    answer: str | None = None
    """Path to the answer in its final state; None: its `answer` if it has one, else the last AI message."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """`configurable` values, `recursion_limit` and `context` of each run."""
    resume: Callable[[Any], Any] | None = None
    """Answers an interrupt, given its value; plain or async. None refuses interrupts."""
    max_seconds: float = math.inf
    """Seconds of a run, waiting for the policy left out."""
    most_calls: int | None = None
    """Calls of the policy in a run; None: any number."""


async def ended_in_time(work: asyncio.Future[Any], policy: Policy, seconds: float) -> bool:
    """Waits for a run or for the end of its time, whichever comes first.

    Args:
        work: the run.
        policy: in it; the run's time stands still while it waits for replies.
        seconds: that it has.
    """
    began = time.perf_counter()
    while not work.done():
        left = seconds - (time.perf_counter() - began - policy.seconds_waited)
        if left <= 0:
            return False
        await asyncio.wait({work}, timeout=None if left == math.inf else max(0.01, left))
    return True


class GraphRun:
    """One run: its state so far, and how it ended.

    Args:
        graph: made for this run.
        policy: the policy in it.
        options: see there.
        name: of the agent, for errors.
    """

    def __init__(self, graph: Pregel[Any, Any, Any, Any], policy: PolicyChat, options: GraphOptions, name: str) -> None:
        self._graph = graph
        self._policy = policy.policy
        self._policy.most_calls = options.most_calls
        self._options = options
        self._name = name
        self.record = RunRecord(self._policy)
        self.values: dict[str, Any] = {}
        """The state as it was last seen, also of a run that failed."""
        self.error: BaseException | None = None
        """What ended it, if it did not end by itself."""
        self.doubt: AgentFlowError | None = None
        """The same in the words of `graph.errors`, if it may be another's failure than the run's own."""

    async def to_its_end(self, given: Mapping[str, Any], config: RunnableConfig) -> str:
        """Runs the graph; what it raises is kept in `error` and `doubt`.

        Returns:
            How it ended: `agent` (by itself), `time`, `recursion`, `context`, `calls` or `error: TYPE`.
        """
        work = asyncio.ensure_future(self._played(given, config))
        try:
            if not await ended_in_time(work, self._policy, self._options.max_seconds):
                return "time"
            await work
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the agent's code raises ends its run
            self.error = error
            for limit, name in _LIMITS.items():
                if isinstance(error, limit):
                    return name
            self.doubt = self._doubt(error)
            return f"error: {type(error).__name__}"
        finally:
            work.cancel()
        return "agent"

    async def _played(self, given: Any, config: RunnableConfig) -> None:
        context = self._options.config.get("context")
        while True:
            interrupts: list[Interrupt] | None = None
            stream: AsyncIterator[Any] = self._graph.astream(
                given, config, context=context, stream_mode=["values", "updates"]
            )
            async for mode, chunk in stream:
                if mode == "values":
                    self.values = {name: value for name, value in chunk.items() if name != "__interrupt__"}
                elif "__interrupt__" in chunk:
                    interrupts = [*(interrupts or ()), *chunk["__interrupt__"]]
            if interrupts is None:
                return
            given = await self._answers(interrupts)

    async def _answers(self, interrupts: Sequence[Interrupt]) -> Command[Any] | None:
        """The input that resumes an interrupted run; None at a breakpoint."""
        resume = self._options.resume
        if resume is None:
            asked = f" and asks {str(interrupts[0].value)[:200]!r}" if interrupts else ""
            raise ConfigError(
                f"The agent {self._name!r} stops for a human{asked}; nobody answers in training. Set `agent_resume` to "
                "a function that does (package.module:function, from the interrupt's value to the answer), or leave "
                "the interrupt out."
            )
        if not interrupts:
            return None
        answers: dict[str, Any] = {}
        for interrupt in interrupts:
            answer = resume(interrupt.value)
            answers[interrupt.id] = await answer if isinstance(answer, Awaitable) else answer
        return Command(resume=answers)

    def _doubt(self, error: BaseException) -> AgentFlowError | None:
        """The error as one of `graph.errors`, or None if nobody else than the run can have caused it.

        Other errors of a tool are the run's own, and so is the end of a time limit that the agent sets for itself.
        """
        of_tool = any(error is known for known in self.record.tool_errors)
        if isinstance(error, AgentFlowError):
            return error
        if is_outage(error) and (of_tool or not isinstance(error, TimeoutError)):
            return ModelUnavailable(f"A service of the agent {self._name!r} did not answer: {in_words(error)}.")
        if of_tool or not isinstance(error, Exception) or isinstance(error, TimeoutError):
            return None
        if isinstance(error, _OF_THE_CODE):
            return ConfigError(f"The agent {self._name!r} cannot run: {in_words(error)}.")
        return as_model_error(error, f"of the agent {self._name}")
