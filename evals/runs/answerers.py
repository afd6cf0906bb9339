"""What can be evaluated: the agent, or the bare model as its baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evals.runs.leakage import NO_SEARCH, guarded
from evals.runs.runner import Answerer
from evals.task import Task

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import BaseTool
    from langgraph.graph.state import CompiledStateGraph

    from graph import Context


def _config(task: Task, sample_seed: int) -> RunnableConfig:
    """The run's name for traces, and the seed for models that take one."""
    return {
        "configurable": {"seed": sample_seed},
        "run_name": f"{task.benchmark}/{task.id}",
    }


def agent(graph: CompiledStateGraph[Any, Any, Any, Any], context: Context) -> Answerer:
    """The agent, or any other LangGraph graph with `question` as input and `answer` as output."""

    from graph.trace import traced

    async def answer(task: Task, seed: int) -> Mapping[str, Any]:
        with traced() as trace:
            state = await graph.ainvoke({"question": task.prompt}, context=context, config=_config(task, seed))
        return {**state, "trace": trace.as_dict()}

    return answer


def bare_model(context: Context) -> Answerer:
    """The generator's model alone, without tools and turns."""
    from graph import answer_directly
    from graph.trace import traced

    async def answer(task: Task, seed: int) -> Mapping[str, Any]:
        with traced() as trace:
            state = await answer_directly(task.prompt, context, _config(task, seed))
        return {**state, "trace": trace.as_dict()}

    return answer


def guarded_tools(names: Sequence[str], corpus: str | None, pages: Sequence[str]) -> list[BaseTool | str]:
    """The tools of a run, with a leakage guard around those that search; the others remain names.

    Raises:
        ConfigError: there is no such tool, or it lacks its corpus.
    """
    from pathlib import Path

    from graph.errors import ConfigError
    from tools.registry import load_tool

    try:
        return [
            name if name in NO_SEARCH else guarded(load_tool(name, corpus=Path(corpus) if corpus else None), pages)
            for name in names
        ]
    except ValueError as error:
        raise ConfigError(str(error)) from error
