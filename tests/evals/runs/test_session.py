"""What identifies an evaluation."""

from __future__ import annotations

from evals.runs.session import _as_settings
from graph import Context

OF_THE_FIRST_FOLDERS = {
    "model", "planner_model", "analyst", "executor", "verifier", "generator", "tools", "corpus", "max_turns",
    "max_seconds", "max_tokens", "max_result_chars", "max_calls", "temperature", "planner_temperature", "analyse",
    "direct_arguments", "verify", "answer", "report", "ask_before",
}  # fmt: skip


def test_an_evaluation_of_an_earlier_version_can_be_continued() -> None:
    assert _as_settings(Context(checks="on"), "agent").keys() == OF_THE_FIRST_FOLDERS, "see _BEFORE"
