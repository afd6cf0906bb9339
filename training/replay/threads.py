"""Threads of a LangGraph checkpointer become rollouts: runs of an app that was not built for training.

If the planner's model captured its tokens, they are in the thread's state, and the rollout can be trained on. Other
threads are tokenised again from their texts. Such rollouts are marked (`captured` is False) and can only be inspected
or used for supervised fine-tuning.

Threads that were asked the same in the same conversation are runs of one task, and so a group.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from evals.benchmarks.files import read_rows
from evals.task import Task
from graph.chat import speaker_of, text_of
from graph.context import Context
from graph.errors import ConfigError, DataError
from graph.prompts import StepForm, planner_messages, planner_opening
from graph.toolbox import Toolbox
from tools.secrecy import without_credentials
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.records import PlannerTurn, Rollout, rollout_id, seed_from


@dataclass(frozen=True)
class Rendering:
    """How the prompts of threads without captured tokens are rebuilt."""

    chat: ChatTokens
    context: Context
    """The settings of the app."""


def read_scores(path: Path) -> dict[str, float]:
    """The score of each thread, from a data file (`evals.benchmarks.files`) with `thread_id` and `score`.

    Raises:
        DataError: the file cannot be read, a row lacks one of them, or a thread has two scores.
    """
    scores: dict[str, float] = {}
    for number, row in enumerate(read_rows(path), 1):
        where = f"{path}, row {number},"
        thread, score = (row.get(name) for name in ("thread_id", "score"))
        if thread in (None, "") or score in (None, ""):
            raise DataError(f"{where} lacks its thread_id or its score; write both for every thread.")
        if str(thread) in scores:
            raise DataError(f"{where} scores the thread {thread} once more; leave one score for each thread.")
        try:
            scores[str(thread)] = float(score)
        except (ValueError, TypeError, OverflowError):
            raise DataError(f"{where} has the score {score!r}, which is no number.") from None
    return scores


def rollouts_of_threads(
    address: str, scores: Mapping[str, float], rendering: Rendering | None = None
) -> Iterator[Rollout]:
    """The scored threads of a checkpointer.

    Args:
        address: path of a SQLite file, or `postgresql://...`.
        scores: the score of each thread; other threads are left out.
        rendering: how prompts are rebuilt; None leaves out threads without captured tokens.

    Raises:
        ConfigError: the checkpointer's package is missing.
        DataError: it cannot be opened, or a thread with a score is missing.
    """
    for thread, score in scores.items():
        if not math.isfinite(score):
            raise DataError(f"The score of thread {thread!r} is {score}; a score must be a finite number.")
    runs: Counter[str] = Counter()
    try:
        with _saver(address) as saver:
            for thread, score in scores.items():
                snapshot = saver.get_tuple({"configurable": {"thread_id": thread}})
                if snapshot is None:
                    raise DataError(f"The checkpointer {without_credentials(address)} has no thread {thread!r}.")
                state = snapshot.checkpoint["channel_values"]
                if not ({"question", "memory", "planner_turns"} & set(state)):
                    raise DataError(
                        f"Thread {thread!r} is not a run of this graph: its state has {', '.join(sorted(state))}."
                    )
                task = task_of(thread, state)
                rollout = _rollout(thread, task, runs[task.id], score, state, rendering)
                if rollout is not None:
                    runs[task.id] += 1
                    yield rollout
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("sqlite3", "psycopg"):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"The checkpointer {without_credentials(address)} cannot be read: {reason}.") from error


def _saver(address: str) -> AbstractContextManager[Any]:
    if address.startswith(("postgres://", "postgresql://")):
        try:
            from langgraph.checkpoint.postgres import PostgresSaver
        except ImportError:
            raise ConfigError(
                "Reading Postgres needs `pip install langgraph-checkpoint-postgres 'psycopg[binary]'`."
            ) from None
        postgres: AbstractContextManager[Any] = PostgresSaver.from_conn_string(address)
        return postgres
    if not Path(address).is_file():
        raise DataError(f"There is no checkpointer file at {address}; name a SQLite file or postgresql://... .")
    try:
        from langgraph.checkpoint.sqlite import SqliteSaver
    except ImportError:
        raise ConfigError("Reading SQLite needs `pip install langgraph-checkpoint-sqlite`.") from None
    sqlite: AbstractContextManager[Any] = SqliteSaver.from_conn_string(address)
    return sqlite


def task_of(thread: str, state: Mapping[str, Any]) -> Task:
    """What a thread was asked: its id is that of the question and the conversation before it."""
    question, messages = str(state.get("question") or ""), state.get("messages") or []
    asked = max((place for place, message in enumerate(messages) if speaker_of(message) == "user"), default=0)
    earlier = [[speaker_of(message), text_of(message)] for message in messages[:asked]]
    told = json.dumps([*earlier, question or thread])
    name = hashlib.sha256(told.encode()).hexdigest()[:12]
    return Task(id=name, question=question, answers=(), metadata={"thread": thread})


def _rollout(
    thread: str, task: Task, index: int, score: float, state: Mapping[str, Any], rendering: Rendering | None
) -> Rollout | None:
    mark = rollout_id(0, task, index)
    captured = state.get("planner_turns") or []
    if captured:
        turns = [replace(PlannerTurn(**turn), run=mark) for turn in captured]
    elif rendering is not None:
        turns = _rendered(mark, state, rendering)
    else:
        return None
    return Rollout(
        id=mark,
        task=task,
        step=0,
        index=index,
        seed=seed_from(thread),
        turns=tuple(turns),
        reward=score,
        rewards={"outcome": score},
        answer=str(state.get("answer") or ""),
        ended_by=str(state.get("ended_by") or ""),
        analysis=str(state.get("analysis") or ""),
        memory=[dict(turn) for turn in state.get("memory") or ()],
        captured=bool(captured),
    )


def _rendered(mark: str, state: Mapping[str, Any], rendering: Rendering) -> list[PlannerTurn]:
    """The planner's turns, tokenised from their texts."""
    context, chat = rendering.context, rendering.chat
    tools = Toolbox(None).select(context, None)  # type: ignore[arg-type]  # the generalist is described, not asked
    # What the planner was asked for depended on its model, too, which the settings may not name.
    asked_for = (StepForm.asked_in(turn["observation"]) for turn in state.get("memory") or ())
    form, turns_allowed = next(filter(None, asked_for), StepForm.of(context)), context.max_turns
    opening = planner_opening(tools, form=form, can_finish=context.verify == "rules", max_turns=turns_allowed)
    bare: Any = {**state, "planner_turns": []}
    messages = planner_messages(opening, bare, "", turns_allowed, form=form)
    turns: list[PlannerTurn] = []
    asked, turns_taken = messages[: len(opening) + 1], messages[len(opening) + 1 :]
    prompt: list[int] = chat.opening([(_SPEAKERS[message.type], _text(message)) for message in asked])
    for reply, told in zip(turns_taken[::2], turns_taken[1::2], strict=True):
        assert isinstance(reply, AIMessage)
        completion = [*chat.encoded(_text(reply)), chat.end_of_turn]
        unknown = (0.0,) * len(completion)
        turns.append(PlannerTurn(mark, tuple(prompt), tuple(completion), unknown, 0, 1.0, "stop"))
        prompt = chat.extended(prompt, completion, _text(told))
    return turns


_SPEAKERS = {"system": "system", "human": "user", "ai": "assistant"}


def _text(message: BaseMessage) -> str:
    return str(message.text)
