"""What happens in a run of any graph, recorded by callbacks: tool calls, model calls, their place and cost.

From it and from the policy's own record the run's `memory` is written, in the form that our graph keeps its turns in:
one turn for each call of the policy, with the tool calls that its reply led to. So everything that looks at rollouts
afterwards (figures, breakdown, the page) reads the runs of any agent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from evals.runs.failures import is_outage
from graph.state import Failure, ToolCall, Turn, Usage, add_usage
from graph.trace import Trace
from tools.counts import many
from training.rollouts.places import Places
from training.rollouts.policy import Policy, Sampled

M = TypeVar("M", bound=BaseChatModel)

ROLE = "agentflow_role"
"""Key of a model's role in its metadata."""

_LONGEST_RESULT = 2000
"""Characters of a tool's result that are kept."""


@dataclass
class ToolUse:
    """A call of a tool."""

    name: str
    call_id: str
    arguments: Mapping[str, Any]
    after: int
    """How many calls of the policy had ended when it began."""
    began: float
    result: str = ""
    failure: Failure | None = None
    seconds: float = 0.0


class RunRecord(Places):
    """Follows one run; hand it to the run as a callback.

    Args:
        policy: whose run it is.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self._policy = policy
        self._tools: dict[UUID, ToolUse] = {}
        self._asked: dict[UUID, tuple[str, Sequence[BaseMessage], float]] = {}
        self.trace = Trace()
        self.usage: dict[str, Usage] = {}
        """Cost of each role."""
        self.tool_errors: list[BaseException] = []
        """What tools have raised."""

    def on_chat_model_start(
        self,
        serialized: Any,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the prompt until its reply comes."""
        role = str((metadata or {}).get(ROLE) or "other")
        self._asked[run_id] = (role, list(messages[0]), time.perf_counter())

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Count the tokens and note the reply."""
        role, messages, began = self._asked.pop(run_id, ("other", [], time.perf_counter()))
        generation = response.generations[0][0]
        if not isinstance(generation, ChatGeneration) or not isinstance(generation.message, AIMessage):
            return
        reply = generation.message
        cost = reply.usage_metadata
        self.trace.asked(role, len(self._policy.sampled), messages, reply, began)
        usage = Usage(
            calls=1,
            input_tokens=cost["input_tokens"] if cost else 0,
            output_tokens=cost["output_tokens"] if cost else 0,
            seconds=time.perf_counter() - began,
        )
        self.usage = add_usage(self.usage, {role: usage})

    def on_tool_start(
        self,
        serialized: Mapping[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        inputs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A tool is called."""
        name = str((serialized or {}).get("name") or kwargs.get("name") or "")
        call_id = str(kwargs.get("tool_call_id") or "")
        given = dict(inputs) if inputs is not None else {"input": input_str}
        self._tools[run_id] = ToolUse(name, call_id, given, len(self._policy.sampled), time.perf_counter())

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note its result."""
        use = self._tools.get(run_id)
        if use is not None:
            self._ended(use)
            use.result = _text(output)
            if isinstance(output, ToolMessage) and output.status == "error":
                use.failure = Failure(kind="tool", message=use.result[:_LONGEST_RESULT])

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Note how it failed."""
        self.tool_errors.append(error)
        use = self._tools.get(run_id)
        if use is not None:
            self._ended(use)
            kind = "unavailable" if is_outage(error) else "tool"
            use.failure = Failure(kind=kind, message=f"{type(error).__name__}: {error}"[:_LONGEST_RESULT])

    def _ended(self, use: ToolUse) -> None:
        use.seconds = time.perf_counter() - use.began
        self.trace.called(use.name, use.after, use.began)

    def memory(self, messages: Sequence[object]) -> list[Turn]:
        """The run's turns.

        Args:
            messages: of the final state; they hold the results that no later prompt showed.
        """
        results = dict(self._policy.results)
        results |= {str(m.tool_call_id): _text(m) for m in messages if isinstance(m, ToolMessage)}
        uses = self._uses()
        found = {id(use) for use in uses.values()}
        order = {id(sampled): number for number, sampled in enumerate(self._policy.sampled, 1)}
        turns: list[Turn] = []
        for sampled in sorted(self._policy.sampled, key=lambda each: each.place):
            called = [
                _call(call.name, call.arguments, uses.get(call.id), results.get(call.id, ""), sampled.offered)
                for call in sampled.message.calls
            ]
            # Tools that the graph called by itself belong to the reply before them.
            called += [
                _own_call(use)
                for use in self._tools.values()
                if use.after == order[id(sampled)] and use.call_id not in uses and id(use) not in found
            ]
            turns.append(_turn(sampled, called))
        return turns

    def early_calls(self) -> list[ToolCall]:
        """Calls that the graph made by itself before the policy's first reply; no turn has them."""
        return [_own_call(use) for use in self._tools.values() if use.after == 0]

    def _uses(self) -> dict[str, ToolUse]:
        """The uses of tools that the policy's replies asked for, by the id of their call.

        A node that calls the tool itself (`tool.invoke(call["args"])`) gives no id: the first such use after the reply,
        with the same name and arguments, is that of the call.
        """
        uses: dict[str, ToolUse] = {}
        nameless = [use for use in self._tools.values() if not use.call_id]
        by_id = {use.call_id: use for use in self._tools.values() if use.call_id}
        for number, sampled in enumerate(self._policy.sampled, 1):
            for call in sampled.message.calls:
                said = (number, call.name, _plain(call.arguments))
                use = by_id.get(call.id) or next(
                    (each for each in nameless if (each.after, each.name, _plain(each.arguments)) == said), None
                )
                if use is not None:
                    uses[call.id] = use
                    nameless = [each for each in nameless if each is not use]
        return uses


