"""Compares runs with and without planning ahead: whether the answers are the same, and how much faster."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from graph import Context
    from graph.state import State


@dataclass(frozen=True)
class AheadReport:
    """The comparison. Both kinds of run use brief verdicts and temperature 0, one question at a time."""

    questions: int
    same: int
    """Questions with the same answer and steps; fewer if the model is not deterministic, as with some servers."""
    plain_seconds: float
    """Median seconds per question without planning ahead."""
    ahead_seconds: float
    ratio: float
    """Median over questions of ahead / plain; below 1 is faster."""
    turns: float
    plain_calls: float
    """Average model calls per question."""
    ahead_calls: float
    discarded_calls: float
    """Average discarded steps per question; included in `ahead_calls`."""


async def compare_ahead(questions: Sequence[str], tools: Sequence[BaseTool | str], context: Context) -> AheadReport:
    """Ask each question with and without planning ahead, alternating which comes first.

    Args:
        questions: At least one.
        tools: As in `build_graph`.
        context: Settings of all runs; `brief_verdicts` is switched on.

    Raises:
        AgentFlowError: the model or a tool cannot be used.
    """
    from graph import build_graph
    from graph.models.roles import model_for
    from graph.models.spec import preflight

    await preflight(model_for("planner", context, {}))
    graph = build_graph(tools=tools, max_turns=context.max_turns)
    plain = replace(context, brief_verdicts=True)

    async def asked(question: str, context: Context) -> tuple[State, float]:
        began = time.perf_counter()
        state = await graph.ainvoke({"question": question}, context=context)
        return state, time.perf_counter() - began

    await asked(questions[0], plain)  # warm-up: imports, connections, and the static beginnings of the prompts
    pairs = []
    for number, question in enumerate(questions):
        contexts = [plain, replace(plain, speculate=True)]
        order = contexts if number % 2 == 0 else contexts[::-1]
        outcomes = {context.speculate: await asked(question, context) for context in order}
        pairs.append((outcomes[False], outcomes[True]))
    return _report(pairs)


def _report(pairs: Sequence[tuple[tuple[State, float], tuple[State, float]]]) -> AheadReport:
    states = [state for (state, _), _ in pairs]
    ahead = [state for _, (state, _) in pairs]
    return AheadReport(
        questions=len(pairs),
        same=sum(_steps(one) == _steps(other) for one, other in zip(states, ahead, strict=True)),
        plain_seconds=round(statistics.median(seconds for (_, seconds), _ in pairs), 3),
        ahead_seconds=round(statistics.median(seconds for _, (_, seconds) in pairs), 3),
        ratio=round(statistics.median(later / sooner for (_, sooner), (_, later) in pairs), 3),
        turns=round(statistics.fmean(len(state["memory"]) for state in states), 2),
        plain_calls=round(statistics.fmean(map(_calls, states)), 2),
        ahead_calls=round(statistics.fmean(map(_calls, ahead)), 2),
        discarded_calls=round(statistics.fmean(_calls(state, "discarded") for state in ahead), 2),
    )


def _steps(state: State) -> object:
    steps = [(turn["reply"], [call["result"] for call in turn["calls"]], turn["verdict"]) for turn in state["memory"]]
    return state["answer"], steps


def _calls(state: State, role: str | None = None) -> int:
    return sum(int(cost["calls"]) for name, cost in state["usage"].items() if role in (None, name))
