"""Rewards: one number from the outcome of a run, and optional small terms.

By default the scorers of `evals` judge the answer (AgentFlow, section 3.2: an outcome reward, broadcast to every
turn). The reward of a rollout is always finite; each term is kept by name, so that a log shows what rose.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.runs.failures import is_outage
from evals.scorers import score
from evals.task import Score, Task
from graph.errors import AgentFlowError, ConfigError, DataError, ModelUnavailable
from tools.counts import kind_of
from training.rollouts.agents import FINAL
from training.rollouts.records import PlannerTurn
from training.run.imports import imported, in_words

State = Mapping[str, Any]


class RewardError(AgentFlowError, RuntimeError):
    """A reward function raised an error, so the run has no reward."""

    kind = "reward"


@dataclass(frozen=True)
class Reward:
    """The reward of a run."""

    total: float
    terms: Mapping[str, float] = field(default_factory=dict)
    """Each part by name, weights applied; they sum to the total."""


Outcome = Callable[[Task, State], Awaitable[float]]
"""The outcome reward of a finished run."""

RewardFunction = Callable[[Task, State, Sequence[PlannerTurn]], Awaitable[Reward]]
"""The reward of a run by its record (`training.rollouts.agents.State`) and the policy's turns."""


def make_reward(
    spec: str = "scorer",
    *,
    format_weight: float = 0.0,
    length_weight: float = 0.0,
    max_tokens: int = 1,
    cache: Path | None = None,
) -> RewardFunction:
    """The reward function of a run.

    Args:
        spec: `scorer`: 1 for a right answer by the task's scorer under its lenient rules, else 0; `exact`: the same
            under the rules of published figures; `partial`: the scorer's graded value (F1 where it has one);
            `judge:SPEC`: 1 if the model SPEC calls the answer right; `package.module:function`:
            your own, called with the task and the finished state, plain or async, returning a number.
        format_weight: added times the share of planner turns that could be read.
        length_weight: subtracted times the mean share of `max_tokens` that the planner's turns took.
        max_tokens: the most tokens of a turn.
        cache: folder for the judge's opinions.

    Raises:
        ConfigError: the spec names nothing that can be used.
    """
    outcome = _outcome(spec, cache)

    async def reward(task: Task, state: State, turns: Sequence[PlannerTurn]) -> Reward:
        terms = {"outcome": await outcome(task, state.get(FINAL, state))}
        if format_weight:
            terms["format"] = format_weight * readable_share(state)
        if length_weight:
            used = [len(turn.completion_ids) / max_tokens for turn in turns]
            terms["length"] = -length_weight * sum(used) / max(1, len(used))
        total = sum(terms.values())
        if not math.isfinite(total):
            raise DataError(f"The reward of task {task.id} is {total}; a reward must be a finite number.")
        return Reward(total, terms)

    return reward


def readable_share(state: State) -> float:
    """The share of a run's plans that named a tool in the form asked for; 0 for a run without turns."""
    memory = state.get("memory") or ()
    return sum(not turn["plan"]["error"] for turn in memory) / max(1, len(memory))


def _outcome(spec: str, cache: Path | None) -> Outcome:
    if spec in _WORTH:
        return _scored(_WORTH[spec])
    kind, _, rest = spec.partition(":")
    if kind == "judge" and rest:
        return _judged(rest, cache)
    if rest and all(part.isidentifier() for part in kind.split(".")):
        return _own(kind, rest)
    raise ConfigError(
        f"There is no reward {spec!r}; write scorer, exact, partial, judge:MODEL or the import path of a function, "
        "package.module:function."
    )


_WORTH: Mapping[str, Callable[[Score], float]] = {
    "scorer": lambda verdict: float(verdict.correct),
    "exact": lambda verdict: float(verdict.exact),
    "partial": lambda verdict: verdict.value,
}
"""Outcome rewards from a scorer's verdict, by name."""


def _scored(worth: Callable[[Score], float]) -> Outcome:
    async def outcome(task: Task, state: State) -> float:
        return worth(await asyncio.to_thread(score, task, state.get("answer")))

    return outcome


def _judged(model: str, cache: Path | None) -> Outcome:
    from evals.runs.judge import Judge
    from graph.models.spec import make_model

    judge = Judge(make_model(model, temperature=0.0, max_tokens=512, timeout=120.0), model, cache or Path("judged"))

    async def outcome(task: Task, state: State) -> float:
        opinion = await judge.opinion(task, str(state.get("answer") or ""))
        if opinion.correct is None:
            raise ModelUnavailable(f"The judge {model} gave no verdict on task {task.id}: {opinion.reason[:100]!r}.")
        return float(opinion.correct)

    return outcome


def _own(module_name: str, attribute: str) -> Outcome:
    spec = f"{module_name}:{attribute}"
    function = imported(spec, "The reward function")
    if not callable(function):
        raise ConfigError(f"The reward {spec!r} is {kind_of(function)}; it must be a function.")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise ConfigError(f"The reward function {spec!r} must take two arguments, the task and the state.") from None

    async def outcome(task: Task, state: State) -> float:
        try:
            if inspect.iscoroutinefunction(function):
                value = await function(task, state)
            else:
                value = await asyncio.to_thread(function, task, state)
        except (Exception, SystemExit) as error:
            if isinstance(error, AgentFlowError) or is_outage(error):
                raise
            raise RewardError(f"The reward function {spec!r} failed on task {task.id}: {in_words(error)}.") from error
        if isinstance(value, bool | int | float):
            return float(value)
        raise DataError(f"The reward function {spec!r} returned {value!r} for task {task.id}; it must be a number.")

    return outcome
