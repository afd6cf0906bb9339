"""The small world: exact, solvable with its tools, and split without overlap."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from langchain_core.tools import ToolException

from graph.errors import ConfigError
from training.flow_grpo.config import FlowGRPOConfig
from training.rollouts.schedule import MixedSchedule
from training.rollouts.tasks import load_tasks
from training.town import is_held_out, main, parish_register, questions, ship_register, value_of


def test_held_out_questions_share_no_name_and_no_wording(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path)]) == 0
    train, held = (load_tasks(str(tmp_path / f"{name}.jsonl")) for name in ("train", "heldout"))
    assert (len(train), len(held)) == (512, 200)
    assert not {task.prompt for task in train} & {task.prompt for task in held}
    openings = [{" ".join(task.prompt.split()[:3]) for task in tasks} for tasks in (train, held)]
    assert not openings[0] & openings[1] - {"How many are", "What is the"}
    assert {task.metadata["family"] for task in held} == {"ship", "person", "sum", "two steps", "three steps"}


def test_more_questions_than_there_are_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "t"), "--held-out", "1500"]) == 2
    assert "questions can be held out, not 1,500." in capsys.readouterr().err


def test_a_ship_is_not_added_to_itself() -> None:
    for seed in range(20):
        for line in questions(100, seed, held_out=True):
            looked_up = [step["input"] for step in line["metadata"]["steps"] if "input" in step]
            assert len(set(looked_up)) == len(looked_up)


def test_the_registers_know_every_entry_and_nothing_else() -> None:
    ships, people = ship_register(), parish_register()
    assert ships.invoke({"entry": "Karomel / crew"}) == str(value_of("karomel", "crew"))
    for tool, entry in ((ships, "Karomel / born"), (people, "Karomel / crew"), (ships, "the crew of Karomel")):
        with pytest.raises(ToolException):
            tool.invoke({"entry": entry})


def test_names_are_split_by_themselves() -> None:
    lines = questions(50, 3, held_out=True, chains=0.0)
    names = [word.strip("?.,:") for line in lines if line["family"] != "sum" for word in line["question"].split()]
    assert any(is_held_out(name) for name in names)


@pytest.mark.parametrize("name", ["cpu", "cpu_roles", "embedded_planner", "one_gpu", "one_gpu_7b", "eight_gpus"])
def test_the_recipes_are_valid(name: str) -> None:
    path = Path(__file__).parents[2] / "training" / "recipes" / f"{name}.yaml"
    values = {"model": "m", "out": "o", "tasks": "t", "validation": "v"} | yaml.safe_load(path.read_text())
    assert FlowGRPOConfig(**values).steps > 0


def test_tasks_come_from_a_function_as_they_come_from_its_files(tmp_path: Path) -> None:
    main(["--out", str(tmp_path)])
    for name, function in (("train", "training_tasks"), ("heldout", "held_out_tasks")):
        assert load_tasks(f"training.town:{function}") == load_tasks(str(tmp_path / f"{name}.jsonl"))
    with pytest.raises(ConfigError, match="cannot be imported"):
        load_tasks("training.town:nothing")


def test_a_schedule_gives_every_task_its_turn_and_none_twice_in_a_step(tmp_path: Path) -> None:
    main(["--out", str(tmp_path), "--train", "10", "--held-out", "4"])
    schedule = MixedSchedule(load_tasks(str(tmp_path / "train.jsonl")), 5, 1, 4)
    steps = [[task.id for task in schedule.of_step(step)] for step in range(4)]
    assert all(len(set(step)) == 5 for step in steps)
    assert len({*steps[0], *steps[1]}) == 10
    assert steps[:2] != steps[2:]
    assert not {task.id for task in schedule.of_step(0, 1)} & set(steps[0])


@pytest.mark.parametrize("words", [["--train", "-1"], ["--chains", "5"], ["--chains", "nan"]])
def test_numbers_that_cannot_be_are_told(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "town"), *words]) == 2
    assert "it must be a" in capsys.readouterr().err
    assert not (tmp_path / "town").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_files_that_there_is_no_room_for_leave_those_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), "--train", "3", "--held-out", "2"]) == 0
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    full = Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda path, text, **options: full(Path("/dev/full"), text, **options))
    assert main(["--out", str(tmp_path), "--train", "9", "--held-out", "2"]) == 2
    assert "train.jsonl could not be written: the disk is full" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
