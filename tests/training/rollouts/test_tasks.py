"""Tasks from files and from the Hub, the paper's mix among them, and which of them a step is given."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest
import yaml

from evals.scorers import score
from graph.errors import ConfigError, DataError
from tests.hub_stand_in import hub_stand_in
from training.rollouts.tasks import load_tasks

NQ, DEEPMATH = "RUC-NLPIR/FlashRAG_datasets", "zwhe99/DeepMath-103K"
RECIPES = Path(__file__).parents[3] / "training" / "recipes"


def parquet(rows: list[dict[str, Any]]) -> bytes:
    made = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), made)
    return made.getvalue()


def problem(number: int) -> dict[str, Any]:
    """A row in the columns of DeepMath-103K."""
    solutions = {f"r1_solution_{place}": f"So it is {number}/2." for place in (1, 2, 3)}
    known = {"question": f"Halve {number}.", "final_answer": f"\\dfrac{{{number}}}{{2}}", "difficulty": 5.0}
    return known | {"topic": "Arithmetic"} | solutions


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    rows = [{"id": f"train_{n}", "question": f"who is {n}", "golden_answers": ["Ada", "Ada L."]} for n in range(3)]
    files = {
        (NQ, "nq/train.jsonl"): "".join(json.dumps(row) + "\n" for row in rows).encode(),
        (DEEPMATH, "data/train-00000-of-00002.parquet"): parquet([problem(1), problem(3)]),
        (DEEPMATH, "data/train-00001-of-00002.parquet"): parquet([problem(5)]),
        (DEEPMATH, "README.md"): b"# card",
    }
    with hub_stand_in(files, tmp_path / "cache", monkeypatch) as asked:
        yield asked


@pytest.mark.usefixtures("hub")
def test_the_papers_mix_is_what_the_recipe_names() -> None:
    recipe = yaml.safe_load((RECIPES / "eight_gpus.yaml").read_text())
    tasks = load_tasks(recipe["tasks"])
    assert [task.scorer for task in tasks] == ["match"] * 3 + ["math"] * 3
    assert len({task.id for task in tasks}) == 6
    assert score(tasks[0], "ada l").correct
    assert score(tasks[5], "2.5").correct
    assert not score(tasks[5], "3/2").correct
    assert all("So it is" not in task.prompt for task in tasks)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (f"hub:{NQ}", "names no file"),
        (f"hub:{NQ}/nq/none.jsonl", "could not be downloaded"),
        (f"hub:{DEEPMATH}/data/valid-*.parquet", "has no file"),
        (f"hub:{DEEPMATH}/README.md", "a data file ends in one of"),
        ("hub:nobody/nothing/x*.jsonl", "could not be downloaded"),
    ],
)
def test_what_the_hub_does_not_have_is_told(spec: str, said: str) -> None:
    with pytest.raises((ConfigError, DataError), match=said):
        load_tasks(spec)


def test_the_hub_out_of_reach_is_told(hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(DataError, match="check the name and the connection"):
        load_tasks(f"hub:{NQ}/nq/train.jsonl")


def test_files_of_every_form_are_read(tmp_path: Path) -> None:
    rows = [{"question": f"Q{n}?", "answer": str(n)} for n in range(2)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.json").write_text(json.dumps(rows))
    (tmp_path / "c.csv").write_text("question,answer\nQ0?,0\nQ1?,1\n")
    (tmp_path / "d.parquet").write_bytes(parquet(rows))
    for path in tmp_path.iterdir():
        assert [(task.question, task.answers) for task in load_tasks(str(path))] == [("Q0?", ("0",)), ("Q1?", ("1",))]
    assert len(load_tasks(str(tmp_path / "*"))) == 8
    assert [task.scorer for task in load_tasks(f"{tmp_path}/a.jsonl@math + {tmp_path}/b.json")] == ["math"] * 2 + [
        "match"
    ] * 2


@pytest.mark.parametrize("scorer", ["match", "math"])
def test_a_file_may_have_a_plus_in_its_name(tmp_path: Path, scorer: str) -> None:
    file = tmp_path / "town+chains.jsonl"
    file.write_text('{"question": "Q?", "answer": "x"}\n')
    [task] = load_tasks(f"{file}@{scorer}")
    assert (task.question, task.scorer) == ("Q?", scorer)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "Q?", "answer": "x"}', "row 1, has no question: .*the row's columns: text, answer"),
        ('{"question": "Q?", "label": "x"}', "row 1, has no answers"),
        ('{"question": "Q?", "answer": "x"', "line 1, is not JSON"),
        ('{"id": 7, "question": "Q?", "answer": "x"}\n{"id": 7, "question": "R?", "answer": "y"}', "has the id '7'"),
        ('{"question": "Q?", "answer": "x", "scorer": "best"}', "names the scorer 'best'"),
        ("", "holds no rows"),
    ],
)
def test_files_that_are_no_tasks_are_told_with_the_place(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(content)
    with pytest.raises(DataError, match=said):
        load_tasks(str(tmp_path / "tasks.jsonl"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('no')", "cannot be imported: RuntimeError (rowsmod.py, line 1): no."),
        ("def make(:", "cannot be imported: SyntaxError"),
        ("def make():\n    return {}['x']", "could not be made: KeyError (rowsmod.py, line 2)"),
        ("def make():\n    return None", "could not be made: TypeError"),
        ("def make():\n    return ['a']", "are no rows"),
        ("def make():\n    raise SystemExit(3)", "could not be made: SystemExit (rowsmod.py, line 2): 3"),
        ("import sys\nsys.exit(3)", "cannot be imported: SystemExit"),
    ],
)
def test_mistakes_of_a_function_are_told(body: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rowsmod.py").write_text(body + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "rowsmod", raising=False)
    with pytest.raises(ConfigError) as raised:
        load_tasks("rowsmod:make")
    assert said in str(raised.value)
    sys.modules.pop("rowsmod", None)


def test_many_sources_are_joined(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "Q?", "answer": "x"}\n')
    assert len(load_tasks("+".join([f"{tmp_path}/a.jsonl"] * 300))) == 300


@pytest.mark.parametrize("spec", ["x" * 5000, "~nobody-of-this-name/x.jsonl", "a\0.jsonl", "m:" + "f" * 5000])
def test_a_path_that_cannot_be_is_told(spec: str) -> None:
    with pytest.raises((ConfigError, DataError), match=r"no file of tasks|cannot be imported"):
        load_tasks(spec)


@pytest.mark.parametrize("name", ["br[1].jsonl", "c+x.jsonl", "star*.jsonl"])
def test_a_file_is_found_whatever_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps({"id": "a", "question": "Q?", "answer": "x"}) + "\n")
    assert [task.id for task in load_tasks(str(tmp_path / name))] == ["a"]
