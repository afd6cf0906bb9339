"""A run keeps its settings: they are recorded in the state, and used where a call that resumes the run gives none.

LangGraph passes a context to one call only. A run that pauses for a human, or is killed, is continued by another call,
which may come from another program: without a record it would go on with another model, other tools, and without the
approvals it began with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from graph.chat import newest_of
from graph.context import Context
from graph.errors import ConfigError
from graph.state import RunState
from tools.secrecy import without_credentials


def continues(state: RunState) -> bool:
    """Whether the planner's visit continues the run in the state, as opposed to starting a new one.

    The verifier marks it as such. The mark does not survive an edit of the state at a pause (`update_state`, Studio);
    an unfinished run then continues unless there is a new question.
    """
    if state.get("continues"):
        return True
    mark, newest = state.get("run"), newest_of(state.get("messages", []))
    if mark is None or state.get("ended_by") or not state.get("memory"):
        return False
    return state["question"] == mark["question"] and (newest is None or newest.id == mark["message_id"])


def as_record(context: Context, before: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not the defaults, as plain data; None in place of an address with a login or a key.

    Args:
        context: The settings.
        before: The record so far; a text that stands in it was examined when it was recorded.
    """
    record: dict[str, Any] = {}
    given = context.given
    for setting in fields(context):
        if setting.name not in given:  # it has its default
            continue
        value = getattr(context, setting.name)
        if value != setting.default:
            is_new = isinstance(value, str) and value != before.get(setting.name)
            is_secret = is_new and without_credentials(value) != value
            record[setting.name] = None if is_secret else list(value) if isinstance(value, tuple) else value
    return record


def resumed(given: Context | None, record: Mapping[str, Any]) -> Context:
    """The settings of a run that goes on.

    Args:
        given: The context of the call that resumes it; what it gives replaces what is recorded.
        record: The settings so far.

    Raises:
        ConfigError: a setting was not recorded because it holds a login, and is not given.
    """
    own = {name: getattr(given, name) for name in given.given} if given is not None else {}
    if given is not None and record.keys() <= own.keys():
        return given
    known = {setting.name for setting in fields(Context)}  # an earlier version may have recorded others
    settings = {name: value for name, value in {**record, **own}.items() if name in known}
    if "tools" in own and "ask_before" not in own:
        settings.pop("ask_before", None)  # it may name tools that are no longer there
    for name, value in settings.items():
        if value is None and name not in own:
            raise ConfigError(
                f"This run began with a `{name}` whose address holds a login or a key, which is not stored: give the "
                f"`{name}` again in the context that resumes the run."
            )
    return Context(**settings)
