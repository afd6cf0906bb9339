"""`python -m evals run` with the real graph and a fake model server: results, resuming, refusals, failures."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from evals.__main__ import main
from evals.results import read_run
from evals.runs.runner import Plan
from evals.speed.fake_server import ChatReply, ChatRequest, FakeModelServer
from graph.models.openai_compatible import OpenAICompatibleChat


def question(number: int) -> str:
    return f"What is the code word of vault number {number}?"


def numbers_in(request: ChatRequest) -> list[str]:
    return re.findall(r"vault number (\d+)", " ".join(str(message["content"]) for message in request.messages))


class Vaults:
    """A model that asks `generalist` once and knows the code words of the even vaults."""

    def __init__(self) -> None:
        self.fail: dict[str, list[ChatReply]] = {}
        """Replies that come before the real ones, by vault."""

    def __call__(self, request: ChatRequest) -> str | ChatReply:
        vault = numbers_in(request)[0]
        if self.fail.get(vault):
            return self.fail[vault].pop(0)
        if request.role == "planner":
            return (
                f"Justification: It must be asked.\nContext: vault number {vault}\n"
                f"Sub-Goal: ask for the code word of vault number {vault}\nTool Name: generalist"
            )
        if request.role == "executor":
            return json.dumps({"calls": [{"question": question(int(vault))}]})
        if request.role == "verifier":
            return json.dumps({"reason": "the code word is known", "result": "accept", "next": "stop"})
        if request.role == "generator":
            return f"Answer: word{vault}" if int(vault) % 2 == 0 else "Answer: I do not know"
        return f"The code word of vault number {vault} is word{vault}."


@pytest.fixture
def vaults() -> Vaults:
    return Vaults()


@pytest.fixture
def server(vaults: Vaults) -> Iterator[FakeModelServer]:
    with FakeModelServer(vaults) as running:
        yield running


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "vaults.jsonl"
    rows = [{"id": f"v{n}", "question": question(n), "answers": [f"word{n}"]} for n in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def command(questions: Path, server: FakeModelServer, out: Path, *more: str) -> list[str]:
    return [
        "run", "own", "--data", str(questions), "--model", server.spec, "--tools", "generalist",
        "--out", str(out), "--no-progress", *more,
    ]  # fmt: skip


async def until(happened: Callable[[], bool], seconds: float = 100.0) -> None:
    """Wait for something that happens elsewhere, or for so long that the test has failed."""
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        await asyncio.sleep(0.01)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def stable(out: Path) -> list[dict[str, Any]]:
    """The lines without what a clock decides."""
    kept = []
    for line in lines(out):
        for call in [call for turn in line["turns"] for call in turn["calls"]] + list(line["usage"].values()):
            call["seconds"] = 0
        for step in line["trace"]["steps"]:
            step["seconds"] = step["started"] = 0
        kept.append(line | {"seconds": 0})
    return kept


def test_a_part_of_the_questions_is_asked_by_its_name(
    server: FakeModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "vaults.jsonl"
    rows = [
        {
            "id": f"v{n}",
            "question": question(n),
            "answers": [f"word{n}"],
            "split": "held" if n % 2 else "look",
            "family": "even",
        }
        for n in range(6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main(command(path, server, tmp_path / "out", "--split", "held")) == 0
    assert [(line["task"], line["family"]) for line in lines(tmp_path / "out")] == [
        (f"v{n}", "even") for n in (1, 3, 5)
    ]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["settings"]["split"] == "held"
    assert "Accuracy by family" in capsys.readouterr().out
    assert main(command(path, server, tmp_path / "other", "--split", "test")) == 2
    assert "it has held, look and all" in capsys.readouterr().err


def test_a_run_records_every_question_and_sample(
    questions: Path, server: FakeModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(command(questions, server, out, "--samples", "2")) == 0
    found = lines(out)
    assert [(line["task"], line["sample"]) for line in found] == [(f"v{n}", k) for n in range(8) for k in range(2)]
    assert [line["correct"] for line in found] == [n % 2 == 0 for n in range(8) for _ in range(2)]
    assert len({line["seed"] for line in found}) == 16
    assert all(line["turns"][0]["plan"]["tool_name"] == "generalist" for line in found)
    assert all(line["usage"]["planner"]["calls"] == 1 for line in found)
    assert list(tmp_path.glob("out/*.jsonl")) == [out / "results.jsonl"]
    assert "50.0 %" in capsys.readouterr().out


def test_questions_do_not_leak_into_each_other(questions: Path, server: FakeModelServer, tmp_path: Path) -> None:
    assert main(command(questions, server, tmp_path / "out")) == 0
    assert all(len(set(numbers_in(request))) == 1 for request in server.requests)


def test_a_finished_run_is_not_asked_again(questions: Path, server: FakeModelServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(command(questions, server, out)) == 0
    before, asked = (out / "results.jsonl").read_bytes(), len(server.requests)
    assert main(command(questions, server, out)) == 0
    assert (out / "results.jsonl").read_bytes() == before
    assert len(server.requests) == asked


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_and_ends_with_the_same_file(
    questions: Path, vaults: Vaults, tmp_path: Path, stop: signal.Signals
) -> None:
    stopped = threading.Event()
    stopped.set()

    async def reply(request: ChatRequest) -> str | ChatReply:
        """Two questions are answered; the others wait until the run was stopped."""
        if int(numbers_in(request)[0]) > 1:
            await until(stopped.is_set)
        return vaults(request)

    with FakeModelServer(reply) as server:
        whole, out = tmp_path / "whole", tmp_path / "out"
        assert main(command(questions, server, whole)) == 0
        argv = command(questions, server, out, "--concurrency", "1")
        stopped.clear()
        process = subprocess.Popen(
            [sys.executable, "-m", "evals", *argv], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            path = out / "results.jsonl"
            if path.exists() and path.read_bytes().count(b"\n") >= 2:
                break
            time.sleep(0.02)
        process.send_signal(stop)
        _, said = process.communicate(timeout=60)
        stopped.set()
        before = lines(out)
        assert len(before) == 2
        if stop is not signal.SIGKILL:
            assert process.returncode == 130
            assert "goes on from there" in said
        asked = len(server.requests)
        assert main(argv) == 0
        assert stable(out) == stable(whole)
        again = {number for request in server.requests[asked:] for number in numbers_in(request)}
        assert not again & {line["task"].removeprefix("v") for line in before}


def test_a_run_killed_before_its_file_was_put_in_order_is_put_in_order(
    questions: Path, server: FakeModelServer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(command(questions, server, out)) == 0
    path = out / "results.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(reversed(whole.splitlines(keepends=True))))
    assert main(command(questions, server, out)) == 0
    assert path.read_bytes() == whole


def test_a_disk_that_was_full_leaves_a_folder_that_can_be_used(
    questions: Path, server: FakeModelServer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json.tmp").write_text('{"sche')
    assert main(command(questions, server, out, "--concurrency", "9" * 30)) == 0
    assert len(lines(out)) == 8


def test_a_torn_last_line_is_cut_off(questions: Path, server: FakeModelServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(command(questions, server, out)) == 0
    path = out / "results.jsonl"
    whole, data = stable(out), path.read_bytes()
    path.write_bytes(data[: data.rstrip(b"\n").rfind(b"\n") + 40])
    assert main(command(questions, server, out)) == 0
    assert stable(out) == whole


def test_a_model_that_answers_in_turn_is_asked_one_question_at_a_time(
    questions: Path, server: FakeModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAICompatibleChat, "calls_at_once", 1, raising=False)
    assert main(command(questions, server, tmp_path / "out", "--max-turns", "1")) == 0
    asked = [numbers_in(request)[0] for request in server.requests]
    assert len([number for number, _ in groupby(asked)]) == len(set(asked)) == 8


def test_a_folder_of_another_run_is_refused_and_left_alone(
    questions: Path, server: FakeModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(command(questions, server, out)) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(command(questions, server, out, "--max-turns", "3")) == 2
    error = capsys.readouterr().err
    assert "max turns is 10, not 3" in error
    assert "choose another --out" in error
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    strange = tmp_path / "letters"
    strange.mkdir()
    (strange / "letter.txt").write_text("dear", encoding="utf-8")
    assert main(command(questions, server, strange)) == 2
    assert [path.name for path in strange.iterdir()] == ["letter.txt"]


def test_failures_of_the_server_are_tried_again_and_then_counted(
    questions: Path, server: FakeModelServer, vaults: Vaults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evals.runs.session.Plan", partial(Plan, backoff=0.01))
    broken = ChatReply("overloaded", status=503)
    vaults.fail = {"2": [broken] * 2, "4": [broken] * 1000}
    out = tmp_path / "out"
    assert main(command(questions, server, out, "--max-turns", "2")) == 0
    by_task = {line["task"]: line for line in lines(out)}
    assert by_task["v2"]["correct"]
    assert by_task["v4"]["failure"]["kind"] == "unavailable"
    assert by_task["v4"]["attempts"] == 3
    assert not by_task["v4"]["correct"]
    assert len(by_task) == 8

    vaults.fail = {}
    assert main(command(questions, server, out, "--max-turns", "2", "--retry-failures")) == 0
    assert {line["task"]: line for line in lines(out)}["v4"]["correct"]


def test_a_refused_first_call_ends_the_run_in_one_sentence(
    questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeModelServer(lambda _: ChatReply("bad key", status=401)) as server:
        out = tmp_path / "out"
        assert main(command(questions, server, out)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "401" in error
    assert not (out / "run.json").exists()  # the corrected command is not refused


def test_direct_mode_asks_the_bare_model(questions: Path, tmp_path: Path) -> None:
    def answer(request: ChatRequest) -> str:
        return f"Answer: word{numbers_in(request)[0]}"

    with FakeModelServer(answer) as server:
        out = tmp_path / "out"
        bare = [
            part
            for part in command(questions, server, out, "--mode", "direct")
            if part not in ("--tools", "generalist")
        ]
        assert main(bare) == 0
        assert len(server.requests) == 8
    run = read_run(out)
    assert run.settings["mode"] == "direct"
    assert all(result.correct and result.turns == [] for result in run.results)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--tools", "nonsense"], "--tools needs the agent: leave it out, or leave out --mode direct."),
        (["--max-turns", "3", "--no-analysis"], "--max-turns, --no-analysis need the agent: leave them out"),
        (["--block-leaks"], "--block-leaks needs the agent"),
        (["--planner-model", "x"], "--planner-model needs the agent"),
    ],
)
def test_options_that_need_the_agent_are_refused_for_the_bare_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    assert main(["run", "own", "--mode", "direct", "--out", str(tmp_path / "out"), *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_logins_of_models_are_neither_shown_nor_stored(
    questions: Path, server: FakeModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    login = server.spec.replace("http://", "http://alice:s3cretpass@")
    more = ("--model", login, "--planner-model", login, "--judge", login, "--limit", "1")
    for _ in range(2):  # the second finds the settings of the first
        assert main(command(questions, server, tmp_path / "out", *more)) == 0
    stored = "".join(path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert "s3cretpass" not in stored + "".join(capsys.readouterr())
    assert read_run(tmp_path / "out").settings["model"] == server.spec


def test_the_judge_is_asked_once_and_stands_beside_the_score(
    questions: Path, vaults: Vaults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: str(tmp_path / "cache"))

    def opinion(request: ChatRequest) -> str:
        assert request.body["temperature"] == 0
        return "It is close enough.\nCORRECT"

    with FakeModelServer(vaults) as server, FakeModelServer(opinion) as judge:
        assert main(command(questions, server, tmp_path / "a", "--judge", judge.spec)) == 0
        assert "only judge" in capsys.readouterr().out
        assert len(judge.requests) == 8
        assert main(command(questions, server, tmp_path / "b", "--judge", judge.spec)) == 0
        assert len(judge.requests) == 8
    results = read_run(tmp_path / "a").results
    assert all(result.judge and result.judge["correct"] for result in results)
    assert sum(result.correct for result in results) == 4


def test_concurrency_is_used(questions: Path, vaults: Vaults, tmp_path: Path) -> None:
    begun: set[str] = set()

    async def reply(request: ChatRequest) -> str | ChatReply:
        begun.update(numbers_in(request))
        await until(lambda: len(begun) == 8)  # no question is answered before all have begun
        return vaults(request)

    with FakeModelServer(reply) as server:
        assert main(command(questions, server, tmp_path / "out", "--concurrency", "8")) == 0
    assert len(begun) == 8


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no rows"),
        (b'{"id": "a", "question": "Q?"}\n', "has no answers"),
        (b'{"id": "a", "answers": ["x"]}\n', "has no question"),
        (b'{"id": "a", "question": "Q?", "answers": ["x"]}\n' * 2, "has the id 'a'"),
        (b'{"id": "a", "question": "Q\xe9?", "answers": ["x"]}\n', "not UTF-8"),
        (b'{"id": "a", "question": "Q?"\n', "line 1, is not JSON"),
        (b'["a", "b"]\n', "no JSON object"),
        (
            b'{"id": "a", "question": "Q?", "answers": ["x"], "metadata": %s}\n' % (b"[" * 900 + b"]" * 900),
            "nested too",
        ),
        (b'{"id": "a", "question": "Q?", "answers": ["x"], "scorer": "taste"}\n', "names the scorer 'taste'"),
    ],
)
def test_bad_files_are_refused_before_anything_is_written(
    tmp_path: Path, content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    assert main(["run", "own", "--data", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert str(path) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ["run", "trivia"],
        ["run", "own", "--data", "no-such-file.jsonl"],
        ["run", "own", "--samples", "0"],
        ["run", "own", "--limit", "0"],
        ["run", "own", "--max-turns", "0"],
        ["run", "own", "--tools", ","],
        ["report", "no-such-folder"],
        ["compare", "no-such-folder", "neither"],
    ],
)
def test_bad_options_are_one_sentence(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_two_processes_cannot_write_one_folder(questions: Path, tmp_path: Path, vaults: Vaults) -> None:
    with FakeModelServer(vaults, latency=5) as server:
        argv = [sys.executable, "-m", "evals", *command(questions, server, tmp_path / "out", "--concurrency", "1")]
        first = subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while not (tmp_path / "out" / "results.jsonl").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            second = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            assert second.returncode == 2
            assert "Another process is writing" in second.stderr
        finally:
            first.kill()
            first.wait()


def test_the_command_line_starts_without_the_graph() -> None:
    code = (
        "import sys, evals.__main__ as m; m.parser(); "
        "heavy = {'langgraph', 'langchain_core', 'numpy', 'sympy', 'huggingface_hub', 'pyarrow', 'rich'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_own_questions_need_no_further_option(
    questions: Path, server: FakeModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["run", "own", "--data", str(questions), "--model", server.spec]) == 0
    told = capsys.readouterr().err
    assert "8 questions" in told
    assert "tools python, wikipedia_search, web_search, read_url, generalist (--tools names others)" in told
    assert len(lines(tmp_path / "runs" / "evals" / "own-agent")) == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "nonsense"], "'nonsense' names no model"),
        (["--model", "m@http://127.0.0.1:9/v1"], "127.0.0.1:9"),
        (["--tools", "pythom"], "Did you mean python?"),
        (["--tools", "pythom", "--model", "m@http://127.0.0.1:9/v1"], "Did you mean python?"),  # before the model
        (["--tools", "local_search"], "--corpus"),
        (["--limt", "3"], "Did you mean --limit?"),
    ],
)
def test_what_is_refused_leaves_no_folder(
    questions: Path, server: FakeModelServer, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, options: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["run", "own", "--data", str(questions), "--model", server.spec, *options]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_unknown_benchmark_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "hotpot"]) == 2
    assert "Did you mean hotpotqa?" in capsys.readouterr().err
