"""Rollouts on disk: those that other hands have touched, and those that were made again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evals.task import Task
from tests.evals.view.samples import _task, rollout
from training.rollouts.records import Rollout
from training.rollouts.store import RolloutStore, read_rollouts
from training.validate.__main__ import main

TASK = Task(id="t", question="?", answers=("1",))
FAILED = Rollout("0/t/0", TASK, 0, 0, 0, failure={"kind": "unavailable", "message": "."})
RIGHT, WRONG = (Rollout("0/t/0", TASK, 0, 0, 0, reward=reward) for reward in (1.0, 0.0))
OTHER = Rollout("0/t/1", TASK, 0, 1, 0, reward=1.0)


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A measurement of three tasks."""
    store, chance = RolloutStore(tmp_path / "rollouts"), random.Random(0)
    for number in range(3):
        store.append(rollout(0, _task(f"h{number}", 1), 0, chance))
    (tmp_path / "config.yaml").write_text("model: tiny\nsamples: 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda line: line.update(task="t1"), "dictionary update sequence"),
        (lambda line: line["task"].update(id=[]), "its `id` is []"),
        (lambda line: line["task"].update(metadata=None), "its `metadata` is null"),
        (lambda line: line.update(reward="1.0"), 'its `reward` is "1.0", which has to be a number'),
        (lambda line: line.update(rewards={"outcome": None}), "its `rewards.outcome` is null"),
        (lambda line: line.update(memory=[None]), "its `memory.0` is null"),
        (lambda line: line["memory"][0].pop("plan"), "its `memory.0.plan` is missing"),
        (lambda line: line["memory"][0].update(calls=5), "its `memory.0.calls` is 5"),
        (lambda line: line["turns"][0].update(completion_ids="abcdefghijkl"), 'its `completion_ids.0` is "a"'),
        (lambda line: line["turns"][0].update(prompt_ids=5), "not iterable"),
        (lambda line: line.update(index="0"), 'its `index` is "0"'),
    ],
)
def test_fields_of_other_types_are_told(
    edit: Callable[[dict[str, Any]], Any], said: str, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = measured / "rollouts" / "step-000000.jsonl"
    first, second, third = path.read_text().splitlines()
    line = json.loads(second)
    edit(line)
    path.write_text("\n".join([first, json.dumps(line), third]) + "\n")
    assert main(["--compare", str(measured), str(measured)]) == 2
    told = capsys.readouterr().err
    assert f"{path}, line 2: A stored rollout cannot be read" in told
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("line", ["[" * 100_000, '{"schema": ' + "9" * 5000 + "}", "[]", "{"])
def test_lines_that_are_no_rollout_are_told(line: str, measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = measured / "rollouts" / "step-000000.jsonl"
    path.write_text(line + "\n")
    assert main(["--compare", str(measured), str(measured)]) == 2
    told = capsys.readouterr().err
    assert f"{path}, line 1, is no rollout" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("settings", ["[" * 3000, "samples: " + "9" * 5000, "model: 2001-99-99", "- a"])
def test_settings_that_cannot_be_read_are_told(
    settings: str, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (measured / "config.yaml").write_text(settings)
    assert main(["--compare", str(measured), str(measured)]) == 2
    assert "holds no settings" in capsys.readouterr().err


def test_a_file_that_an_editor_has_saved_is_read_whole_and_can_grow(measured: Path) -> None:
    path = measured / "rollouts" / "step-000000.jsonl"
    before = list(read_rollouts(measured))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    assert list(read_rollouts(measured)) == before
    store = RolloutStore(measured / "rollouts")
    store.repair(0)
    more = rollout(0, _task("more", 1), 0, random.Random(0))
    store.append(more)
    assert [each.task.id for each in read_rollouts(measured)] == ["h0", "h1", "h2", "more"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ([FAILED, FAILED], [FAILED]),
        ([FAILED, RIGHT], [RIGHT]),
        ([RIGHT, FAILED], [RIGHT]),
        ([WRONG, RIGHT, FAILED], [WRONG, RIGHT]),  # files of two runs put into one
    ],
)
def test_a_failure_is_left_out_where_the_run_was_made_again(
    written: list[Rollout], read: list[Rollout], tmp_path: Path
) -> None:
    store = RolloutStore(tmp_path)
    for each in [written[0], OTHER, *written[1:]]:
        store.append(each)
    kept = [(each.id, each.reward) for each in read_rollouts(tmp_path)]
    assert sorted(kept, key=str) == sorted([(each.id, each.reward) for each in [*read, OTHER]], key=str)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_the_file_for_which_there_is_no_room_is_named(tmp_path: Path) -> None:
    (tmp_path / "step-000000.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'step-000000.jsonl'}'"):
        RolloutStore(tmp_path).append(RIGHT)
