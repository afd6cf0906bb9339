"""Files of every shape become tasks; the Hub's files come from a stand-in for the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.benchmarks.loading import load_tasks, sample
from evals.benchmarks.registry import BENCHMARKS, HubFile
from evals.scorers import score
from evals.task import Task
from graph.errors import ConfigError, DataError
from tests.hub_stand_in import hub_stand_in

GLUED = (
    "When ready, output the final answer enclosed in <answer> and </answer> tags. "
    "Do not generate any content after the </answer> tag."
)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_glued_instructions_and_lists_in_text_are_undone(tmp_path: Path) -> None:
    row = {
        "question": f"Who founded it?{GLUED}",
        "query": f"Who founded it?{GLUED}",
        "answer": "['Ada', 'A. Lovelace']",
    }
    (task,) = load_tasks("bamboogle", write(tmp_path / "bamboogle.json", [row]))
    assert task.prompt == "Who founded it?"
    assert task.answers == ("Ada", "A. Lovelace")


def test_rows_whose_pid_repeats_are_keyed_by_position(tmp_path: Path) -> None:
    row = {"question": "Q?", "answer": "x"}
    repeated = write(tmp_path / "a.json", [row | {"pid": "7"}, row | {"pid": "7"}])
    unique = write(tmp_path / "b.json", [row | {"pid": "7"}, row | {"pid": "9"}])
    assert [task.id for task in load_tasks("2wiki", repeated)] == ["0", "1"]
    assert [task.id for task in load_tasks("2wiki", unique)] == ["7", "9"]


def test_gaia_keeps_the_answer_and_the_annotations_to_itself(tmp_path: Path) -> None:
    row = {
        "task_id": "g1", "Question": "How many?", "Final answer": "17", "Level": "2", "file_name": "",
        "Annotator Metadata": {"Steps": "count to 17"}, "answer": "17",
    }  # fmt: skip
    with_file = row | {"task_id": "g2", "file_name": "picture.png"}
    (task,) = load_tasks("gaia", write(tmp_path / "gaia.jsonl", [row, with_file]))
    assert task.prompt == "How many?"
    assert task.metadata == {"level": "2"}


def test_options_lose_their_letters_and_leave_the_question(tmp_path: Path) -> None:
    options = ["A. red", "B. green\n", "C. blue"]
    listed = "\n".join(options)
    row = {"question": f"Which colour?\n{listed}\n\n{listed}", "options": options, "answer": "green\n"}
    (task,) = load_tasks("medqa", write(tmp_path / "medqa.json", [row]))
    assert task.question == "Which colour?"
    assert task.choices == ("red", "green", "blue")
    assert task.answers == ("green",)
    assert "B. green\n" in task.prompt
    assert score(task, "B").correct


@pytest.mark.parametrize("answer", ["B", "green", "B. green"])
def test_a_right_option_can_be_named_in_three_ways(tmp_path: Path, answer: str) -> None:
    row = {"id": 1, "question": "Which?", "choices": ["red", "green"], "answer": answer}
    (task,) = load_tasks("own", write(tmp_path / "own.jsonl", [row]))
    assert task.answers == ("green",)
    assert task.scorer == "choice"


def test_gpqa_from_the_hub_gets_its_options_in_a_fixed_random_order(tmp_path: Path) -> None:
    path = tmp_path / "gpqa.csv"
    head = "Record ID,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n"
    path.write_text(head + "".join(f"r{n},Q{n}?,right,a,b,c\n" for n in range(40)), encoding="utf-8")
    tasks = load_tasks("gpqa", path)
    assert tasks == load_tasks("gpqa", path)
    places = [task.choices.index("right") for task in tasks if task.choices]
    assert set(places) == {0, 1, 2, 3}


def test_a_game_of_24_without_a_question_gets_one(tmp_path: Path) -> None:
    (task,) = load_tasks(
        "gameof24", write(tmp_path / "g.jsonl", [{"numbers": [3, 3, 8, 8], "solutions": ["8/(3-8/3)"]}])
    )
    assert "3, 3, 8, 8" in task.prompt
    assert score(task, "8/(3-8/3)").correct


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("gpqa", {"question": "Q?", "answer": "red"}, "no options"),
        ("gpqa", {"question": "Q?", "answer": "red", "choices": ["green", "blue"]}, "none of its options"),
        ("gpqa", {"question": "Q?", "answer": "red", "choices": "red or blue"}, "no list"),
        ("gameof24", {"query": "Make 24.", "answer": "1"}, "without numbers"),
        ("gameof24", {"Puzzles": "1 1 1 1"}, "has no answers"),
        ("aime24", {"question": "Q?", "solution": "x"}, "has no answers"),
        ("gaia", {"task_id": "t", "Question": "Q?", "Final answer": "?"}, "not published; .* leave such rows out"),
        ("musique", {"id": "2hop__1", "question": "Q?", "answer": "x", "answerable": False}, "leave such rows out"),
    ],
)
def test_rows_that_cannot_be_judged_are_refused(tmp_path: Path, name: str, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_tasks(name, write(tmp_path / "data.json", [row]))


@pytest.mark.parametrize(
    ("name", "row", "identity", "answers"),
    [
        ("hotpotqa", {"_id": "5a8b", "question": "Q?", "answer": "yes", "supporting_facts": [["A", 0]]},
         "5a8b", ("yes",)),
        ("2wiki", {"_id": "13f5", "question": "Q?", "answer": "Bob", "evidences": [["A", "is", "B"]]},
         "13f5", ("Bob",)),
        ("musique", {"id": "2hop__1", "question": "Q?", "answer": "Bob", "answer_aliases": ["Rob"], "answerable": True},
         "2hop__1", ("Bob", "Rob")),
        ("bamboogle", {"Question": "Q?", "Answer": "Bob"}, "0", ("Bob",)),
        ("aime24", {"ID": "2024-II-4", "Problem": "Q?", "Solution": "s", "Answer": 33}, "2024-II-4", ("33",)),
        ("own", {"Answer": "", "Question": "Q?", "answer": "Bob"}, "0", ("Bob",)),
    ],
)  # fmt: skip
def test_the_authors_own_files_are_read(
    tmp_path: Path, name: str, row: dict[str, Any], identity: str, answers: tuple[str, ...]
) -> None:
    (task,) = load_tasks(name, write(tmp_path / "data.json", [row]))
    assert (task.id, task.question, task.answers) == (identity, "Q?", answers)


def test_a_list_of_puzzles_needs_no_solutions(tmp_path: Path) -> None:
    path = tmp_path / "24.csv"
    path.write_text("Rank,Puzzles,AMT (s)\n1,1 1 4 6,4.4\n2,3 3 8 8,9.9\n", encoding="utf-8")
    tasks = load_tasks("gameof24", path)
    assert [task.metadata["numbers"] for task in tasks] == [(1, 1, 4, 6), (3, 3, 8, 8)]
    assert all(score(task, task.answers[0]).exact for task in tasks)


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
@pytest.mark.parametrize(("text", "said"), [("[" * 100_000, "nested too deeply"), ("9" * 5000, "too many digits")])
def test_json_that_cannot_be_read_is_told(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(f'{{"question": "Q?", "answer": {text}')
    with pytest.raises(DataError, match=said):
        load_tasks("own", tmp_path / name)


def test_a_broken_row_has_one_line_number(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"question": "Q?", "answer": "1"}\n{oops}\n')
    with pytest.raises(DataError, match=r"data\.jsonl, line 2, is not JSON \([^)]* at column 2\)"):
        load_tasks("own", path)


def test_a_folder_holds_a_file_for_each_benchmark(tmp_path: Path) -> None:
    write(tmp_path / "2wiki.jsonl", [{"id": 1, "question": "Q?", "answers": ["x"]}])
    assert len(load_tasks("2wiki", tmp_path)) == 1
    with pytest.raises(DataError, match="holds no musique"):
        load_tasks("musique", tmp_path)


def test_the_packaged_questions_can_be_loaded() -> None:
    tasks = load_tasks("own")
    assert all(score(task, answer).correct for task in tasks for answer in task.answers)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 5))
def test_sampling_is_by_seed_and_grows_with_the_limit(count: int, limit: int, seed: int) -> None:
    tasks = [Task(str(n), "Q?", ("x",)) for n in range(count)]
    drawn = sample(tasks, limit, seed)
    assert drawn == sample(tasks, limit, seed)
    assert len(drawn) == min(limit, count)
    assert [int(task.id) for task in drawn] == sorted(int(task.id) for task in drawn)
    assert {task.id for task in drawn} <= {task.id for task in sample(tasks, limit + 1, seed)}


def test_a_sample_is_not_the_first_n() -> None:
    tasks = [Task(str(n), "Q?", ("x",)) for n in range(100)]
    assert sample(tasks, 10, 0) != tasks[:10]
    assert sample(tasks, 10, 0) != sample(tasks, 10, 1)


HUB_ROWS: dict[str, list[dict[str, Any]]] = {
    "bamboogle": [{"id": "t0", "question": "Q?", "golden_answers": ["x", "y"]}],
    "2wiki": [{"id": "t0", "question": "Q?", "golden_answers": ["x"], "metadata": {}}],
    "hotpotqa": [{"id": "t0", "question": "Q?", "golden_answers": ["x"]}],
    "musique": [{"id": "t0", "question": "Q?", "golden_answers": ["x"]}],
    "gaia": [{"task_id": "g", "Question": "Q?", "Final answer": "3", "Level": 1, "file_name": ""}],
    "aime24": [{"id": 60, "problem": "Q?", "solution": "...", "answer": "204", "url": "u", "year": "2024"}],
    "amc23": [{"id": 0, "question": "Q?", "answer": 27.0, "url": "u"}],
    "gameof24": [{"numbers": [1, 1, 1, 8], "solutions": ["(1+1+1)×8"], "solvable": True}],
    "gpqa": [{"Record ID": "r", "Question": "Q?", "Correct Answer": "w", "Incorrect Answer 1": "x",
              "Incorrect Answer 2": "y", "Incorrect Answer 3": "z"}],
    "medqa": [{"question": "Q?", "answer": "b", "options": {"A": "a", "B": "b", "C": "c"}, "answer_idx": "B"}],
}  # fmt: skip


def hub_files(folder: Path) -> dict[tuple[str, str], bytes]:
    """One small file for each benchmark, by data set and path, in the format of the real one."""
    import csv
    import io

    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    files: dict[tuple[str, str], bytes] = {}
    for name, rows in HUB_ROWS.items():
        hub = BENCHMARKS[name].hub
        assert hub is not None
        path = hub.paths[-1]  # so that earlier paths are missing, as they are for some of the real data sets
        if path.endswith(".parquet"):
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "file.parquet")
            data = (folder / "file.parquet").read_bytes()
        elif path.endswith(".csv"):
            text = io.StringIO()
            writer = csv.DictWriter(text, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
            data = text.getvalue().encode()
        else:
            data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        files[hub.repo, path] = data
        files[hub.repo, "README.md"] = b"# card"
    return files


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A server that speaks as much of the Hub's protocol as downloading a file takes; yields what was asked."""
    with hub_stand_in(hub_files(tmp_path), tmp_path / "cache", monkeypatch) as asked:
        yield asked


