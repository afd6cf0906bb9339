"""What an evaluation says of its progress."""

from __future__ import annotations

from evals.runs.progress import RunProgress


def test_the_wait_for_the_model_ends_when_it_is_ready() -> None:
    progress = RunProgress("Own questions", 3)
    progress.stage("fetching the model")
    progress.progress(10, 1_117, "MB")
    assert progress.words == "fetching the model: 10 of 1,117 MB"
    progress.stage("loading the model")
    assert progress.words == "loading the model"
    progress.stage("")
    assert progress.words == ""
