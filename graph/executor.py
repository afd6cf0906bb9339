"""The executor: turns the planned step into calls of one tool, and makes them.

The model writes arguments by the tool's own `args_schema`. A tool that takes one piece of code (its metadata names a
`fence`) gets a fenced block instead, because code inside JSON costs small models their escapes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.runnables import RunnableConfig, patch_config
from langchain_core.tools import BaseTool, ToolException
from langgraph.config import get_config
from langgraph.types import interrupt
from typing_extensions import TypedDict

from graph.checks import ARGUMENT_CHECKS, PLAN_CHECKS
from graph.checks.arguments import Arguments, Reader, arguments_complaint, checked
from graph.checks.plans import doubts_about
from graph.errors import AgentFlowError, ContextLengthExceeded
from graph.memory import accepted_turns, failed_call
from graph.parsing import fenced_blocks, find_json, without_thinking
from graph.prompts import Facts, executor_messages
from graph.rendering import clip, results_text
from graph.run import Run, waits_for_human
from graph.state import FINISH, Failure, Plan, State, ToolCall, Usage
from graph.trace import ToolModel, note_call
from tools.card import card_of, fence_of, time_limit_of
from tools.errors import ToolUnavailable


class WrittenArguments(TypedDict):
    """What the first of the executor's tasks has done."""

    arguments: list[Arguments]
    """Of each call; empty where none can be made."""
    error: Failure | None
    usage: dict[str, Usage]


class FinishedCall(TypedDict):
    """What the task of one call has done."""

    call: ToolCall
    usage: dict[str, Usage]
    """Of a model that the tool asked."""


async def execute(state: State, run: Run) -> State:
    """Carry out the planned step.

    Raises:
        ModelError: the model that writes the arguments did not answer.
    """
    plan = cast("Plan", state["plan"])
    if plan["error"] is not None or plan["tool_name"] == FINISH:
        return State(calls=[], usage=run.usage, seconds=run.seconds)
    tool = next(tool for tool in await run.tools() if tool.name == plan["tool_name"])
    written = await run.in_task(partial(_write_in_time, tool, state, run))
    run.usage = written["usage"]
    if written["error"] is not None:
        return State(calls=[], plan={**plan, "error": written["error"]}, usage=run.usage, seconds=run.seconds)
    arguments, refusal = _ask_human(tool, written["arguments"], plan, run)
    calls = [refusal] if refusal else await _call_all(tool, arguments, run)
    return State(calls=calls, usage=run.usage, seconds=run.seconds)


def text_argument(schema: Mapping[str, Any]) -> str | None:
    """The name of the only required argument, if that is a free text: such a tool takes direct input."""
    required = schema.get("required", [])
    if len(required) != 1:
        return None
    field = schema["properties"][required[0]]
    return str(required[0]) if field.get("type") == "string" and "enum" not in field else None


async def _write_in_time(tool: BaseTool, state: State, run: Run) -> WrittenArguments:
    try:
        async with run.within_budget():
            arguments = await _write(tool, state, run)
    except TimeoutError:
        error = Failure(kind="timeout", message="the run's time was over")
    except ContextLengthExceeded as problem:
        error = Failure(kind="arguments", message=str(problem))
    else:
        if not isinstance(arguments, str):
            return WrittenArguments(arguments=arguments, error=None, usage=run.usage)
        error = Failure(kind="arguments", message=arguments)
    return WrittenArguments(arguments=[], error=error, usage=run.usage)


async def _write(tool: BaseTool, state: State, run: Run) -> list[Arguments] | str:
    """The arguments of each call, or a sentence that says why there are none."""
    plan = cast("Plan", state["plan"])
    one_call = run.toolbox.schema(tool)
    argument = text_argument(one_call)
    if run.context.direct_arguments and argument:
        return [{argument: plan["input"]}] if plan["input"] else "the reply has no line 'Input: ...' for the tool"
    fence = fence_of(tool)
    schema: dict[str, Any] | None = None
    if fence and argument:
        form = f"Reply with one block of {fence} code, fenced by ```, and nothing else."
        read = _reads_block(argument, fence)
    else:
        most = run.context.max_calls
        schema = calls_schema(one_call, most)
        shape = json.dumps(schema["properties"]["calls"]["items"])
        form = (
            f'Reply with a JSON object {{"calls": [...]}} that holds, for each call of the tool (usually one, at most '
            f"{most}), its arguments by this schema:\n{shape}"
        )
        read = _reads_calls(tool, one_call, most)
    facts = Facts(state["question"], results_text(accepted_turns(state)), failed_call(tool, state))
    doubts = doubts_about(plan, tool, state, run.held_to(PLAN_CHECKS, "planner"))
    messages = executor_messages(tool, plan, facts, doubts, form)
    checks = run.held_to(ARGUMENT_CHECKS, "executor")
    read = checked(read, checks, tool, prompt=str(messages[-1].content), state=state)
    return await run.ask_for("executor", messages, read, schema=schema)


def calls_schema(one_call: Mapping[str, Any], most: int) -> dict[str, Any]:
    """JSON schema of a reply that holds the arguments of up to `most` calls, each by the schema `one_call`."""
    definitions = one_call.get("$defs")
    item = {key: value for key, value in one_call.items() if key not in ("$defs", "title", "description")}
    calls = {"type": "array", "items": {**item, "additionalProperties": False}, "minItems": 1, "maxItems": most}
    whole: dict[str, Any] = {"title": "calls", "type": "object", "properties": {"calls": calls}, "required": ["calls"]}
    whole["additionalProperties"] = False
    return whole | ({"$defs": definitions} if definitions else {})


