"""The made-up chronicle: every answer follows from the passages, and nothing is shared with what is measured."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.benchmarks.loading import load_tasks as load_benchmark
from evals.speed.fake_server import ChatRequest, FakeModelServer
from tools.local_search import LocalIndex
from training.chronicle import FAMILIES, WEEKDAYS, Line, entries, held_out_tasks, main, questions, training_tasks
from training.flow_grpo.config import load_config
from training.flow_grpo.launch import train
from training.plan.__main__ import main as plan
from training.rollouts.tasks import load_tasks
from training.run.metrics import read_metrics

RECIPE = Path(__file__).parents[2] / "training" / "recipes" / "embedded_planner.yaml"
DATE = re.compile(r"\d{1,2} [A-Z]\w+ 1[89]\d\d")
SIZE = re.compile(r"(\d+) (?:metres|inhabitants)")


def solved(question: Line, corpus: Mapping[str, str]) -> str:
    """The answer, read from the passages of what the question names, with nothing of the generator."""
    asked = question["question"]
    names = sorted((name for name in corpus if name in asked), key=asked.index)
    days = [datetime.strptime(DATE.findall(corpus[name])[0], "%d %B %Y") for name in names]
    family = question["family"]
    assert len(names) == (1 if family == "weekday" else 2)
    if family == "weekday":
        return WEEKDAYS[days[0].weekday()]
    if family == "days":
        return str((days[1] - days[0]).days)
    if family == "comparison":
        return names[days.index(min(days))]
    if family == "difference":
        one, other = [int(SIZE.findall(corpus[name])[0]) for name in names]
        return str(abs(one - other))
    born, then = days
    whole = then.year - born.year
    return str(whole - 1 if (then.month, then.day) < (born.month, born.day) else whole)


@settings(max_examples=5)
@given(st.integers(0, 1000), st.booleans())
def test_answers_follow_from_the_passages(seed: int, held_out: bool) -> None:
    corpus = {entry.name: str(entry.passage["text"]) for entry in entries(seed)}
    lines = questions(40, seed, held_out=held_out)
    assert [line["answers"] for line in lines] == [[solved(line, corpus)] for line in lines]


def test_all_kinds_are_asked_and_held_out_ones_differ_in_names_and_wording(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path)]) == 0
    train, held = (load_tasks(str(tmp_path / f"{name}.jsonl")) for name in ("train", "heldout"))
    assert (len(train), len(held)) == (480, 160)
    for tasks in (train, held):
        assert len(set(Counter(str(task.metadata["family"]) for task in tasks).values())) == 1
        assert {task.metadata["family"] for task in tasks} == set(FAMILIES)
        assert {task.metadata["difficulty"] for task in tasks} == {2, 3}
    passages = [json.loads(line) for line in (tmp_path / "corpus.jsonl").read_text().splitlines()]
    asked = [" ".join(task.prompt for task in tasks) for tasks in (train, held)]
    assert not [p["title"] for p in passages if p["title"] in asked[0] and p["title"] in asked[1]]
    openings = [{" ".join(task.prompt.split()[:2]) for task in tasks} for tasks in (train, held)]
    assert not openings[0] & openings[1]
    assert load_tasks("training.chronicle:training_tasks") == train
    assert load_tasks("training.chronicle:held_out_tasks") == held


def test_more_questions_than_there_are_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "c"), "--held-out", "500"]) == 2
    told = capsys.readouterr().err
    assert "such questions can be made, not 500; ask for fewer." in told
    assert told.count("\n") == 1


def test_a_passage_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "cache"))
    main(["--out", str(tmp_path), "--train", "5", "--held-out", "5"])
    index = LocalIndex.open(tmp_path / "corpus.jsonl", cache_dir=tmp_path / "cache")
    for entry in entries()[::20]:
        assert index.search(entry.name, 1)[0].title == entry.name


def test_nothing_of_it_is_in_the_questions_that_are_measured() -> None:
    measured = " ".join(task.prompt for task in load_benchmark("own"))
    assert not [entry.name for entry in entries() if entry.name in measured]
    prompts = {line["question"] for line in [*training_tasks(), *held_out_tasks()]}
    assert not [prompt for prompt in prompts if prompt in measured]


def test_the_recipe_takes_a_step_in_the_full_graph(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny model plans; the frozen roles are scripted, and whoever is asked last is right every other time."""
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "cache"))
    main(["--out", str(tmp_path), "--train", "2", "--held-out", "5"])
    easiest, _ = load_tasks(str(tmp_path / "train.jsonl"))
    (answer,) = easiest.answers
    asked: list[str] = []

    def reply(request: ChatRequest) -> str:
        asked.append(request.role)
        if request.role == "generator":
            return f"Answer: {answer if asked.count('generator') % 2 else 'unknown'}"
        return "A weekday is asked for."

    changed = {
        "model": str(policy_folder), "out": str(tmp_path / "run"), "corpus": str(tmp_path / "corpus.jsonl"),
        "tasks": str(tmp_path / "train.jsonl"), "validation": str(tmp_path / "heldout.jsonl"), "validation_every": 0,
        "engine": "transformers", "dtype": "float32", "device": "cpu", "steps": 1, "tasks_per_step": 1,
        "group_size": 4, "max_turns": 2, "max_tokens": 12, "warmup_steps": 0, "checks": "off",
    }  # fmt: skip
    with FakeModelServer(reply) as server:
        train(load_config(RECIPE, {**changed, "agent_model": server.spec}))
    (line,) = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "reward" in line]
    assert line["reward"] == 0.5
    assert line["grad_norm"] > 0
    assert asked.count("analyst") == 1, "a group shares its analysis"
    assert asked.count("generator") == 4


def test_the_recipe_is_done_in_ten_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    """By its own plan, with two seconds a run for the tools and half of the time for starting and validating."""
    words = ["--config", str(RECIPE), "--model", "m", "--shape", "1.5b", "--gpus", "1", "--gpu", "H100"]
    assert plan([*words, "--tool-seconds", "2", "--json"]) == 0
    seconds = json.loads(capsys.readouterr().out)["seconds"]["total"]
    assert seconds * yaml.safe_load(RECIPE.read_text())["steps"] < 300
