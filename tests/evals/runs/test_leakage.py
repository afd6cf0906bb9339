"""Search results that give the benchmark away are noticed, and only those."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from langchain_core.tools import ToolException, tool

from evals.runs.leakage import current_task, find_leak, guarded, leaks_in
from evals.task import Task

TASK = Task(
    id="t",
    question="In which harbour town was the shipwright born who built the first lighthouse of Tamsin?",
    answers=("Port Ellery",),
)
COPIED = f"Question 17. {TASK.question} Answer: Port Ellery. Question 18. ..."


@pytest.mark.parametrize(
    "text",
    [
        COPIED,
        COPIED.upper(),
        COPIED.replace("first lighthouse", "oldest lighthouse"),
        "In which harbour town was the shipwright born who built the first\nlighthouse of Tamsin?\n\n> Port Ellery",
    ],
)
def test_a_quoted_question_with_its_answer_is_a_leak(text: str) -> None:
    assert find_leak(TASK, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The shipwright Agnes Corvell, born in Port Ellery, a harbour town, built the first lighthouse of Tamsin.",
        f"You asked: {TASK.question} I found nothing.",
        f"{TASK.question} {'word ' * 500} Port Ellery",
    ],
)
def test_knowledge_and_echoes_are_no_leaks(text: str) -> None:
    assert find_leak(TASK, text) is None


def test_an_answer_that_the_question_names_must_stand_beside_it() -> None:
    either = Task(
        "t", "Which of the two films came out first, Sadiyaan or The Hungry, in Indian cinemas?", ("The Hungry",)
    )
    assert find_leak(either, f"Results for: {either.question}") is None
    assert find_leak(either, f"{either.question} The Hungry")


def test_the_benchmarks_own_page_is_a_leak() -> None:
    text = "Source: https://example.org/datasets/GAIA-benchmark/data\nSomething."
    assert find_leak(TASK, text, pages=("gaia-benchmark",))
    assert find_leak(TASK, "A text about the gaia-benchmark without an address.", pages=("gaia-benchmark",)) is None


def test_results_of_the_agents_own_code_are_not_looked_at() -> None:
    def memory(name: str) -> list[dict[str, object]]:
        return [{"plan": {"tool_name": name}, "calls": [{"result": COPIED}, {"result": COPIED}]}]

    assert len(leaks_in(TASK, memory("web_search"))) == 1
    assert leaks_in(TASK, memory("python")) == []


async def test_the_guard_withholds_leaks_and_nothing_else() -> None:
    @tool
    async def web_search(query: str) -> str:
        """Search."""
        if query == "fail":
            raise ToolException("The service is down.")
        return COPIED if query == "copied" else "Port Ellery is a harbour town."

    safe = guarded(web_search, ())
    current_task.set(TASK)
    assert safe.args == web_search.args
    assert "withheld" in await safe.ainvoke({"query": "copied"})
    assert await safe.ainvoke({"query": "facts"}) == "Port Ellery is a harbour town."
    with pytest.raises(ToolException, match="down"):
        await safe.ainvoke({"query": "fail"})
    current_task.set(Task("other", "Something else entirely, which nobody has ever asked before?", ("x",)))
    assert await safe.ainvoke({"query": "copied"}) == COPIED


@pytest.mark.parametrize("block", [False, True])
def test_a_run_flags_or_blocks_leaks(tmp_path: Path, block: bool) -> None:
    from evals.__main__ import main
    from evals.results import read_run
    from evals.speed.fake_server import ChatRequest, FakeModelServer

    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps({"id": "1", "title": "Quiz", "text": COPIED}) + "\n", encoding="utf-8")
    data = tmp_path / "questions.jsonl"
    data.write_text(
        json.dumps({"id": "t", "question": TASK.question, "answers": list(TASK.answers)}) + "\n", encoding="utf-8"
    )

    def reply(request: ChatRequest) -> str:
        if request.role == "planner":
            return "Justification: look.\nContext: Tamsin\nSub-Goal: find the town\nTool Name: local_search"
        if request.role == "executor":
            return json.dumps({"calls": [{"query": "harbour town shipwright lighthouse Tamsin"}]})
        if request.role == "verifier":
            return json.dumps({"reason": "known", "result": "accept", "next": "stop"})
        return "Answer: Port Ellery"

    with FakeModelServer(reply) as server:
        argv = ["run", "own", "--data", str(data), "--corpus", str(corpus), "--model", server.spec,
                "--tools", "local_search", "--out", str(tmp_path / "out"), "--no-progress"]  # fmt: skip
        assert main([*argv, "--block-leaks"] if block else argv) == 0
    (result,) = read_run(tmp_path / "out").results
    shown = result.turns[0]["calls"][0]["result"]
    assert ("withheld" in shown) is block
    assert (COPIED in shown) is not block
    assert bool(result.leaks) is not block
