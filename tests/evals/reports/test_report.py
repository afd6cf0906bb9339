"""The numbers, the tables, the page and the comparison, from results whose right numbers are known."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.__main__ import main
from evals.reports.compare import as_markdown, compare
from evals.reports.figure import turn_limit_svg
from evals.reports.intervals import bootstrap, pass_at_k, wilson
from evals.reports.markdown import markdown
from evals.reports.metrics import summarise
from evals.reports.page import page
from evals.reports.turn_limits import Curve, Point
from evals.results import Recorded, Result, ResultFile, read_run
from evals.view.library import Library
from graph.errors import DataError

SETTINGS = {"benchmark": "own", "mode": "agent", "model": "fake", "samples": 1, "max_turns": 3}


def turn(
    tool: str = "python", accepted: bool = True, error: dict[str, str] | None = None, text: str = "4"
) -> dict[str, Any]:
    return {
        "reply": "...",
        "plan": {"justification": "", "context": "", "sub_goal": "add", "tool_name": tool, "input": "", "error": None},
        "calls": [{"arguments": {"code": "print(2 + 2)"}, "result": text, "error": error, "seconds": 0.1}],
        "error": None,
        "verdict": {"accepted": accepted, "stop": True, "reason": "fine", "source": "rules"},
        "observation": text,
    }


def result(task: str, correct: bool, sample: int = 0, **more: Any) -> Result:
    given: dict[str, Any] = {
        "task": task, "sample": sample, "benchmark": "own", "question": f"Question {task}?", "gold": ["4"],
        "prediction": "4" if correct else "5", "correct": correct, "exact": correct, "value": float(correct),
        "reason": "because", "seed": 1, "seconds": 2.0, "turns": [turn()],
        "usage": {"planner": {"calls": 2, "input_tokens": 100, "output_tokens": 10, "seconds": 1.5}},
    }  # fmt: skip
    return Result(**(given | more))


def folder(path: Path, results: list[Result], **settings: Any) -> Path:
    questions = len({item.task for item in results})
    with ResultFile(path, SETTINGS | {"question_count": questions} | settings) as file:
        for item in results:
            file.append(item)
    return path


def test_wilson_equals_published_values() -> None:
    low, high = wilson(0.1, 20)  # 2 of 20
    assert (round(low, 3), round(high, 3)) == (0.028, 0.301)
    low, high = wilson(0.0, 10)
    assert (low, round(high, 3)) == (0.0, 0.278)


@given(st.integers(1, 400), st.data())
def test_wilson_holds_the_rate_and_narrows(n: int, data: st.DataObject) -> None:
    rate = data.draw(st.integers(0, n)) / n
    low, high = wilson(rate, n)
    assert 0 <= low <= rate + 1e-12
    assert rate - 1e-12 <= high <= 1
    wide_low, wide_high = wilson(rate, max(1, n // 2))
    assert high - low <= wide_high - wide_low + 1e-12


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    draws = list(combinations([index < right for index in range(n)], k))
    assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, draws)) / comb(n, k))


def test_failures_stay_in_the_denominator(tmp_path: Path) -> None:
    failed = result("c", False, failure={"kind": "unavailable", "message": "no connection"}, turns=[], usage={})
    summary = summarise(read_run(folder(tmp_path / "r", [result("a", True), result("b", False), failed])))
    assert summary.accuracy == pytest.approx(1 / 3)
    assert summary.failures == {"unavailable": 1}
    assert summary.interval == wilson(1 / 3, 3)


def test_samples_count_as_a_mean_and_the_interval_as_questions(tmp_path: Path) -> None:
    results = [
        result(task, correct, sample) for task in "ab" for sample, correct in enumerate([True, False, False, False])
    ]
    summary = summarise(read_run(folder(tmp_path / "r", results, samples=4)))
    assert summary.accuracy == pytest.approx(0.25)
    assert summary.interval == wilson(0.25, 2)
    assert summary.pass_at == {1: pytest.approx(0.25), 2: pytest.approx(0.5), 4: pytest.approx(1.0)}


def test_exact_and_lenient_stand_side_by_side(tmp_path: Path) -> None:
    before = folder(tmp_path / "before", [result("a", True), result("b", False), result("c", False)])
    after = folder(tmp_path / "after", [result("a", True), result("b", True, exact=False), result("c", False)])
    summary = summarise(read_run(after))
    assert (summary.accuracy, summary.lenient) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert summary.pass_at == {1: pytest.approx(1 / 3)}
    text = markdown([summary])
    assert "| exact | 95 % interval | lenient |" in text
    assert "| 33.3 % | " in text
    assert " | 66.7 % | " in text
    found = compare(read_run(before), read_run(after))
    assert (found.difference, found.won) == (0.0, [])
    assert (found.lenient_a, found.lenient_b) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert "| lenient | 33.3 % | 66.7 % | +33.3 |" in as_markdown(found)
    assert "because (under the lenient rules)" in page([read_run(after)])


def test_runs_from_before_the_lenient_rules_have_one_verdict(tmp_path: Path) -> None:
    path = folder(tmp_path / "r", [result("a", True)])
    line = json.loads((path / "results.jsonl").read_text())
    del line["exact"]
    (path / "results.jsonl").write_text(json.dumps(line) + "\n")
    assert read_run(path).results[0].exact


def test_turns_tools_errors_and_costs_are_counted(tmp_path: Path) -> None:
    turns = [turn(), turn("web_search", accepted=False, error={"kind": "timeout", "message": "60 s"})]
    run = read_run(folder(tmp_path / "r", [result("a", True, turns=turns), result("b", True)]))
    summary = summarise(run)
    assert summary.turns == pytest.approx(1.5)
    assert summary.tools == {"python": 2, "web_search": 1}
    assert summary.rejected == {"rules": 1}
    assert summary.errors == {"timeout": 1}
    assert summary.roles["planner"].calls == pytest.approx(2)
    assert summary.roles["planner"].input_tokens == pytest.approx(100)


def test_an_unfinished_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder(tmp_path / "r", [result("a", True)], question_count=10)
    assert main(["report", str(path)]) == 0
    assert "unfinished: 1 of 10" in capsys.readouterr().out


class Page(HTMLParser):
    """What a browser would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


