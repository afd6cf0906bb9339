"""Rollouts in several processes are those of one: tokens, seeds, failures, progress, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from evals.task import Task
from graph.errors import ConfigError, DataError, ModelError, ModelUnavailable
from tests.training.support.pooled import Lender, collectors_of, refuses
from tests.training.support.toy import toy_agent, toy_config
from tests.training.support.vllm_standin import StandIn
from training.engines.in_process import TransformersEngine
from training.flow_grpo.collectors import VALIDATION, make_collectors, make_sources, processes_for
from training.flow_grpo.launch import train
from training.models.policy import load_policy
from training.rollouts.channel import sendable
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.collector import CollectorSettings
from training.rollouts.pool import Pool, PooledRollouts
from training.rollouts.records import Rollout
from training.rollouts.store import RolloutStore, read_rollouts

torch.set_num_threads(1)

ROOT = Path(__file__).parents[3]
TASKS = [Task(id=f"t{number}", question=f"Number {number}", answers=("shout",)) for number in range(6)]


def told(rollout: Rollout) -> tuple[object, ...]:
    """What does not depend on the clock."""
    return (rollout.id, rollout.seed, rollout.turns, rollout.reward, rollout.answer, rollout.failure)


def test_a_run_of_two_processes_makes_the_rollouts_of_one(tmp_path: Path, policy_folder: Path) -> None:
    made = {}
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        model, _ = load_policy(str(policy_folder), "float32")
        with StandIn(model) as server:
            settings = {"engine": "vllm", "vllm_url": server.url, "deterministic": False, "rollout_processes": number}
            held_out = {"validation": str(_held_out(folder)), "validation_every": 1}
            train(toy_config(folder, policy_folder, steps=2, **settings, **held_out))
        made[number] = {
            name: sorted((told(each) for each in read_rollouts(folder / "run" / name)), key=lambda each: str(each[0]))
            for name in ("rollouts", "validations")
        }
    assert made[1] == made[2]
    assert len(made[2]["rollouts"]) == 32


def _held_out(folder: Path) -> Path:
    path = folder / "heldout.jsonl"
    path.write_text('{"id": "h0", "question": "Number 900", "answers": ["shout"]}\n', encoding="utf-8")
    return path


# The pool by itself, with an agent that asks nobody


def pooled(folder: Path, lender: Lender | None = None, **settings: Any) -> PooledRollouts:
    chosen = CollectorSettings(**{"group_size": 4, "backoff": 0.0, **settings})
    pool = Pool(2, lender or Lender(), partial(collectors_of, folder, chosen))
    return PooledRollouts(pool, "training", chosen, RolloutStore(folder))


async def test_failures_progress_and_repairs_reach_the_trainer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lender, seen = Lender(), []
    source = pooled(tmp_path, lender, attempts=2)
    tasks = [*TASKS, Task(id="dead", question="dead", answers=("x",)), Task(id="odd", question="odd", answers=("x",))]
    made = await source.collect(5, tasks, on_rollout=lambda rollout: seen.append(rollout.id))
    assert [rollout.id for rollout in made] == [f"5/{task.id}/{index}" for task in tasks for index in range(4)]
    assert sorted(seen) == sorted(rollout.id for rollout in made)
    by_task = {rollout.task.id: rollout for rollout in made}
    assert by_task["dead"].failure == {"kind": "unavailable", "message": "The service is gone."}
    assert by_task["odd"].failure is not None
    assert by_task["odd"].failure["kind"] == "defect"
    assert "failed with" in caplog.text  # a warning of the other process
    assert lender.recovered == 4  # between two attempts of four runs
    assert len({rollout.answer for rollout in made if rollout.reward is not None}) == 2  # two processes have worked
    assert {rollout.id for rollout in read_rollouts(tmp_path)} == set(seen)
    assert len(lender.counted) == 2
    nan = [Task(id="nan", question="nan", answers=("x",))]
    assert all("must be a number" in (rollout.failure or {})["message"] for rollout in await source.collect(6, nan))
    again = await source.collect(7, TASKS[:1])
    assert len(again) == 4
    await source.pool.aclose()
    fresh = pooled(tmp_path, lender)
    with pytest.raises(DataError, match="must be a number"):  # what every run has met ends the step
        await fresh.collect(8, nan)
    await fresh.pool.aclose()


async def test_stragglers_of_all_processes_are_hurried_together(tmp_path: Path) -> None:
    source = pooled(tmp_path, tail_fraction=0.5, tail_seconds=0.3)
    slow = Task(id="slow", question="slow", answers=("x",))
    made = await asyncio.wait_for(source.collect(0, [slow, *TASKS[:3]]), 120)
    assert {rollout.task.id for rollout in made if rollout.hurried} == {"slow"}
    assert sum(rollout.hurried for rollout in made) == 4
    await source.pool.aclose()


async def test_a_job_that_is_given_up_ends_in_all_processes(tmp_path: Path) -> None:
    source = pooled(tmp_path)
    running = asyncio.create_task(
        source.collect(0, [Task(id=f"endless{n}", question="endless", answers=()) for n in "ab"])
    )
    await _until(lambda: len(list(tmp_path.glob("began-*"))) == 8)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await _until(lambda: len(list(tmp_path.glob("ended-*"))) == 8)
    await source.pool.aclose()


async def test_a_process_that_dies_is_told_in_a_sentence(tmp_path: Path) -> None:
    source = pooled(tmp_path)
    with pytest.raises(ModelError, match=r"Process \d of 2 for rollouts has ended \(signal 9\)"):
        await source.collect(0, [Task(id="killed", question="killed", answers=()), *TASKS])
    await source.pool.aclose()


async def test_what_cannot_be_made_in_another_process_is_told(tmp_path: Path) -> None:
    pool = Pool(2, Lender(), refuses)
    with pytest.raises(ConfigError, match="no such tool"):
        await PooledRollouts(pool, "training", CollectorSettings(), RolloutStore(tmp_path)).collect(0, TASKS)
    await pool.aclose()


async def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_behind(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-m", "tests.training.support.pooled", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, stderr=subprocess.PIPE) as parent:
        deadline = time.monotonic() + 240
        while len(pids := [int(path.name.rpartition("-")[2]) for path in tmp_path.glob("process-*")]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if how == signal.SIGINT:
            os.killpg(parent.pid, how)  # as a terminal does
        else:
            parent.kill()
        parent.wait(60)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() and _state(pid) != "Z" for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    began = {path.name.removeprefix("began-") for path in tmp_path.glob("began-*")}
    ended = {path.name.removeprefix("ended-") for path in tmp_path.glob("ended-*")}
    assert began
    assert began == ended  # each run could clean up


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize(
    ("settings", "cores", "number"),
    [
        ({"tasks_per_step": 8}, 16, 1),  # 64 rollouts
        ({"tasks_per_step": 32}, 16, 2),
        ({"tasks_per_step": 256}, 16, 8),
        ({"tasks_per_step": 256}, 2, 1),
        ({"tasks_per_step": 256, "concurrency": 256}, 16, 2),
        ({"tasks_per_step": 2, "group_size": 1024}, 16, 2),  # groups stay whole
        ({"tasks_per_step": 1, "rollout_processes": 3}, 2, 3),
    ],
)
def test_as_many_processes_as_rollouts_and_cores_ask_for(
    settings: dict[str, Any], cores: int, number: int, tmp_path: Path
) -> None:
    config = toy_config(
        tmp_path,
        tmp_path,
        **{"group_size": 8, "deterministic": False, "engine": "vllm", "vllm_url": "http://h:1/v1", **settings},
    )
    assert processes_for(config, cores) == number


@pytest.mark.parametrize(("processes", "concurrency", "share"), [(1, 16, 16), (2, 16, 8), (3, 16, 5), (4, 2, 1)])
def test_concurrency_is_of_all_training_processes_together(
    processes: int, concurrency: int, share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    config = toy_config(tmp_path, tmp_path, deterministic=False, engine="transformers", concurrency=concurrency)
    nothing: Any = None
    sources, pool = make_sources(config, nothing, nothing, toy_agent(), handed=True)
    assert pool is None
    assert {source.settings.concurrency for source in sources.values()} == {share}


def test_no_more_runs_at_once_than_an_engine_in_this_process_computes(tmp_path: Path, policy_folder: Path) -> None:
    model, tokenizer = load_policy(str(policy_folder), "float32")
    chat = ChatTokens(tokenizer, [2])
    engine = TransformersEngine(model, frozenset({2}), max_batch=5)

    def at_once(**settings: Any) -> int | None:
        config = toy_config(tmp_path, policy_folder, **settings)
        return make_collectors(config, chat, engine, toy_agent())[VALIDATION].settings.concurrency

    assert at_once(deterministic=False) == 5
    assert at_once(deterministic=False, concurrency=3) == 3
    assert at_once(deterministic=True) is None


def test_more_processes_than_can_be_are_refused(tmp_path: Path, policy_folder: Path) -> None:
    with pytest.raises(ConfigError, match="rollout_processes is 2, but the policy samples in the trainer's process"):
        train(toy_config(tmp_path, policy_folder, rollout_processes=2))


class _Stubborn(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class _Lost(ModelUnavailable):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DataError("x"), DataError),
        (_Lost(1, 2), ModelUnavailable),
        (_Stubborn(1, 2), RuntimeError),
        (KeyError("k"), KeyError),
    ],
)
def test_errors_survive_the_way(error: Exception, kind: type[Exception]) -> None:
    sent = pickle.loads(pickle.dumps(sendable(error)))
    assert type(sent) is kind
    assert str(sent) == str(error)
