"""A policy measured on held-out tasks: what its pass rate is made of, and whether it beats another."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from evals.task import Task
from graph.errors import DataError, ModelUnavailable
from tests.training.rollouts.test_collector import DIRECT, collector, direct_plan, number_tool
from tests.training.rollouts.test_collector import task as number
from tests.training.support.scripted_engine import ScriptedEngine
from tests.training.support.toy import toy_config, toy_policy
from training.rollouts.agents import GraphAgent, State
from training.rollouts.breakdown import breakdown, parts_of
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Rollout, groups_of
from training.rollouts.store import RolloutStore, read_rollouts
from training.town import questions
from training.validate import measure
from training.validate.__main__ import main
from training.validate.measure import validate

torch.set_num_threads(1)

STEPS = [{"tool": "ship_register", "input": "Karomel / crew"}, {"tool": "python", "result": "90"}]


def turn(tool: str, given: str = "", result: str = "", kind: str = "") -> dict[str, Any]:
    error = {"kind": kind, "message": "."} if kind else None
    call = {"arguments": {"entry": given}, "result": result, "error": None, "seconds": 0.0}
    return {"plan": {"tool_name": tool, "input": given, "error": error}, "calls": [] if kind else [call]}


LOOK_UP, COMPUTE = turn("ship_register", "karomel/crew", "30"), turn("python", "3 * 30", "90")


@pytest.mark.parametrize(
    ("memory", "reward", "parts"),
    [
        ([LOOK_UP, COMPUTE], 1.0, (True, True, True, True)),
        ([LOOK_UP, turn("finish"), COMPUTE], 1.0, (True, True, True, True)),
        ([COMPUTE, LOOK_UP], 0.0, (True, False, False, False)),  # in the wrong order
        ([LOOK_UP, turn("python", "30", "30")], 0.0, (True, True, False, False)),
        ([turn("ship_register", "Karomel / masts", "30"), COMPUTE], 1.0, (True, True, False, True)),
        ([turn("register", kind="unknown_tool"), LOOK_UP], 0.0, (True, False, False, False)),
        ([turn("", kind="plan"), LOOK_UP, COMPUTE], 1.0, (False, True, True, True)),
        ([], 0.0, (False, False, False, False)),
    ],
)
def test_a_run_is_taken_apart(memory: list[dict[str, Any]], reward: float, parts: tuple[bool, ...]) -> None:
    task = Task(id="t", question="?", answers=("90",), metadata={"steps": STEPS})
    rollout = Rollout("0/t/0", task, 0, 0, 0, reward=reward, memory=memory)
    assert tuple(parts_of(rollout).values()) == parts


def test_tasks_without_steps_have_no_such_parts_and_failures_count_as_wrong() -> None:
    plain = Task(id="t", question="?", answers=("90",))
    right = Rollout("0/t/0", plain, 0, 0, 0, reward=1.5, rewards={"outcome": 1.0, "format": 0.5}, memory=[COMPUTE])
    failed = Rollout("0/t/1", plain, 0, 1, 0, failure={"kind": "unavailable", "message": "."})
    assert breakdown([right, failed]) == {"valid_format": 0.5, "solved": 0.5}
    odd = Task(id="t", question="?", answers=("90",), metadata={"steps": "python"})
    with pytest.raises(DataError, match="`steps` that cannot be read"):
        parts_of(Rollout("0/t/0", odd, 0, 0, 0, reward=0.0))


def test_the_small_world_names_its_steps() -> None:
    lines = questions(60, 0, held_out=True)
    by_family = {line["family"]: line for line in lines}
    for family, look_ups in (("two steps", 1), ("three steps", 2)):
        steps = by_family[family]["metadata"]["steps"]
        assert [step["tool"] == "python" for step in steps] == [False] * look_ups + [True]
        assert steps[-1]["result"] == by_family[family]["answers"][0]
    assert by_family["person"]["metadata"]["steps"][0]["input"].split(" / ")[0] in by_family["person"]["question"]


@pytest.fixture
def held_out(tmp_path: Path) -> str:
    path = tmp_path / "held.jsonl"
    lines = [
        {"id": f"v{n}", "question": f"Number {n + 50}", "answers": ["shout"], "family": "even" if n % 2 else "odd",
         "metadata": {"steps": [{"tool": "shout", "input": "x"}]}}
        for n in range(12)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_before_and_after_are_measured_and_compared(
    tmp_path: Path, policy_folder: Path, held_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = toy_policy(tmp_path / "trained", names=["shout"])
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(toy_config(tmp_path, policy_folder, validation_temperature=1.0).as_dict()))
    before, after = (str(tmp_path / name) for name in ("before", "after"))
    common = ["--config", str(settings), "--validation", held_out, "--samples", "2"]
    assert main([*common, "--out", before]) == 0
    assert main([*common, "--checkpoint", str(trained), "--out", after]) == 0
    said = capsys.readouterr().out
    assert f"{trained}: 12 tasks, 24 runs" in said
    assert "  even " in said
    one, two = (json.loads((Path(folder) / "summary.json").read_text()) for folder in (before, after))
    assert two["solved"] > max(one["solved"], 0.5)
    assert two["right_input"] > one["right_input"]
    assert main(["--compare", before, after]) == 0
    told = capsys.readouterr().out
    assert f"{after} is better" in told
    assert (
        f"| solved | {one['solved']:.1%} | {two['solved']:.1%} | {100 * (two['solved'] - one['solved']):+.1f} (" in told
    )
    assert "different settings" not in told
    assert "| turns a run | 1.00 | 1.00 | +0.00 (+0.00 to +0.00) |" in told
    for words, name in (("turns with shout", "tool/shout"), ("tool errors", "tool_errors")):
        shares = [100 * figures["figures"].get(name, 0.0) for figures in (one, two)]
        assert f"| {words} | {shares[0]:.1f} % | {shares[1]:.1f} % | {shares[1] - shares[0]:+.1f} (" in told
    assert f"Combinations of tools that only {after} uses: none." in told
    assert main(["--compare", after, before]) == 0
    assert f"{before} is worse" in capsys.readouterr().out


async def all_at_once(task: Task, state: Mapping[str, Any]) -> float:
    barrier = threading.Barrier(60)
    await asyncio.gather(*(asyncio.to_thread(barrier.wait, 20.0) for _ in range(60)))
    return 1.0


def test_plain_functions_do_not_queue_for_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, store = ScriptedEngine(direct_plan), RolloutStore(tmp_path / "m" / "rollouts")
    agent, reward = GraphAgent(DIRECT, tools=[number_tool()]), f"{__name__}:all_at_once"
    source = collector(engine, agent, store, reward, group_size=1)
    monkeypatch.setattr(
        "training.flow_grpo.build.make_validator", lambda *args, **kwargs: (source, engine, store, [number(4)])
    )
    [rollout] = measure.validate(toy_config(tmp_path, tmp_path / "model", out=str(tmp_path / "m")), None)
    assert (rollout.reward, rollout.failure) == (1.0, None)


def test_an_interrupted_measurement_goes_on(tmp_path: Path, policy_folder: Path, held_out: str) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(toy_config(tmp_path, policy_folder, validation=held_out).as_dict()))
    command = ["--config", str(settings), "--out", str(tmp_path / "m")]
    assert main(command) == 0
    [file] = (tmp_path / "m" / "rollouts").iterdir()
    whole = list(read_rollouts(file))
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:7]) + b'{"schema": 1, "id": "0/v')
    assert main(command) == 0
    again = list(read_rollouts(file))
    assert sorted(rollout.id for rollout in again) == sorted(rollout.id for rollout in whole)
    turns = {rollout.id: [turn.completion_ids for turn in rollout.turns] for rollout in whole}
    assert turns == {rollout.id: [turn.completion_ids for turn in rollout.turns] for rollout in again}


def test_a_repeated_measurement_makes_only_what_is_missing(
    tmp_path: Path, policy_folder: Path, held_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: dict[str, Any] = {"validation": held_out, "validation_limit": 3, "attempts": 1}
    settings = toy_config(tmp_path, policy_folder, **limits, out=str(tmp_path / "m"))
    ran: list[str] = []
    down: set[str] = set()
    run_of = GraphAgent.run

    async def run(self: GraphAgent, task: Task, start: State, policy: PolicyChat, seed: int) -> State:
        ran.append(policy.run)
        if policy.run in down:
            raise ModelUnavailable("down")
        return await run_of(self, task, start, policy, seed)

    monkeypatch.setattr(GraphAgent, "run", run)
    down |= {f"0/v{number}/2" for number in range(12)}
    first = {rollout.id: rollout for rollout in validate(settings, None, samples=3)}
    failed = {name for name, rollout in first.items() if rollout.failure}
    assert (len(ran), len(failed)) == (9, 3)
    ran.clear()
    down.clear()
    down |= {f"0/v{number}/{index}" for number in range(12) for index in (0, 1)}  # others are down now
    second = {rollout.id: rollout for rollout in validate(settings, None, samples=3)}
    assert set(ran) == failed
    assert not any(rollout.failure for rollout in second.values())
    assert all(second[name] == rollout for name, rollout in first.items() if name not in failed)
    assert {rollout.id: rollout for rollout in read_rollouts(tmp_path / "m" / "rollouts")} == second
    assert [len(group.rollouts) for group in groups_of(list(read_rollouts(tmp_path / "m")))] == [3, 3, 3]


def test_an_interrupted_measurement_of_several_runs_a_task_loses_none(
    tmp_path: Path, policy_folder: Path, held_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    config = toy_config(tmp_path, policy_folder, validation=held_out, tail_fraction=0.5, deterministic=False)
    settings.write_text(json.dumps(config.as_dict()))
    command = ["--config", str(settings), "--samples", "3", "--out", str(tmp_path / "m")]
    assert main(command) == 0
    [file] = (tmp_path / "m" / "rollouts").iterdir()
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:7]))
    assert main(command) == 0
    assert json.loads((tmp_path / "m" / "summary.json").read_text())["runs"] == 36
    assert not any(rollout.hurried for rollout in read_rollouts(file))

    lines = Path(held_out).read_text().splitlines(keepends=True)
    Path(held_out).write_text("".join(lines[:4]))
    assert main(command) == 2
    assert "measures other tasks" in capsys.readouterr().err


def test_a_sweep_over_turn_limits_and_another_beside_it(
    tmp_path: Path, policy_folder: Path, held_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the graph without models. The policy's replies are no plans there, so every run takes all its turns."""
    town = {"agent": None, "tools": ["training.town:ship_register"], "direct_arguments": True, "verify": "rules",
            "answer": "last_result", "analyse": False, "validation": held_out, "validation_limit": 3}  # fmt: skip
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(toy_config(tmp_path, policy_folder).as_dict() | town))
    before, after = tmp_path / "before", tmp_path / "after"
    common = ["--config", str(settings), "--max_turns", "2,1"]
    assert main([*common, "--out", str(before)]) == 0
    trained = toy_policy(tmp_path / "trained", steps=2)
    again = [*common, "--checkpoint", str(trained), "--out", str(after), "--against", str(before)]
    assert main(again) == 0
    table = capsys.readouterr().out.partition("against")
    for folder in (before, after):
        for limit in (1, 2):
            assert f"| {folder} | {limit} | 0.0 % | 0.0 % to 56.1 % | {limit}.00 | {limit}.00 to" in table[0]
    assert "| 2 | +0.0 | +0.0 to +0.0 | +0.00 | +0.00 to +0.00 | 3 |" in table[2]
    assert (after / "sweep.svg").read_text().count("<circle") == 8

    whole = (after / "sweep.md").read_text()
    [file] = (after / "turns-2" / "rollouts").iterdir()
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0])
    assert main(again) == 0
    assert (after / "sweep.md").read_text() == whole
    shutil.rmtree(after / "turns-2" / "rollouts")  # interrupted before the first run of this limit ended
    assert main(again) == 0
    assert (after / "sweep.md").read_text() == whole
    shutil.rmtree(before / "turns-1" / "rollouts")
    shutil.rmtree(before / "turns-2" / "rollouts")
    assert main(again) == 2
    assert f"{before} holds no rollouts yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--out is missing"),
        (["--out", "NEW", "--against", "NEW"], "this is none"),
        (["--out", "NEW", "--max_turns", "1,x"], "give whole numbers from 1"),
        (["--out", "NEW", "--max_turns", "1,2"], "limits of its own"),
        (["--out", "RUN"], "another command"),
        (["--out", "NEW", "--validation", "null"], "`validation` is missing"),
        (["--out", "NEW", "--samples", "0"], "at least 1"),
        (["--out", "NEW", "--samples", "1000000000"], "at most 10,000"),
        (["--out", "NEW", "--checkpoint", "NEW"], "no complete checkpoint"),
        (["--compare", "NEW", "NEW"], "holds no rollouts"),
    ],
)
def test_mistakes_are_told(
    words: list[str],
    said: str,
    tmp_path: Path,
    policy_folder: Path,
    held_out: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = toy_config(tmp_path, policy_folder, validation=held_out)
    run = Path(config.out)
    run.mkdir()
    (run / "config.yaml").write_text(json.dumps(config.as_dict()))
    (run / "metrics.jsonl").touch()
    words = [{"RUN": str(run), "NEW": str(tmp_path / "new")}.get(word, word) for word in words]
    assert main(["--config", str(run / "config.yaml"), *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
