"""The executor: turns the planned step into calls of one tool and makes them.

The model writes arguments that follow the tool's own schema. For a tool that takes code (its metadata names a `fence`)
it writes a fenced block instead, because small models get the escapes wrong when they put code inside JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, NotRequired, cast

from langchain_core.tools import BaseTool
from langgraph.types import interrupt
from typing_extensions import TypedDict

from graph.checks import ARGUMENT_CHECKS, FORESEEN_INPUTS, PLAN_CHECKS
from graph.checks.arguments import Reader, checked
from graph.checks.plans import Planned, doubts_about
from graph.errors import ContextLengthExceeded
from graph.memory import accepted_turns, failed_call
from graph.parsing import Arguments, calls_in, code_in
from graph.prompts import Facts, executor_messages
from graph.prompts.executor import ASKED
from graph.rendering import conversation_text, results_text
from graph.run import Run
from graph.state import FINISH, Failure, Plan, State, ToolCall, Usage
from graph.tool_calls import call_tool
from tools.arguments import arguments_of, complaint
from tools.card import fence_of
from tools.text import well_formed_value, with_text_keys


class WrittenArguments(TypedDict):
    """Result of the executor's first task."""

    arguments: list[Arguments]
    """One entry per call; empty if no call can be made."""
    error: Failure | None
    usage: dict[str, Usage]
    needs_approval: NotRequired[bool]
    """Whether a human is asked, whatever a call that resumes the run says; absent in earlier checkpoints."""


async def execute(state: State, run: Run) -> State:
    """Carry out the planned step.

    Raises:
        ModelError: the model that writes the arguments did not answer.
    """
    plan = cast("Plan", state["plan"])
    if plan["error"] is not None or plan["tool_name"] == FINISH:
        return State(calls=[], usage=run.usage, seconds=run.seconds)
    tool = next((tool for tool in await run.tools() if tool.name == plan["tool_name"]), None)
    if tool is None:  # it was planned before the run was resumed with fewer tools
        message = f"the tool {plan['tool_name']} is not available any more; choose another"
        failed: Plan = {**plan, "error": Failure(kind="unknown_tool", message=message)}
        return State(calls=[], plan=failed, usage=run.usage, seconds=run.seconds)
    written = await run.in_task("write_arguments", partial(_write_in_time, tool, state, run))
    run.usage = written["usage"]
    if written["error"] is not None:
        return State(calls=[], plan={**plan, "error": written["error"]}, usage=run.usage, seconds=run.seconds)
    arguments, refusal = written["arguments"], None
    if written.get("needs_approval") or tool.name in run.approvals:
        arguments, refusal = _ask_human(tool, arguments, plan)
    calls = [refusal] if refusal else await _call_all(tool, arguments, state, run)
    return State(calls=calls, usage=run.usage, seconds=run.seconds)


def text_argument(schema: Mapping[str, Any]) -> str | None:
    """The name of the only required argument if it is free text: such a tool can take direct input."""
    required = schema.get("required", [])
    if len(required) != 1:
        return None
    field = schema.get("properties", {}).get(required[0], {})
    is_free = field.get("type") == "string" and "enum" not in field and "const" not in field
    return str(required[0]) if is_free else None


async def _write_in_time(tool: BaseTool, state: State, run: Run) -> WrittenArguments:
    try:
        async with run.within_budget():
            arguments = await _write(tool, state, run)
    except TimeoutError:
        error = Failure(kind="timeout", message="the run's time was over")
    except ContextLengthExceeded as problem:
        error = Failure(kind="arguments", message=str(problem))
    else:
        if isinstance(arguments, list):
            asks = tool.name in run.approvals
            return WrittenArguments(arguments=arguments, error=None, usage=run.usage, needs_approval=asks)
        error = Failure(kind="arguments", message=arguments) if isinstance(arguments, str) else arguments
    return WrittenArguments(arguments=[], error=error, usage=run.usage)


