"""The policy's turns as samples: the tokens, text, reward and advantage of each, credited as the run itself does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from training.algo.credit import BROADCAST
from training.rollouts.conversation import Message, ToolCall
from training.rollouts.records import Group, Rollout
from training.run.folder import ROLLOUTS, SETTINGS, read_settings
from training.update.assemble import turn_worths

_USUAL = {"estimator": "grpo", "grouping": "role", "credit": BROADCAST}


def credit_settings(run: Path, chosen: Mapping[str, str | None]) -> dict[str, str]:
    """How turns are credited: as chosen, else as in the settings of the run, else by the defaults.

    Args:
        run: a run's folder, its rollouts or one file of them.
        chosen: `estimator`, `grouping` and `credit`; None where nothing was chosen.

    Raises:
        DataError: the run's settings cannot be read.
    """
    rollouts = run.parent if run.is_file() else run
    folder = rollouts.parent if rollouts.name == ROLLOUTS else rollouts
    own = read_settings(folder) if (folder / SETTINGS).is_file() else {}
    return {name: chosen.get(name) or str(own.get(name, usual)) for name, usual in _USUAL.items()}


def samples_of(group: Group, settings: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """A line for each turn of each rollout of a group; with a rollout alone there is no advantage.

    Args:
        group: the rollouts of one task.
        settings: from `credit_settings`.

    Raises:
        ConfigError: the settings name no estimator, grouping or credit, or do not go together.
    """
    alone = len(group.rollouts) < 2
    values = [[0.0] * len(group.rollouts[0].turns)] if alone else turn_worths(group, **settings)
    for rollout, of_turns in zip(group.rollouts, values, strict=True):
        texts = reply_texts(rollout)
        for number, (turn, advantage) in enumerate(zip(rollout.turns, of_turns, strict=True)):
            place = {"task": rollout.task.id, "step": rollout.step, "turn": number}
            credit = {"reward": rollout.reward, "advantage": advantage, "captured": rollout.captured}
            yield {**place, "text": texts.get(turn.reply_digest), **credit, **turn.as_dict()}


def reply_texts(rollout: Rollout) -> dict[str, str]:
    """The replies that a rollout's record holds, by the digest that a turn has of its own (`PlannerTurn.reply_digest`).

    A run's memory is of one role or of all, and its trace in the order in which calls ended; so no place in them tells
    whose reply it is.
    """
    said = [Message("assistant", text) for text in rollout.trace.get("texts", ())]
    for turn in rollout.memory:
        calls = tuple(ToolCall(call.get("tool", ""), call["arguments"]) for call in turn.get("calls", ()))
        said += [Message("assistant", turn["reply"]), Message("assistant", turn["reply"], calls)]
    return {message.digest: message.content for message in said}
