"""What identifies an evaluation."""

from __future__ import annotations

import pytest

from evals.runs.session import _as_settings
from graph import Context

OF_THE_FIRST_FOLDERS = {
    "model", "planner_model", "analyst", "executor", "verifier", "generator", "tools", "corpus", "max_turns",
    "max_seconds", "max_tokens", "max_result_chars", "max_calls", "temperature", "planner_temperature", "analyse",
    "direct_arguments", "verify", "answer", "report", "ask_before",
}  # fmt: skip


def test_an_evaluation_of_an_earlier_version_can_be_continued() -> None:
    context = Context(model="name@http://127.0.0.1:9/v1", checks="on")
    assert _as_settings(context, "agent").keys() == OF_THE_FIRST_FOLDERS, "see _BEFORE"


def test_the_settings_tell_what_a_default_stands_for() -> None:
    settings = _as_settings(Context(model="embedded"), "agent")
    assert (settings["analyse"], settings["justify"]) == (False, False)
    assert _as_settings(Context(model="embedded", analyse=True, justify=True), "agent")["analyse"] is True
    assert _as_settings(Context(model="name@http://127.0.0.1:9/v1"), "agent")["analyse"] is True


@pytest.mark.parametrize("justify", [None, False, True])
def test_a_justification_that_the_planner_is_not_asked_for_is_no_setting(justify: bool | None) -> None:
    context = Context(model="embedded", analyse=False, justify=justify, direct_arguments=True, checks="on")
    assert _as_settings(context, "agent").keys() == OF_THE_FIRST_FOLDERS