async def _write(tool: BaseTool, state: State, run: Run) -> list[Arguments] | str | Failure:
    """The arguments of each call, or a sentence that says why there are none, or why the step is not carried out."""
    plan, tools = cast("Plan", state["plan"]), await run.tools()
    argument = text_argument(arguments_of(tool).schema)
    if run.context.direct_arguments and argument:
        if not plan["input"]:
            return "the reply has no line 'Input: ...' for the tool"
        firm = [check for check in run.held_to(ARGUMENT_CHECKS, "planner") if not check.once]
        return checked(_reads_input(tool, argument), firm, tool, state, tools)(plan["input"])
    fence = fence_of(tool)
    schema: dict[str, Any] | None = None
    if fence and argument:
        form = f"Reply with one block of {fence} code, fenced by ```, and nothing else."
        read = _usable(tool, _reads_block(argument, fence, tool.name))
    else:
        most = run.context.max_calls
        schema = calls_schema(tool, most)
        shape = json.dumps(schema["properties"]["calls"]["items"], ensure_ascii=False)
        form = (
            f'Reply with a JSON object {{"calls": [...]}} that holds, for each call of the tool (usually one, at most '
            f"{most}), its arguments by this schema:\n{shape}"
        )
        read = _reads_calls(tool, most)
    conversation = conversation_text(state.get("messages", []), state["question"], run.context.max_chat_chars)
    doubts = doubts_about(Planned(plan, tool, state, tools), run.held_to(PLAN_CHECKS, "planner"))
    if doubts.refusal is not None:
        return doubts.refusal
    checks = run.held_to(ARGUMENT_CHECKS, "executor")
    for foresee in () if run.wording.changes("executor") else run.held_to(FORESEEN_INPUTS, "executor"):
        if argument and (text := foresee(plan, tool, state)):
            foreseen = checked(_reads_input(tool, argument), checks, tool, state, tools)(text)
            if not isinstance(foreseen, str):
                return foreseen
    facts = Facts(
        f"{conversation}{ASKED}{state['question']}",
        results_text(accepted_turns(state), goals=not doubts.leave_out_goal),
        failed_call(tool, state),
    )
    messages = executor_messages(tool, plan, facts, doubts, form, run.wording)
    read = checked(read, checks, tool, state, tools)
    return await run.ask_for("executor", messages, read, schema=schema)


def calls_schema(tool: BaseTool, most: int) -> dict[str, Any]:
    """JSON schema of a reply with the arguments of at most `most` calls."""
    arguments = arguments_of(tool)
    one_call = arguments.schema if arguments.open else {**arguments.schema, "additionalProperties": False}
    calls = {"type": "array", "items": one_call, "minItems": 1, "maxItems": most}
    whole: dict[str, Any] = {"title": "calls", "type": "object", "properties": {"calls": calls}, "required": ["calls"]}
    whole["additionalProperties"] = False
    return whole


def _reads_input(tool: BaseTool, argument: str) -> Reader:
    return lambda text: _usable_calls(tool, [{argument: text}])


def _reads_block(argument: str, language: str, tool: str = "") -> Reader:
    def read(reply: str) -> list[Arguments] | str:
        code = code_in(reply, language, argument, tool)
        if not code.strip():
            return "the reply holds no code"
        return [{argument: code}]

    return read


def _usable(tool: BaseTool, read: Reader) -> Reader:
    """The reader, held to the tool's schema."""

    def read_usable(reply: str) -> list[Arguments] | str:
        calls = read(reply)
        return calls if isinstance(calls, str) else _usable_calls(tool, calls)

    return read_usable


def _reads_calls(tool: BaseTool, most: int) -> Reader:
    def problem(call: Arguments) -> str | None:
        usable = _usable_calls(tool, [call])
        return usable if isinstance(usable, str) else None

    def read(reply: str) -> list[Arguments] | str:
        calls = calls_in(reply, tool.name, arguments_of(tool).schema, problem, most)
        return calls if isinstance(calls, str) else _usable_calls(tool, calls)

    return read


def _usable_calls(tool: BaseTool, calls: object) -> list[Arguments] | str:
    """The calls if the tool accepts them, or a sentence that says what is wrong with them."""
    if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
        return "the calls are not a list of JSON objects"
    # Arguments that the graph adds itself are dropped silently if the model writes them.
    added = arguments_of(tool).injected.keys()
    calls = [{name: value for name, value in call.items() if name not in added} for call in calls]
    return next((problem for call in calls if (problem := complaint(tool, call))), calls)


def _ask_human(tool: BaseTool, arguments: list[Arguments], plan: Plan) -> tuple[list[Arguments], ToolCall | None]:
    """Ask a human to approve the calls.

    The interrupt's value describes the calls. Resume with True or "approve" to make them, with `{"arguments": [...]}`
    to change them, or with anything else (a reason, False) to refuse them. If the tool does not accept the changed
    arguments, the human is asked again, and the value names the `problem`. They may hold dates and the like; as keys
    these become texts, because calls are compared, shown and stored as JSON.
    """
    question = {"tool": tool.name, "sub_goal": plan["sub_goal"], "calls": arguments}
    answer = well_formed_value(interrupt(question))
    while isinstance(answer, dict) and answer.get("arguments") is not None:
        changed = _usable_calls(tool, with_text_keys(answer["arguments"]))
        if not isinstance(changed, str):
            return changed, None
        answer = well_formed_value(interrupt({**question, "problem": changed}))
    if answer is True or answer == "approve":
        return arguments, None
    reason = answer.get("reason", "") if isinstance(answer, dict) else answer if isinstance(answer, str) else ""
    message = f"a human refused the call{': ' + reason if reason and reason != 'reject' else ''}"
    call = ToolCall(arguments=arguments[0], result="", error=Failure(kind="refused", message=message), seconds=0.0)
    return arguments, call


async def _call_all(tool: BaseTool, arguments: list[Arguments], state: State, run: Run) -> list[ToolCall]:
    finished = await run.in_tasks("call_tool", partial(call_tool, tool, state=state, run=run), arguments)
    for one in finished:
        for role, cost in one["usage"].items():
            run.count(role, cost)
    return [one["call"] for one in finished]
