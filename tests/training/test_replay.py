"""Stored rollouts and threads of an app: shown, scored anew, and trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from evals.fake_server import FakeModelServer
from graph import Context, build_graph
from graph.context import Context as GraphContext
from training.config import load_config
from training.engine import Sampling
from training.flow_grpo import main as flow_grpo
from training.flow_grpo import train
from training.metrics import read_metrics
from training.policy import PolicyChat
from training.records import Rollout
from training.replay import main
from training.store import read_rollouts

from .scripted_engine import ScriptedEngine
from .toy import toy_config, toy_tools


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, policy_folder: Path) -> Path:
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("recorded")
    train(toy_config(folder, policy_folder, steps=2))
    return folder / "run"


def wants_double(task: Any, state: Any) -> float:
    return float(state["answer"] == "double")


def test_rollouts_are_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), "--step", "1", "--limit", "3"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("=== 1/") == 3
    assert "question: Number" in shown
    assert "wanted: shout" in shown
    assert main(["show", str(run), "--step", "9"]) == 2
    assert main(["show", str(run / "nowhere")]) == 2


def test_rollouts_scored_anew_can_be_trained_on(run: Path, tmp_path: Path, policy_folder: Path) -> None:
    again = tmp_path / "again"
    assert main(["rescore", str(run), "--reward", f"{__name__}:wants_double", "--out", str(again)]) == 0
    before, after = list(read_rollouts(run / "rollouts")), list(read_rollouts(again))
    assert [rollout.turns for rollout in before] == [rollout.turns for rollout in after]
    assert all((rollout.answer == "double") == (rollout.reward == 1.0) for rollout in after)
    assert main(["rescore", str(run), "--reward", "scorer", "--out", str(again)]) == 2  # it holds something already
    train(toy_config(tmp_path, policy_folder, steps=2, replay=str(again), lora_rank=0, beta=0.0))
    first, second = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert first["reward"] == pytest.approx(sum(r.reward or 0 for r in after if r.step == 0) / 16)
    assert first["logprob_gap"] < 1e-5
    assert second["staleness"] == 0  # of the run that was recorded: it had seen one update as well
    assert second["logprob_gap"] > 1e-4  # by another update than this run's
    assert not (tmp_path / "run" / "rollouts").exists()


def test_more_steps_than_were_recorded_are_refused(
    run: Path, tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy_config(tmp_path, policy_folder, steps=9, replay=str(run / "rollouts"))
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(config.as_dict()))
    assert flow_grpo(["--config", str(settings)]) == 2
    assert "holds 2 steps" in capsys.readouterr().err


def test_planner_samples_carry_the_runs_one_reward(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "samples.jsonl"
    assert main(["samples", str(run), "--out", str(out)]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    rollouts = {rollout.id: rollout for rollout in read_rollouts(run / "rollouts")}
    assert len(lines) == sum(len(rollout.turns) for rollout in rollouts.values())
    assert all(line["reward"] == rollouts[line["run"]].reward for line in lines)
    assert abs(sum(line["advantage"] for line in lines)) < 1e-6


@pytest.mark.parametrize("captured", [True, False])
async def test_threads_of_an_app_become_rollouts(
    captured: bool, tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "threads.sqlite"
    context = Context(direct_arguments=True, verify="rules", answer="last_result", analyse=False, max_turns=1)
    reply = "Tool: shout\nInput: x"
    engine = ScriptedEngine(lambda text, seed: reply)
    policy = PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(), run="app", seed=0)
    with FakeModelServer(lambda request: reply) as server:
        async with AsyncSqliteSaver.from_conn_string(str(database)) as saver:
            graph = build_graph(
                tools=toy_tools(), models={"planner": policy if captured else server.spec}, checkpointer=saver
            )
            for thread in ("a", "b"):
                config: Any = {"configurable": {"thread_id": thread}}
                await graph.ainvoke({"question": f"Number {thread}"}, config, context=context)
    scores = tmp_path / "scores.csv"
    scores.write_text("thread_id,score\na,1\nb,0\n")
    out = tmp_path / "out"
    words = ["threads", str(database), "--scores", str(scores), "--out", str(out)]
    if not captured:
        assert main(words) == 0
        assert "2 threads without captured tokens" in capsys.readouterr().out
        settings = tmp_path / "app.yaml"
        settings.write_text(
            json.dumps(
                {"model": str(policy_folder), "tasks": "none", "tools": [f"{__name__}:shout_tool"], "max_turns": 1,
                 "direct_arguments": True, "verify": "rules", "answer": "last_result", "analyse": False}
            )
        )  # fmt: skip
        assert isinstance(load_config(settings, ["--out", "o"]).context, GraphContext)
        words += ["--config", str(settings)]
    assert main(words) == 0
    made: list[Rollout] = list(read_rollouts(out))
    assert [(rollout.task.id, rollout.reward, rollout.captured) for rollout in made] == [
        ("a", 1.0, captured), ("b", 0.0, captured),
    ]  # fmt: skip
    for rollout in made:
        [turn] = rollout.turns
        assert engine.chat.text(turn.completion_ids) == reply
        assert f"Number {rollout.task.id}" in engine.chat.text(turn.prompt_ids)
    again = ["threads", str(database), "--scores", str(scores), "--out", str(tmp_path / "x")]
    scores.write_text("thread_id,score\nmissing,1\n")
    assert main(again) == 2
    assert "no thread 'missing'" in capsys.readouterr().err


def shout_tool() -> Any:
    return toy_tools()[1]