def _reads_block(name: str, language: str) -> Reader:
    def read(reply: str) -> list[Arguments] | str:
        text = without_thinking(reply)
        code = "\n".join(fenced_blocks(text, language)) if "```" in text else text
        if not code.strip():
            return "the reply holds no code"
        return [{name: code}]

    return read


def _reads_calls(tool: BaseTool, one_call: Mapping[str, Any], most: int) -> Reader:
    def read(reply: str) -> list[Arguments] | str:
        value = find_json(without_thinking(reply))
        if value is None:
            return "the reply holds no JSON object"
        calls = value.get("calls", [value]) if isinstance(value, dict) else value
        if isinstance(calls, dict):
            calls = [calls]
        if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
            return "the calls are not a list of JSON objects"
        if len(calls) > most:
            return f"there are {len(calls)} calls; at most {most} are allowed"
        for call in calls:
            if complaint := arguments_complaint(tool, one_call, call):
                return complaint
        return calls

    return read


def _ask_human(
    tool: BaseTool, arguments: list[Arguments], plan: Plan, run: Run
) -> tuple[list[Arguments], ToolCall | None]:
    """Ask whether the calls may be made, if the context wants that.

    The interrupt's value says what is about to happen. It is resumed with True or "approve", with
    `{"arguments": [...]}` to change the calls, or with anything else (a reason, False) to refuse them.
    """
    if tool.name not in run.context.ask_before:
        return arguments, None
    answer = interrupt({"tool": tool.name, "sub_goal": plan["sub_goal"], "calls": arguments})
    if answer is True or answer == "approve":
        return arguments, None
    if isinstance(answer, dict) and isinstance(answer.get("arguments"), list):
        return answer["arguments"], None
    reason = answer.get("reason", "") if isinstance(answer, dict) else answer if isinstance(answer, str) else ""
    message = f"a human refused the call{': ' + reason if reason and reason != 'reject' else ''}"
    call = ToolCall(arguments=arguments[0], result="", error=Failure(kind="refused", message=message), seconds=0.0)
    return arguments, call


async def _call_all(tool: BaseTool, arguments: list[Arguments], run: Run) -> list[ToolCall]:
    finished = await run.in_tasks(partial(call_tool, tool, run=run), arguments)
    for one in finished:
        for role, cost in one["usage"].items():
            run.count(role, cost)
    return [one["call"] for one in finished]


async def call_tool(tool: BaseTool, arguments: Arguments, run: Run) -> FinishedCall:
    """Call a tool once, within its own time limit and the run's; whatever it raises becomes the call's error.

    Raises:
        ModelError: the tool asked a model and that did not answer.
        SandboxError: code cannot be isolated on this machine.
    """
    limit = max(min(time_limit_of(tool), run.seconds_left), 0.0)
    began = time.perf_counter()
    result, error = "", None
    role = card_of(tool).asks_role
    meter = ToolModel(role, run.turn)
    config = _own_config()
    if role:
        callbacks = AsyncCallbackManager.configure(config.get("callbacks"))
        callbacks.add_handler(meter)
        config["callbacks"] = callbacks
    try:
        async with asyncio.timeout(limit):
            result = _as_text(await tool.ainvoke(arguments, config))
    except TimeoutError:
        error = Failure(kind="timeout", message=f"{tool.name} did not finish within {limit:.3g} seconds")
    except ToolUnavailable as problem:
        error = Failure(kind="unavailable", message=str(problem))
    except ToolException as problem:
        error = Failure(kind="tool", message=str(problem))
    except AgentFlowError:
        raise
    except Exception as problem:  # a user's tool may raise anything, and the planner can act on it
        if waits_for_human(problem):
            raise
        error = Failure(kind="tool", message=f"{type(problem).__name__}: {problem}")
    note_call(tool.name, run.turn, began)
    if error is not None:
        error["message"] = clip(error["message"], run.context.max_result_chars)
    seconds = time.perf_counter() - began
    call = ToolCall(
        arguments=arguments, result=clip(result, run.context.max_result_chars), error=error, seconds=seconds
    )
    return FinishedCall(call=call, usage={role: meter.usage(seconds)} if role else {})


def _own_config() -> RunnableConfig:
    """The configuration of this call's own task: a human's answers are told apart by it.

    Once an answer was given without the id of its question, LangGraph hands it to any later question of the step that
    finds no answer of its own. Where this resume names the questions it answers, no other answer may be taken.
    """
    config = patch_config(get_config())
    settings = config.get("configurable", {})
    answers = settings.get("__pregel_scratchpad")
    if answers is not None and settings.get("__pregel_resume_map"):
        alone = dataclasses.replace(answers, get_null_resume=lambda consume=False: None)
        config["configurable"] = {**settings, "__pregel_scratchpad": alone}
    return config


def _as_text(result: Any) -> str:
    """A tool's result as text: content blocks joined, other values as JSON."""
    if isinstance(result, str):
        return result
    if isinstance(result, list) and all(isinstance(block, dict) and "text" in block for block in result):
        return "\n".join(str(block["text"]) for block in result)
    return json.dumps(result, ensure_ascii=False, default=str)
