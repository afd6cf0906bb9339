"""What a judge's reply says, and what becomes of a run whose judge refuses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from evals.results import Result, ResultFile
from evals.runs.judge import Judge, Opinion, read_opinion
from evals.runs.runner import Plan, run
from evals.task import Task
from graph.errors import ContextLengthExceeded, ModelError, ModelRejected, ModelUnavailable, RequestRefused

TASKS = [Task(id=str(n), question=f"Q{n}?", answers=("Paris",)) for n in range(4)]


@pytest.mark.parametrize(
    ("reply", "correct"),
    [
        ("It is close enough.\nCORRECT", True),
        ("It differs.\nINCORRECT", False),
        ("Reason\n**INCORRECT**\n", False),
        ("Reason\n_CORRECT_.", True),
        ("Reason\nVerdict: Correct", True),
        ("CORRECT", True),
        ("<think>It is INCORRECT?\nCORRECT</think>Another city.\nINCORRECT", False),
        ("It differs.\nNOT CORRECT", None),
        ("The answer is not CORRECT.", None),
        ("It is neither CORRECT nor INCORRECT", None),
        ("CORRECT or INCORRECT", None),
        ("CORRECT\nbut I am not sure", None),
        ("", None),
    ],
)
def test_the_whole_last_line_is_the_verdict(reply: str, correct: bool | None) -> None:
    assert read_opinion(reply).correct is correct


class Refusing:
    """A judge that refuses some tasks."""

    def __init__(self, errors: Mapping[str, ModelError]) -> None:
        self.errors = errors

    async def opinion(self, task: Task, prediction: str) -> Opinion:
        if error := self.errors.get(task.id):
            raise error
        return Opinion(correct=True, reason="the same")


async def judged(folder: Path, errors: Mapping[str, ModelError]) -> list[Result]:
    async def answer(task: Task, seed: int) -> Mapping[str, Any]:
        return {"answer": "Paris"}

    with ResultFile(folder, {"benchmark": "own"}) as file:
        judge = cast(Judge, Refusing(errors))
        return await run(TASKS, answer, file, Plan(concurrency=1, backoff=0.001), judge=judge)


@pytest.mark.parametrize(
    "error", [ContextLengthExceeded("too long"), RequestRefused("not this text"), ModelUnavailable("down")]
)
async def test_a_judge_that_does_not_answer_leaves_the_result_without_an_opinion(
    tmp_path: Path, error: ModelError
) -> None:
    results = await judged(tmp_path / "r", {"2": error})
    assert [result.judge and result.judge["correct"] for result in results] == [True, True, None, True]
    assert results[2].judge == {"correct": None, "reason": str(error)}
    assert all(result.correct for result in results)


async def test_a_prompt_too_long_for_the_judge_ends_no_run_even_if_it_is_the_first(tmp_path: Path) -> None:
    results = await judged(tmp_path / "r", {"0": ContextLengthExceeded("too long")})
    assert [result.judge and result.judge["correct"] for result in results] == [None, True, True, True]


async def test_a_judge_that_refuses_everything_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match="wrong key"):
        await judged(tmp_path / "r", {task.id: ModelRejected("wrong key") for task in TASKS})
