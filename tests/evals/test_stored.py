"""Result files that other hands have touched: what is wrong is told in a sentence, and no whole line is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evals.__main__ import main
from evals.results import ResultFile, read_run
from tests.evals.view.samples import evaluation

Edit = Callable[[dict[str, Any]], Any]

WRONG: list[tuple[Edit, str]] = [
    (lambda line: line.update(correct="yes"), 'its `correct` is "yes", which has to be true or false'),
    (lambda line: line.update(seconds="1.5"), 'its `seconds` is "1.5", which has to be a number'),
    (lambda line: line.update(seconds=10**400), "its `seconds` is 1000"),
    (lambda line: line.update(value=None), "its `value` is null"),
    (lambda line: line.update(gold=[{}]), "its `gold.0` is {}"),
    (lambda line: line.update(turns=None), "its `turns` is null"),
    (lambda line: line["turns"][0].update(verdict=True), "its `turns.0.verdict` is true"),
    (lambda line: line["turns"][0].update(calls=[5]), "its `turns.0.calls.0` is 5"),
    (lambda line: line.update(usage="none"), 'its `usage` is "none"'),
    (lambda line: line.update(failure={}), "its `failure.kind` is missing"),
    (lambda line: line.update(judge={"verdict": True}), "its `judge.correct` is missing"),
    (lambda line: line.pop("gold"), "its `gold` is missing"),
    (lambda line: line.pop("schema"), "its `schema` is missing"),
]


@pytest.mark.parametrize("words", [["report", "A", "--no-view"], ["compare", "A", "B"], ["compare", "B", "A"]])
def test_fields_of_other_types_are_told(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = {name: evaluation(tmp_path / name, count=3) for name in "AB"}
    path = folders["A"] / "results.jsonl"
    first, second, third = path.read_text().splitlines()
    for edit, said in WRONG:
        line = json.loads(second)
        edit(line)
        path.write_text("\n".join([first, json.dumps(line), third]) + "\n")
        assert main([str(folders.get(word, word)) for word in words]) == 2, said
        told = capsys.readouterr().err
        assert f"{path}, line 2, is no result of an evaluation ({said}" in told
        assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"question_count": None}, "its `question_count` is null"),
        ({"question_count": float("nan")}, "its `question_count` is NaN"),
        ({"samples": "3"}, 'its `samples` is "3"'),
        ({"max_turns": [1]}, "its `max_turns` is [1]"),
        ([], "its `settings` are no JSON object"),
    ],
)
def test_settings_of_other_types_are_told(
    settings: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluation(tmp_path / "a", count=3)
    (folder / "run.json").write_text(json.dumps({"schema": 1, "settings": settings}))
    assert main(["report", str(folder)]) == 2
    told = capsys.readouterr().err
    assert f"{folder / 'run.json'} holds no settings of an evaluation ({said}" in told
    assert told.count("\n") == 1
    (folder / "run.json").write_text("[" * 100_000)
    assert main(["report", str(folder)]) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.removesuffix(b"\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n").removesuffix(b"\r\n"),
        lambda data: data + b"\n\r\n",
    ],
)
def test_a_file_that_an_editor_has_saved_is_read_whole_and_can_grow(
    change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    folder = evaluation(tmp_path / "a", count=3)
    before = read_run(folder)
    path = folder / "results.jsonl"
    path.write_bytes(change(path.read_bytes()))
    assert read_run(folder).results == before.results
    last = before.results[-1]
    with ResultFile(folder, before.settings) as file:
        assert file.results == before.results
        file.append(type(last)(**{**vars(last), "task": "one more"}))
    assert [result.task for result in read_run(folder).results] == ["t0", "t1", "t2", "one more"]


def test_half_a_line_is_cut_off(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "a", count=3)
    path = folder / "results.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert len(read_run(folder).results) == 2
    with ResultFile(folder, read_run(folder).settings) as file:
        assert len(file.results) == 2
    assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:2])


def test_a_seed_that_cannot_be_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(evaluation(tmp_path / "a", count=3))
    assert main(["compare", folder, folder, "--seed", "-1"]) == 2
    assert capsys.readouterr().err == "error: --seed is -1; it must be at least 0.\n"