@pytest.mark.parametrize("name", list(HUB_ROWS))
def test_every_benchmark_is_downloaded_from_the_hub(hub: list[str], name: str) -> None:
    tasks = load_tasks(name)
    assert len(tasks) == 1
    assert all(score(tasks[0], answer).correct for answer in tasks[0].answers)
    entry = BENCHMARKS[name].hub
    assert entry is not None
    assert any(entry.repo in path for path in hub)


@pytest.mark.usefixtures("hub")
def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client waits between its tries
    with pytest.raises(DataError, match=r"could not be downloaded.*--data"):
        load_tasks("aime24")


@pytest.mark.usefixtures("hub")
def test_a_data_set_that_has_lost_its_file_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = replace(BENCHMARKS["aime24"], hub=HubFile("HuggingFaceH4/aime_2024", ("elsewhere.parquet",)))
    monkeypatch.setattr("evals.benchmarks.loading.benchmark", lambda _: moved)
    with pytest.raises(DataError, match=r"has no file elsewhere.*--data"):
        load_tasks("aime24")


def test_an_unknown_benchmark_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="choose one of bamboogle"):
        load_tasks("trivia")


@pytest.mark.parametrize("head", ["question;answer", "question\tanswer"])
def test_columns_that_are_not_parted_by_commas_are_shown_as_they_stand(tmp_path: Path, head: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(f"{head}\nQ?{head[8]}x\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"the row's columns: {head}"):
        load_tasks("own", path)


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    question = "What is said here? " + "la " * 100_000
    path.write_text(f'question,answer\n"{question}",la\n')
    assert [task.question for task in load_tasks("own", path)] == [question.strip()]


def test_a_comma_without_quotes_is_told_and_cuts_no_text(tmp_path: Path) -> None:
    path = tmp_path / "questions.csv"
    path.write_text("question,answer\nWhat is 1 + 1?,2\nWhat is 1,000 + 2?,1002\n")
    with pytest.raises(DataError, match=r"questions\.csv, line 3, has more cells than the first line names columns"):
        load_tasks("own", path)