HOSTILE = '</pre></details><script>alert(1)</script><img src="http://evil.example/x" onerror="alert(1)">$title \x00'


def test_the_page_is_self_contained_and_escapes_everything(tmp_path: Path) -> None:
    hostile = result(
        "a<b>&", False, question=HOSTILE, gold=[HOSTILE], prediction=HOSTILE, reason=HOSTILE,
        turns=[turn(tool=HOSTILE, text=HOSTILE)], leaks=[HOSTILE], failure={"kind": HOSTILE, "message": HOSTILE},
        usage={HOSTILE: {"calls": 1, "input_tokens": 1, "output_tokens": 1, "seconds": 1}},
    )  # fmt: skip
    path = folder(tmp_path / "r", [hostile], model=HOSTILE)
    assert main(["report", str(path)]) == 0
    text = (path / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert not page.tags & {"script", "img", "link", "iframe", "object", "form"}
    assert {address.partition("#")[0] for address in page.fetched} == {"report.view.html"}
    assert page.handlers == []
    assert "default-src 'none'" in text
    assert "$title" in text  # hostile text is not taken for a placeholder of the template
    assert "&lt;script&gt;" in text


def test_every_question_links_to_its_run_in_the_page(tmp_path: Path) -> None:
    names = ("before", "after")
    folders = [folder(tmp_path / name, [result("a/b c", True), result("d#&", False)]) for name in names]
    html = tmp_path / "all.html"
    command = ["report", *map(str, folders), str(folders[0]), "--html", str(html)]
    assert main(command) == 0
    report = Page()
    report.feed(html.read_text(encoding="utf-8"))
    links = [address.partition("#/run?") for address in report.fetched]
    assert {file for file, _, _ in links} == {"all.view.html"}
    places = [parse_qs(place) for _, _, place in links if place]
    library = Library(folders)
    assert [[source.index.rows[n][0] for n in range(2)] for source in library.sources] == [["a/b c/0", "d#&/0"]] * 2
    assert [(place["set"], place["run"]) for place in places] == [
        ([str(number)], [key]) for number in range(2) for key in ("a/b c/0", "d#&/0")
    ]
    assert (tmp_path / "all.view.html").stat().st_size > 10_000
    assert main([*command, "--no-view"]) == 0
    bare = Page()
    bare.feed(html.read_text(encoding="utf-8"))
    assert bare.fetched == []


def test_the_chart_comes_first_and_settings_are_folded(tmp_path: Path) -> None:
    text = page([read_run(folder(tmp_path / "r", [result("a", True), result("b", False)]))])
    order = [text.index(words) for words in ('class="bars"', "Accuracy and cost", "<summary>settings", "Question a?")]
    assert order == sorted(order)
    assert "width:50.00%" in text


def test_runs_with_several_turn_limits_make_the_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [
        folder(tmp_path / f"turns{limit}", [result("a", limit > 3), result("b", limit > 5)], max_turns=limit)
        for limit in (3, 5, 7, 10)
    ]
    html = tmp_path / "all.html"
    assert main(["report", *map(str, folders), "--html", str(html)]) == 0
    text = html.read_text(encoding="utf-8")
    assert text.count("<circle") == 8  # four limits in two panels
    table = capsys.readouterr().out.partition("by turn limit")[2]
    assert re.findall(r"\| (\d+) \| (\d+\.\d) %", table) == [
        ("3", "0.0"),
        ("5", "50.0"),
        ("7", "100.0"),
        ("10", "100.0"),
    ]


def test_compare_pairs_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes_a = [True, False, False, True, False, False]
    outcomes_b = [True, True, True, False, False, True]
    a = folder(tmp_path / "a", [result(str(n), right) for n, right in enumerate(outcomes_a)] + [result("only", True)])
    b = folder(
        tmp_path / "b",
        [result(str(n), right, turns=[turn("web_search")]) for n, right in enumerate(outcomes_b)],
        max_turns=5,
    )
    assert main(["compare", str(a), str(b), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["difference"] == pytest.approx(1 / 3)
    assert found["won"] == ["1", "2", "5"]
    assert found["lost"] == ["3"]
    assert found["only_a"] == 1
    assert found["interval"][0] < 1 / 3 < found["interval"][1]
    assert [(tool["name"], tool["before"], tool["after"]) for tool in found["tools"]] == [
        ("python", 1.0, 0.0),
        ("web_search", 0.0, 1.0),
    ]
    assert main(["compare", str(a), str(b)]) == 0
    told = capsys.readouterr().out
    assert "no significant difference" in told
    assert "| turns with web_search | 0.0 % | 100.0 % | +100.0 (+100.0 to +100.0) |" in told
    assert "| tool errors | 0.0 % | 0.0 % | +0.0 (+0.0 to +0.0) |" in told


def test_the_bootstrap_is_seeded_and_close_to_theory() -> None:
    import numpy as np

    differences = np.array([1.0] * 30 + [0.0] * 60 + [-1.0] * 10)
    assert bootstrap(differences, 0) == bootstrap(differences, 0)
    low, high = bootstrap(differences, 0)
    half = 1.96 * differences.std() / 10
    assert low == pytest.approx(0.2 - half, abs=0.02)
    assert high == pytest.approx(0.2 + half, abs=0.02)


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    a = read_run(folder(tmp_path / "a", [result("1", True)]))
    other = read_run(folder(tmp_path / "b", [result("2", True)]))
    renamed = read_run(folder(tmp_path / "c", [result("1", True, question="Another?")]))
    with pytest.raises(DataError, match="no question in common"):
        compare(a, other)
    with pytest.raises(DataError, match="different questions under the id 1"):
        compare(a, renamed)


def test_families_have_their_own_accuracy_and_interval(tmp_path: Path) -> None:
    results = [result(f"a{n}", n < 3, family="sums") for n in range(4)] + [result("b", False, family="names")]
    summary = summarise(read_run(folder(tmp_path / "a", results)))
    assert {name: (item.questions, item.exact) for name, item in summary.families.items()} == {
        "sums": (4, 0.75),
        "names": (1, 0.0),
    }
    assert summary.families["sums"].interval == wilson(0.75, 4)
    assert "| a | sums | 75.0 % |" in markdown([summary])
    assert "family" not in markdown([summarise(read_run(folder(tmp_path / "b", [result("a", True)])))])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"schema": 1}\n', "is no result"),
        (b"not json\n", "is no result"),
        (b'{"schema": 99}\n', "schema 99"),
        (b"[]\n", "is no result"),
    ],
)
def test_damaged_results_are_named_by_line(tmp_path: Path, line: bytes, said: str) -> None:
    path = folder(tmp_path / "r", [result("a", True)])
    with (path / "results.jsonl").open("ab") as file:
        file.write(line)
    with pytest.raises(DataError, match=f"line 2.*{said}"):
        read_run(path)
    assert isinstance(read_run(folder(tmp_path / "s", [result("a", True)])), Recorded)


def test_any_text_survives_the_results_file(tmp_path: Path) -> None:
    odd = '\x00\u2028\u2029\x85 \\ " \ud800 \n\r\n é 中'
    path = folder(tmp_path / "r", [result("a", True, prediction=odd), result("b", True)])
    first, second = read_run(path).results
    assert first.prediction == odd.replace("\ud800", "?")
    assert second.task == "b"


@pytest.mark.parametrize(
    ("highest", "steps"),
    [(0.0, "0 0.2"), (1.0, "0 0.2 0.4 0.6 0.8 1"), (2.16, "0 0.5 1 1.5 2 2.5"), (7.9, "0 2 4 6 8")],
)
def test_an_axis_has_round_steps_and_holds_its_values(highest: float, steps: str) -> None:
    figure = turn_limit_svg([Curve("a", [Point(3, {"q": (1.0, highest)}), Point(1, {"q": (0.0, 0.0)})])])
    _, panel = figure.split("mean turns</text>")
    assert re.findall(r'text-anchor="end">([^<]+)</text>', panel) == steps.split()
