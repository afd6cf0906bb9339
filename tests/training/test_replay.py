"""Stored rollouts and threads of an app: shown, scored anew, and trained on."""

from __future__ import annotations

import asyncio
import glob
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from evals.speed.fake_server import FakeModelServer
from evals.task import Task
from graph import Context, build_graph
from graph.context import Context as GraphContext
from graph.errors import ModelError
from tests.evals.view.samples import own_agent
from tests.training.support.scripted_engine import ScriptedEngine
from tests.training.support.tiny_model import tiny_tokenizer
from tests.training.support.toy import toy_config, toy_tools
from training.engines.base import Sampling
from training.flow_grpo.__main__ import main as flow_grpo
from training.flow_grpo.config import load_config
from training.flow_grpo.launch import train
from training.replay.__main__ import main
from training.replay.threads import task_of
from training.rollouts.agents import GraphAgent
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Rollout, groups_of
from training.rollouts.store import RolloutStore, read_rollouts
from training.run.metrics import read_metrics


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, policy_folder: Path) -> Path:
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("recorded")
    train(toy_config(folder, policy_folder, steps=2))
    return folder / "run"


@pytest.mark.parametrize(
    "words",
    [
        ["--concurrency", "0"],
        ["--concurrency", "-1"],
        ["--max-tokens", "0", "--length-weight", "1"],
        ["--length-weight", "-1"],
        ["--format-weight", "nan"],
    ],
)
def test_numbers_that_cannot_be_are_told(
    words: list[str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rescore", str(run), "--reward", "exact", "--out", str(tmp_path / "new"), *words]) == 2
    assert "it must be a" in capsys.readouterr().err
    assert main(["show", str(run), "--limit", "-1"]) == 2
    assert capsys.readouterr() == ("", "error: --limit is -1; it must be at least 1.\n")


def test_a_folder_without_rollouts_cannot_be_trained_on(
    tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty" / "step-000000.jsonl"
    empty.parent.mkdir()
    empty.touch()
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(toy_config(tmp_path, policy_folder).as_dict()))
    assert flow_grpo(["--config", str(settings), "--replay", str(empty.parent)]) == 2
    assert "holds no rollout" in capsys.readouterr().err


def wants_double(task: Any, state: Any) -> float:
    return float(state["answer"] == "double")


def test_rollouts_are_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), "--step", "2", "--limit", "3"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("=== step 2, task ") == 3
    assert "question: Number" in shown
    assert "expected: shout" in shown
    assert main(["show", str(run), "--step", "9"]) == 2
    assert main(["show", str(run / "nowhere")]) == 2


def test_held_out_rollouts_are_named_by_the_updates_before_them(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run / "rollouts", tmp_path / "validations")
    assert main(["show", str(tmp_path / "validations"), "--step", "1", "--limit", "1"]) == 0
    assert capsys.readouterr().out.startswith("=== update 1, task ")


@pytest.mark.parametrize("old", [False, True])
def test_a_run_of_another_graph_is_shown_in_its_roles(
    old: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(own_agent(tmp_path / "duo", old=old)), "--step", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-3:] == [
        "--- turn 1, planner: plan 1",
        "    price fig -> 7 each",
        "--- turn 2, solver: solution 1",
    ]


def test_rollouts_are_read_without_torch(run: Path) -> None:
    code = (
        "import sys; from training.replay.__main__ import main; main(sys.argv[1:]); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, "show", str(run), "--limit", "1"]
    shown = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    assert shown.startswith("=== step 1, task ")


def test_rollouts_scored_anew_can_be_trained_on(run: Path, tmp_path: Path, policy_folder: Path) -> None:
    again = tmp_path / "again"
    words = ["rescore", str(run), "--reward", f"{__name__}:wants_double", "--out", str(again)]
    assert main([*words, "--format-weight", "0.5"]) == 0
    before, after = list(read_rollouts(run / "rollouts")), list(read_rollouts(again))
    assert [rollout.turns for rollout in before] == [rollout.turns for rollout in after]
    assert all((rollout.answer == "double") == (rollout.rewards["outcome"] == 1.0) for rollout in after)
    assert main(["rescore", str(run), "--reward", "scorer", "--out", str(again)]) == 2  # it holds something already
    assert {rollout.rewards["format"] for rollout in after} <= {0.0, 0.5}
    train(toy_config(tmp_path, policy_folder, steps=2, replay=str(again), lora_rank=0, beta=0.0))
    first, second = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert first["reward"] == pytest.approx(sum(r.reward or 0 for r in after if r.step == 0) / 16)
    assert first["logprob_gap"] < 1e-5
    assert second["staleness"] == 0  # of the run that was recorded: it had seen one update as well
    assert second["logprob_gap"] > 1e-4  # by another update than this run's
    assert not (tmp_path / "run" / "rollouts").exists()


_ASIDE: list[tuple[list[str], int]] = []
"""A command, and what it answered while another was at work."""


def aside(task: Any, state: Any) -> float:
    if len(_ASIDE) == 1:
        _ASIDE.append((_ASIDE[0][0], main(_ASIDE[0][0])))
    return 1.0


def test_two_commands_do_not_write_into_one_folder(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    _ASIDE[:] = [(["rescore", str(run), "--reward", f"{__name__}:wants_double", "--out", str(out)], -1)]
    assert main(["rescore", str(run), "--reward", f"{__name__}:aside", "--out", str(out)]) == 0
    assert _ASIDE[1][1] == 2
    assert f"error: Another process is at work in {out}; wait for it, or choose" in capsys.readouterr().err
    assert {rollout.reward for rollout in read_rollouts(out)} == {1.0}


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


def pair(a: str, b: str) -> str:
    """Join two texts."""
    return a + b


async def two_roles(folder: Path) -> ScriptedEngine:
    """Two runs in which planner and executor are the policy; in the second the executor's reply is another."""
    plan = "Justification: j\nContext: c\nSub-Goal: join x and y\nTool Name: pair"

    def reply(text: str, seed: int) -> str:
        if "Justification" in text.split("<|im_start|>")[-2]:
            return plan
        return f'{{"calls": [{{"a": "x", "b": "{"yz"[len(store)]}"}}]}}'

    engine, task, store = ScriptedEngine(reply), Task("t", "q", ("xz",)), list[Rollout]()
    context = Context(verify="rules", answer="last_result", analyse=False, max_turns=2)
    agent = GraphAgent(context, tools=[StructuredTool.from_function(pair)], role=("planner", "executor"))
    for index in range(2):
        policy = PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(), run=f"0/t/{index}", seed=0)
        state = await agent.run(task, await agent.prepare(task, 0), policy, 0)
        turns, memory = tuple(agent.turns(state, policy)), [dict(turn) for turn in state["memory"]]
        record: dict[str, Any] = {"turns": turns, "memory": memory, "trace": state["trace"], "reward": float(index)}
        store.append(Rollout(f"0/t/{index}", task, 0, index, 0, **record))
    for rollout in store:
        RolloutStore(folder / "rollouts").append(rollout)
    return engine


async def test_a_sample_has_the_text_of_its_tokens_and_the_credit_of_its_run(tmp_path: Path) -> None:
    engine, out = await two_roles(tmp_path), tmp_path / "samples.jsonl"

    def samples(*words: str) -> list[dict[str, Any]]:
        assert main(["samples", str(tmp_path), "--out", str(out), *words]) == 0
        return [json.loads(line) for line in out.read_text().splitlines()]

    broadcast = samples()
    assert {line["role"] for line in broadcast} == {"planner", "executor"}
    for line in broadcast:
        assert engine.chat.text(line["completion_ids"]).removesuffix("<|im_end|>") == line["text"]
    (tmp_path / "config.yaml").write_text("credit: rollout_tree\n")
    tree = samples()
    assert tree == samples("--credit", "rollout_tree") != broadcast
    assert samples("--credit", "broadcast") == broadcast
    assert tree[0]["advantage"] == 0  # both runs began with the same plan


REPLY = "Tool: shout\nInput: x"


async def leave_threads(saver: Any, *, captured: bool, threads: str = "ab", question: str = "") -> None:
    """Runs of an app, kept by its checkpointer; all of one question, or each of its own."""
    context = Context(direct_arguments=True, verify="rules", answer="last_result", analyse=False, max_turns=1)
    engine = ScriptedEngine(lambda text, seed: REPLY)
    policy = PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(), run="app", seed=0)
    with FakeModelServer(lambda request: REPLY) as server:
        graph = build_graph(
            tools=toy_tools(), models={"planner": policy if captured else server.spec}, checkpointer=saver
        )
        for thread in threads:
            config: Any = {"configurable": {"thread_id": thread}}
            await graph.ainvoke({"question": question or f"Number {thread}"}, config, context=context)


@pytest.mark.parametrize("captured", [True, False])
async def test_threads_of_an_app_become_rollouts(
    captured: bool, tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "threads.sqlite"
    async with AsyncSqliteSaver.from_conn_string(str(database)) as saver:
        await leave_threads(saver, captured=captured)
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
        assert isinstance(load_config(settings, {"out": "o"}).context, GraphContext)
        words += ["--config", str(settings)]
        words[-3] = str(tmp_path / "rendered")
        out = tmp_path / "rendered"
    assert main(words) == 0
    made: list[Rollout] = list(read_rollouts(out))
    assert [(rollout.task.metadata["thread"], rollout.reward, rollout.captured) for rollout in made] == [
        ("a", 1.0, captured), ("b", 0.0, captured),
    ]  # fmt: skip
    assert made[0].task.id != made[1].task.id
    for rollout in made:
        [turn] = rollout.turns
        chat = ChatTokens(tiny_tokenizer())
        assert chat.text(turn.completion_ids) == REPLY
        assert f"Number {rollout.task.metadata['thread']}" in chat.text(turn.prompt_ids)
    again = ["threads", str(database), "--scores", str(scores), "--out", str(tmp_path / "x")]
    scores.write_text("thread_id,score\nmissing,1\n")
    assert main(again) == 2
    assert "no thread 'missing'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "x.tmp").exists()


@pytest.mark.parametrize(
    ("settings", "reply", "labels"),
    [
        ({"justify": False}, "Context: c\nSub-Goal: g\nTool Name: shout", "Context, Sub-Goal and Tool Name"),
        ({"direct_arguments": True}, REPLY, "Tool and Input"),
    ],
)
async def test_a_thread_tells_what_its_planner_was_asked_for(
    tmp_path: Path, policy_folder: Path, settings: dict[str, Any], reply: str, labels: str
) -> None:
    context = Context(verify="rules", answer="last_result", analyse=False, max_turns=1, **settings)
    database = tmp_path / "threads.sqlite"
    async with AsyncSqliteSaver.from_conn_string(str(database)) as saver:
        with FakeModelServer(lambda request: reply) as server:
            graph = build_graph(tools=toy_tools(), models=server.spec, checkpointer=saver)
            await graph.ainvoke({"question": "q"}, {"configurable": {"thread_id": "a"}}, context=context)
    (tmp_path / "scores.csv").write_text("thread_id,score\na,1\n")
    config = {"model": str(policy_folder), "tasks": "none", "tools": [f"{__name__}:shout_tool"], "max_turns": 1}
    (tmp_path / "app.yaml").write_text(json.dumps({**config, "verify": "rules", "answer": "last_result"}))
    words = ["threads", str(database), "--scores", str(tmp_path / "scores.csv"), "--out", str(tmp_path / "out")]
    assert main([*words, "--config", str(tmp_path / "app.yaml")]) == 0
    [rollout] = read_rollouts(tmp_path / "out")
    [turn] = rollout.turns
    chat = ChatTokens(tiny_tokenizer())
    assert f"Plan the next step: {labels}." in chat.text(turn.prompt_ids)
    assert chat.text(turn.completion_ids) == reply


def as_rollouts(tmp_path: Path, scores: str, out: str, **threads: Any) -> Path:
    """What `replay threads` makes of the threads that `leave_threads` leaves."""

    async def left() -> None:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / f"{out}.sqlite")) as saver:
            await leave_threads(saver, captured=True, **threads)

    asyncio.run(left())
    (tmp_path / f"{out}.csv").write_text("thread_id,score\n" + scores)
    words = ["--scores", str(tmp_path / f"{out}.csv"), "--out", str(tmp_path / out)]
    assert main(["threads", str(tmp_path / f"{out}.sqlite"), *words]) == 0
    return tmp_path / out


