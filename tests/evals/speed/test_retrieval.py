from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from evals.speed.retrieval import Question, main, mean_recall, measure, read_questions
from graph.errors import DataError

SHARED = Path(os.environ.get("AGENTFLOW_SHARED_DATA", Path(__file__).parents[3] / ".." / "shared" / "data")) / "wiki"


def question(titles: set[str], dataset: str) -> Question:
    return Question("?", frozenset(titles), dataset)


def test_recall_is_the_share_of_supporting_titles_by_data_set() -> None:
    questions = [question({"a", "b"}, "x"), question({"c"}, "y")]
    recall = mean_recall(questions, [["a", "z", "b"], ["z", "z", "z"]], cutoffs=(1, 3))
    assert recall == {"all": {1: 0.25, 3: 0.5}, "x": {1: 0.5, 3: 1.0}, "y": {1: 0.0, 3: 0.0}}


def test_the_command_prints_both_engines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, questions = tmp_path / "c.jsonl", tmp_path / "q.jsonl"
    corpus.write_text("".join(f'{{"title": "T{i}", "text": "word{i} common"}}\n' for i in range(3)))
    questions.write_text('{"question": "Where is word1?", "supporting_titles": ["T1"]}\n')
    arguments = ["--corpus", str(corpus), "--questions", str(questions)]
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "local_search" in table
    assert "plain bm25s" in table
    assert main([*arguments, "--json"]) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert parsed["local_search"]["recall"]["all"] == {"2": 1.0, "5": 1.0, "10": 1.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no questions"),
        ('{"question": "q"}', "line 1"),
        ("oops", "line 1"),
        ("[1]", "line 1"),
        ('\n{"question": "q", "supporting_titles": []}', "line 2.*no recall"),
    ],
)
def test_bad_questions_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_questions(path)


def test_bad_files_end_the_command_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = tmp_path / "q.jsonl"
    assert main(["--corpus", str(tmp_path), "--questions", str(questions)]) == 2
    questions.write_text('{"question": "q", "supporting_titles": ["T"]}\n')
    assert main(["--corpus", str(tmp_path / "none"), "--questions", str(questions)]) == 2
    assert "no corpus at" in capsys.readouterr().err


@pytest.mark.skipif(
    not (SHARED / "corpus.jsonl").is_file(), reason="needs the shared wiki data (AGENTFLOW_SHARED_DATA)"
)
def test_local_search_is_at_least_as_good_as_plain_bm25s() -> None:
    results = measure(SHARED / "corpus.jsonl", read_questions(SHARED / "questions.jsonl"))
    ours, plain = results["local_search"].recall, results["plain bm25s"].recall
    assert all(ours[name][k] >= plain[name][k] for name in plain for k in (2, 5, 10))
    assert ours["all"][5] >= 0.8
