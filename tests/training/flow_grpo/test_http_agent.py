"""Programs in no framework through the commands: trained until the reward rises, resumed, measured, refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from tests.training.rollouts.door.test_agent import ASK
from tests.training.rollouts.door.test_command import running
from tests.training.support.answering import answering_policy
from tests.training.support.runs import same, weights
from tests.training.support.toy import toy_tasks
from tests.training.support.vllm_standin import wait_until
from training.flow_grpo.__main__ import main as train
from training.plan.__main__ import main as plan
from training.rollouts.store import read_rollouts
from training.validate.__main__ import main as validate

SUPPORT = Path(__file__).parents[1] / "support"
ASKS = 'print(ask(os.environ["AGENTFLOW_QUESTION"]))'


@pytest.fixture(scope="module")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answering_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture
def words(tmp_path: Path, policy_folder: Path) -> Callable[..., list[str]]:
    """The options of a run whose agent is a program."""

    def make(program: str = ASKS, **more: Any) -> list[str]:
        path = tmp_path / "agent.py"
        path.write_text(ASK + program)
        options = {
            "agent": "http", "agent_command": f"{sys.executable} -S {path}", "model": policy_folder,
            "tasks": toy_tasks(tmp_path / "tasks.jsonl"), "out": tmp_path / "run", "dtype": "float32", "lora_rank": 0,
            "tasks_per_step": 2, "group_size": 6, "max_tokens": 8, "learning_rate": "3e-3", "deterministic": "true",
        } | more  # fmt: skip
        return [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]

    return make


def logged(run: Path) -> list[dict[str, float]]:
    return [line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "loss" in line]


def test_a_script_with_the_openai_client_learns(
    tmp_path: Path, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai", reason="needs the OpenAI client")
    command = f"{sys.executable} {SUPPORT / 'openai_agent.py'}"
    assert train(words(agent_command=command, steps=6, updates_per_step=3, seed=1)) == 0, capsys.readouterr().err
    assert f"agent   {command}, over HTTP at 127.0.0.1" in capsys.readouterr().err
    lines = logged(tmp_path / "run")
    rewards = [line["reward"] for line in lines[::3]]
    assert rewards[-1] > fmean(rewards[:2]) + 0.25, rewards
    rollouts = list(read_rollouts(tmp_path / "run/rollouts"))
    assert len(rollouts) == 6 * 12
    assert {len(rollout.turns) for rollout in rollouts} == {1}
    assert {rollout.ended_by for rollout in rollouts} == {"agent"}
    sampled = sum(len(turn.completion_ids) for rollout in rollouts[:12] for turn in rollout.turns)
    assert lines[0]["tokens/trained"] == sampled
    assert lines[0]["rollout_seconds/tools"] > 0, "the program's own time is not taken for ours"


def test_a_program_is_trained_resumed_and_measured(
    tmp_path: Path, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text('{"id": "v", "question": "Number 99", "answers": ["shout"]}\n')
    program = 'print(json.dumps({"said": {"word": ask(os.environ["AGENTFLOW_QUESTION"])}}))'
    options = words(program, validation=held_out, agent_answer="said.word", role="speaker")
    assert train([*options, "--steps", "1"]) == 0, capsys.readouterr().err
    assert train([*options, "--steps", "2"]) == 0, capsys.readouterr().err
    assert [line["rollouts"] for line in logged(tmp_path / "run")] == [12, 12]
    settings = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert settings["agent"] == "http"
    after = tmp_path / "after"
    arguments = [
        "--config",
        str(tmp_path / "run/config.yaml"),
        "--checkpoint",
        str(tmp_path / "run"),
        "--out",
        str(after),
    ]
    assert validate(arguments) == 0, capsys.readouterr().err
    [measured] = read_rollouts(after / "rollouts")
    assert [turn.role for turn in measured.turns] == ["speaker"]
    assert measured.answer
    assert train([*options, "--steps", "3", "--agent_answer", "said"]) == 2
    assert "agent_answer" in capsys.readouterr().err, "another answer is another run"


def test_a_deterministic_run_is_the_same_again(
    tmp_path: Path, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    program = 'print(ask(ask(os.environ["AGENTFLOW_QUESTION"])))'
    runs = [tmp_path / "one", tmp_path / "other"]
    for run in runs:
        assert train(words(program, out=run, steps=1)) == 0, capsys.readouterr().err
    one, other = ({rollout.id: rollout.turns for rollout in read_rollouts(run / "rollouts")} for run in runs)
    assert len(one) == 12
    assert one == other
    same(*(weights(run / "final") for run in runs))


def test_roles_of_a_program_can_have_an_adapter_each(
    tmp_path: Path, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    program = (
        'question = os.environ["AGENTFLOW_QUESTION"]\nask(question, model="planner")\n'
        'print(ask(question, model="solver"))'
    )
    assert train(words(program, role="planner,solver", policies="per_role", lora_rank=4, steps=1)) == 0, (
        capsys.readouterr().err
    )
    rollouts = list(read_rollouts(tmp_path / "run/rollouts"))
    assert {tuple(turn.role for turn in rollout.turns) for rollout in rollouts} == {("planner", "solver")}
    [checkpoint] = (tmp_path / "run").glob("checkpoint-*")
    assert {path.parent.name for path in checkpoint.rglob("adapter_model.safetensors")} >= {"planner", "solver"}


def test_a_plan_needs_no_agent(
    words: Callable[..., list[str]], policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(["--gpus", "1", *words(deterministic=None)]) == 0, capsys.readouterr().err
    assert "seconds of a step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"agent_command": "no-such-agent"}, "no program 'no-such-agent'"),
        ({"agent_command": f"{sys.executable} no_such_agent.py"}, "No such file"),
        ({"agent_command": None, "agent_url": "http://127.0.0.1:9/"}, "Nothing listens at agent_url"),
        ({"agent_command": None}, "needs either agent_command or agent_url, not both"),
        ({"agent_url": "http://127.0.0.1:9/"}, "needs either agent_command or agent_url, not both"),
        ({"agent": "x:make"}, "agent_command apply to agent: http"),
        ({"agent_config": "{recursion_limit: 3}", "agent_model": "m"}, "agent_model and agent_config apply to graphs"),
        ({"tools": "python"}, "`tools` applies to our graph only"),
        ({"agent_listen": "here:there"}, "write HOST or HOST:PORT"),
        ({"agent_calls": "none"}, "agent_calls"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    more: dict[str, Any], said: str, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(words(steps=1, **more)) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


def test_ctrl_c_leaves_no_program_and_no_key(
    tmp_path: Path, words: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_s3cret_of_ours")
    pids = tmp_path / "pids"
    program = (
        f'ask("?"); open({str(pids)!r}, "a").write(f"{{os.getpid()}}\\n")\n'
        'print(os.environ.get("HF_TOKEN"), flush=True); import time; time.sleep(600)'
    )
    command = [sys.executable, "-m", "training.flow_grpo", *words(program, steps=1, group_size=3)]
    trainer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    try:
        wait_until(lambda: pids.exists() and len(pids.read_text().splitlines()) == 6, 120)
        started = [int(pid) for pid in pids.read_text().split()]
        assert all(map(running, started))
        trainer.send_signal(signal.SIGINT)
        _, shown = trainer.communicate(timeout=60)
    finally:
        trainer.kill()
    assert trainer.returncode == 130, shown
    assert not any(map(running, started))
    assert "s3cret" not in shown