def test_threads_with_one_question_are_a_group_that_can_be_trained_on(
    tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    together = as_rollouts(tmp_path, "a,1\nb,0\nc,0\n", "together", threads="abc", question="Number 1")
    [group] = groups_of(list(read_rollouts(together)))
    assert [rollout.index for rollout in group.rollouts] == [0, 1, 2]
    assert main(["show", str(together)]) == 0
    assert "(thread c): reward 0" in capsys.readouterr().out
    config = toy_config(tmp_path, policy_folder, steps=1, replay=str(together))
    train(config)
    [line] = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert (line["rollouts"], line["skipped_groups"], line["zero_variance"]) == (3, 0, 0)
    apart = as_rollouts(tmp_path, "a,1\nb,0\n", "apart")
    with pytest.raises(ModelError, match=r"2 finished .* fewer than two rollouts.* Replay several runs of each"):
        train(toy_config(tmp_path, policy_folder, steps=1, replay=str(apart), out=str(tmp_path / "other")))


async def test_a_question_in_another_conversation_is_another_task(tmp_path: Path) -> None:
    chats = (["Oslo?", "Norway."], ["Rome?", "Italy."], [], ["Rome?", "Italy."])
    states = [
        {"question": "How large is it?", "messages": [*map(HumanMessage, chat[:1]), *map(AIMessage, chat[1:]),
         HumanMessage("How large is it?"), AIMessage(f"Answer {number}")]}
        for number, chat in enumerate(chats)
    ]  # fmt: skip
    names = [task_of(str(number), state).id for number, state in enumerate(states)]
    assert names[1] == names[3]
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("thread,score\na,1\n", "row 1, lacks its thread_id or its score"),
        ("thread_id,score\na,1\nb\n", "row 2, lacks its thread_id or its score"),
        ("thread_id,score\na,good\n", "row 1, has the score 'good', which is no number"),
        ("thread_id,score\na,1\na,0\n", "row 2, scores the thread a once more"),
        ("thread_id,score\na,nan\n", "must be a finite number"),
        ("thread_id,score\na,1\n", "cannot be read: file is not a database"),
        ("\ufeffthread_id,score\na,1\n", "cannot be read: file is not a database"),  # as Excel saves it
    ],
)
def test_threads_that_cannot_be_read_are_told(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.sqlite").write_text("This is text, and long enough to be taken for something else. " * 20)
    (tmp_path / "scores.csv").write_text(text, encoding="utf-8")
    words = ["--scores", str(tmp_path / "scores.csv"), "--out", str(tmp_path / "out")]
    assert main(["threads", str(tmp_path / "no.sqlite"), *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert main(["threads", str(tmp_path / "missing.sqlite"), *words]) == 2
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address, with password, of a Postgres server of our own."""
    pytest.importorskip("psycopg")
    installed = [str(Path(found).parent) for found in (shutil.which("initdb"),) if found]
    places = installed + sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not places:
        pytest.skip("needs a Postgres server's programs")
    owner: dict[str, Any] = {"user": "nobody"} if os.getuid() == 0 else {}  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    (folder / "password").write_text("hunter22\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if owner:
        for path in (folder, folder / "password"):
            shutil.chown(path, "nobody")
    made = [f"{places[0]}/initdb", "-D", str(folder / "data"), "-U", "app", "-A", "scram-sha-256", "--no-sync",
            "--pwfile", str(folder / "password")]  # fmt: skip
    subprocess.run(made, check=True, capture_output=True, cwd=folder, **owner)
    serve = [f"{places[0]}/postgres", "-D", str(folder / "data"), "-p", str(port), "-k", str(folder), "-F"]
    with subprocess.Popen(serve, cwd=folder, stderr=subprocess.PIPE, text=True, **owner) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if "ready to accept connections" in line:
                break
        yield f"postgresql://app:hunter22@127.0.0.1:{port}/postgres"
        server.terminate()
    shutil.rmtree(folder, ignore_errors=True)


async def test_threads_in_postgres_become_rollouts(
    postgres: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    async with AsyncPostgresSaver.from_conn_string(postgres) as saver:
        await saver.setup()
        await leave_threads(saver, captured=True)
    scores = tmp_path / "scores.jsonl"
    scores.write_text('{"thread_id": "b", "score": 0.5}\n{"thread_id": "a", "score": 0}\n')
    words = ["--scores", str(scores), "--out", str(tmp_path / "out")]
    assert main(["threads", postgres, *words]) == 0
    made = list(read_rollouts(tmp_path / "out"))
    threads = [(rollout.task.metadata["thread"], rollout.reward, len(rollout.turns)) for rollout in made]
    assert threads == [("b", 0.5, 1), ("a", 0.0, 1)]
    scores.write_text('{"thread_id": "c", "score": 1}\n')
    words[-1] = str(tmp_path / "other")
    refused = postgres.replace("hunter22", "wrong555")
    for address, said in ((postgres, "has no thread 'c'"), (refused, "cannot be read")):
        capsys.readouterr()
        assert main(["threads", address, *words]) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1
        assert not {"hunter22", "wrong555"} & set(told.replace("@", ":").split(":"))


def test_a_run_of_another_model_cannot_be_trained_on(
    run: Path, tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (run / "rollouts" / "step-000000.jsonl").read_text().splitlines()
    rollouts = [json.loads(line) for line in lines]
    rollouts[3]["turns"][0]["completion_ids"][0] = 151_000
    (tmp_path / "step-000000.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rollouts))
    config = toy_config(tmp_path, policy_folder, steps=1, replay=str(tmp_path / "step-000000.jsonl"))
    (tmp_path / "settings.yaml").write_text(json.dumps(config.as_dict()))
    assert flow_grpo(["--config", str(tmp_path / "settings.yaml")]) == 2
    assert "the token 151000" in capsys.readouterr().err


def test_an_older_policys_rollouts_are_weighed_by_their_importance(
    run: Path, tmp_path: Path, policy_folder: Path
) -> None:
    """The gradient of a stale rollout is the fresh one's times the truncated ratio: with rollouts whose recorded
    probabilities are half of what they were, every token weighs twice as much."""
    halved = tmp_path / "halved"
    halved.mkdir()
    for rollout in (json.loads(line) for line in (run / "rollouts" / "step-000000.jsonl").read_text().splitlines()):
        for turn in rollout["turns"]:
            turn["logprobs"] = [value - math.log(2) for value in turn["logprobs"]]
        with (halved / "step-000000.jsonl").open("a") as file:
            file.write(json.dumps(rollout) + "\n")
    norms = {}
    for name, place, cap in (("fresh", run / "rollouts", 3.0), ("halved", halved, 3.0), ("capped", halved, 1.5)):
        (tmp_path / name).mkdir(exist_ok=True)
        settings: dict[str, Any] = {"steps": 1, "replay": str(place), "beta": 0.0, "tis_cap": cap}
        train(toy_config(tmp_path / name, policy_folder, **settings))
        [line] = read_metrics(tmp_path / name / "run" / "metrics.jsonl")
        norms[name] = line["grad_norm"]
        assert line["logprob_gap"] == pytest.approx(0.0 if name == "fresh" else math.log(2), abs=1e-3)
        assert line["importance_truncated"] == float(name == "capped")
    assert norms["halved"] == pytest.approx(2 * norms["fresh"], rel=1e-3)
    assert norms["capped"] == pytest.approx(1.5 * norms["fresh"], rel=1e-3)


def shout_tool() -> Any:
    return toy_tools()[1]