def in_role(model: M, role: str) -> M:
    """The model as one that callbacks can tell from those of other roles."""
    return model.model_copy(update={"metadata": {**(model.metadata or {}), ROLE: role}})


def _own_call(use: ToolUse) -> ToolCall:
    """A call that the graph made by itself."""
    return _call(use.name, use.arguments, use, use.result, frozenset({use.name}))


def _call(
    name: str, arguments: Mapping[str, Any], use: ToolUse | None, result: str, offered: frozenset[str]
) -> ToolCall:
    unknown = Failure(kind="unknown_tool", message=f"There is no tool {name!r}.") if name not in offered else None
    return ToolCall(
        tool=name,
        arguments=_plain(arguments),
        result=((use.result if use else "") or result)[:_LONGEST_RESULT],
        error=unknown or (use.failure if use else None),
        seconds=round(use.seconds, 4) if use else 0.0,
    )


def _turn(sampled: Sampled, calls: Sequence[ToolCall]) -> Turn:
    message, turn = sampled.message, sampled.turn
    unreadable = f"{many(turn.unreadable, 'tool call')} of the reply could not be read." if turn.unreadable else ""
    failed = next((call["error"] for call in calls if call["error"]), None)
    return Turn(
        reply=message.content,
        plan={
            "justification": message.thinking,
            "context": "",
            "sub_goal": "",
            "tool_name": str(calls[0]["tool"]) if calls else "",
            "input": "",
            "reply": message.content,
            "error": Failure(kind="plan", message=unreadable) if unreadable else None,
        },
        calls=list(calls),
        error=failed,
        verdict={
            "accepted": failed is None and not unreadable,
            "stop": False,
            "reason": "",
            "answer": "",
            "missing": "",
            "source": "rules",
        },
        observation="\n".join(str(call["result"]) for call in calls),
        role=turn.role,
    )


def _text(output: object) -> str:
    return str(output.text) if isinstance(output, BaseMessage) else str(output)


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A storable copy; runtime objects given to a tool are replaced by the name of their type."""
    try:
        text = json.dumps(dict(arguments), skipkeys=True, default=lambda value: f"<{type(value).__name__}>")
    except (ValueError, RecursionError):  # an object that holds itself
        return {}
    plain: dict[str, Any] = json.loads(text)
    return plain
