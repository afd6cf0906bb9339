"""What is read of files, old, growing, damaged and foreign ones."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from evals.view.documents import FIELDS, Unreadable, plain, without_bulk
from evals.view.index import RunIndex, words_of
from evals.view.library import Library, Unknown
from evals.view.sources import find_sources
from evals.view.values import read, write
from graph.build import NODES
from graph.errors import ConfigError, DataError
from graph.roles import MODULES
from training.rollouts.figures import step_metrics
from training.rollouts.records import failures_by_kind
from training.rollouts.store import RolloutStore, read_rollouts

from .samples import evaluation, hostile, saved_run, training

PLACE = {name: number for number, name in enumerate(FIELDS)}


def test_each_kind_of_folder_is_known(tmp_path: Path) -> None:
    evaluation(tmp_path / "a" / "eval", 2)
    training(tmp_path / "a" / "training", 1, 1, 2)
    saved_run(tmp_path / "a" / "run.json")
    (tmp_path / "a" / "other.json").write_text('{"name": "no run"}')
    found = [(source.kind, source.name) for source in find_sources([tmp_path])]
    assert found == [("evaluation", "eval"), ("run", "run.json"), ("training", "training")]
    rollouts = tmp_path / "a" / "training" / "rollouts"
    assert [source.kind for source in find_sources([rollouts, rollouts / "step-000000.jsonl"])] == ["training"] * 2


def test_a_path_without_runs_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no run")
    with pytest.raises(DataError, match="contains no run"):
        find_sources([tmp_path])
    with pytest.raises(ConfigError, match="nothing at"):
        find_sources([tmp_path / "missing"])


def test_rows_agree_with_the_trainings_own_figures(tmp_path: Path) -> None:
    folder = training(tmp_path / "run")
    [source] = Library([folder]).sources
    rollouts = list(read_rollouts(folder / "rollouts"))
    rows = source.index.rows
    assert [row[PLACE["key"]] for row in rows] == [rollout.id for rollout in rollouts]
    assert [row[PLACE["reward"]] for row in rows] == [rollout.reward for rollout in rollouts]
    step = [row for row in rows if row[PLACE["step"]] == 1]
    figures = step_metrics([r for r in rollouts if r.step == 1], version=1)
    finished = [row for row in step if row[PLACE["outcome"]] != "failed"]
    assert sum(row[PLACE["outcome"]] == "right" for row in finished) / len(finished) == pytest.approx(
        figures["pass_rate"]
    )
    kinds = [kind for row in step for kind in row[PLACE["errors"]] if kind.startswith("failed: ")]
    assert len(kinds) == sum(failures_by_kind(rollouts).values())


@pytest.mark.parametrize(("mark", "end"), [("\ufeff", "\n"), ("", ""), ("\ufeff", "\r\n"), ("", '\n{"schema": 1, "ta')])
def test_lines_that_other_hands_touched_are_those_that_training_reads(tmp_path: Path, mark: str, end: str) -> None:
    folder = training(tmp_path / "run")
    file = folder / "rollouts" / "step-000000.jsonl"
    file.write_text(mark + file.read_text().rstrip("\n") + end, newline="")
    [source] = Library([file]).sources
    rollouts = list(read_rollouts(file))
    assert [row[PLACE["key"]] for row in source.index.rows] == [rollout.id for rollout in rollouts]
    assert source.index.document(len(rollouts) - 1)["question"] == rollouts[-1].task.question
    assert not source.index.problems
    with file.open("a", newline="") as lines:
        lines.write("" if end.endswith("\n") else "\n" if not end else end + "\n")
    source.refresh()
    assert len(source.index.rows) == len(rollouts)


def test_the_bulk_that_is_cut_out_changes_no_row(tmp_path: Path) -> None:
    training(tmp_path / "t", 2, 2, 2)
    evaluation(tmp_path / "e", 4)
    for kind, file in (("training", "t/rollouts/step-000000.jsonl"), ("evaluation", "e/results.jsonl")):
        for line in (tmp_path / file).read_bytes().splitlines():
            short = without_bulk(line, kind)  # type: ignore[arg-type]
            assert len(short) < 0.75 * len(line)
            cut, whole = (plain(each, kind) for each in (short, line))  # type: ignore[arg-type]
            for value in (cut, whole):
                value.pop("trace")
                value.pop("drawn", None)
            assert cut == whole


def test_rows_know_the_roles_that_the_policy_played(tmp_path: Path) -> None:
    folder = training(tmp_path / "run")
    [source] = Library([folder]).sources
    roles = {row[PLACE["key"]]: row[PLACE["roles"]] for row in source.index.rows}
    rollouts = list(read_rollouts(folder / "rollouts"))
    assert roles == {r.id: [turn.role for turn in r.turns] for r in rollouts}
    assert ["planner", "solver"] in roles.values()


def test_marks_inside_texts_and_inner_objects_are_no_marks(tmp_path: Path) -> None:
    [rollout, *_] = read_rollouts(training(tmp_path / "run", 1, 1, 2) / "rollouts")
    value = rollout.as_dict()
    value["answer"] = '], "reward": 5, "turns": [ "trace": {]}, "seconds": '
    value["task"]["metadata"] = {"a": 1, "turns": [1], "trace": {"steps": []}}
    index = RunIndex("training", tmp_path)
    file = tmp_path / "step-000000.jsonl"
    file.write_text(json.dumps(value) + "\n")
    index.refresh([file])
    assert index.problems == []
    assert index.rows[0][PLACE["answer"]] == value["answer"]
    assert index.document(0)["reward"] == rollout.reward


def test_a_growing_file_is_read_from_where_it_ended(tmp_path: Path) -> None:
    lines = (evaluation(tmp_path / "e", 5) / "results.jsonl").read_bytes().splitlines(keepends=True)
    file = tmp_path / "results.jsonl"
    index = RunIndex("evaluation", tmp_path)
    written = b""
    size = sum(map(len, lines))
    cuts = [*sorted(random.Random(3).choices(range(size), k=12)), size]
    for cut in cuts:
        written = b"".join(lines)[:cut]
        with file.open("ab") as out:
            out.write(written[out.tell() :])
        index.refresh([file])
        assert len(index.rows) == written.count(b"\n")
    assert index.generation == 1
    assert [index.document(n)["task"] for n in range(5)] == [f"t{n}" for n in range(5)]


def test_a_replaced_file_makes_the_set_anew(tmp_path: Path) -> None:
    library = Library([evaluation(tmp_path / "e", 5)])
    assert library.run(0, 4, 1)["task"] == "t4"
    file = tmp_path / "e" / "results.jsonl"
    other = tmp_path / "other"
    other.write_bytes(b"".join(reversed(file.read_bytes().splitlines(keepends=True)[:4])))
    other.replace(file)
    library.refresh()
    assert [row[0] for row in library.rows(0)["rows"]] == ["t3/0", "t2/0", "t1/0", "t0/0"]
    with pytest.raises(Unknown):
        library.run(0, 0, 1)
    assert library.run(0, 0, 2)["task"] == "t3"


def test_steps_that_a_resumed_training_discards_disappear(tmp_path: Path) -> None:
    folder = training(tmp_path / "run", 3, 2, 2)
    library = Library([folder])
    assert len(library.rows(0)["rows"]) == 12
    RolloutStore(folder / "rollouts").discard_from(1)
    library.refresh()
    assert {row[PLACE["step"]] for row in library.rows(0)["rows"]} == {0}


def test_damaged_and_foreign_lines_are_named_and_left_out(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", 2)
    with (folder / "results.jsonl").open("ab") as file:
        file.write(b'not json\n[1]\n{"schema": 99}\n\xff\xfe\n' + b"[" * 100_000 + b"\n")
    [source] = Library([folder]).sources
    assert len(source.index.rows) == 2
    assert source.index.unread == 5
    assert "results.jsonl, line 3, is not JSON" in source.index.problems[0]
    assert "has schema 99, this version reads 1" in source.index.problems[2]


@pytest.mark.parametrize(
    "value",
    [None, [], {}, 3, "text", [None], {"plan": []}, {"calls": {}, "plan": 3, "verdict": []}, float("inf")],
)
@pytest.mark.parametrize("name", ["turns", "memory", "usage", "trace", "task", "failure", "rewards", "reward", "gold"])
def test_fields_of_any_type_are_survived(tmp_path: Path, name: str, value: object) -> None:
    for kind in ("run", "evaluation", "training"):
        file = tmp_path / "file"
        file.write_text(
            json.dumps({"schema": 1, name: [value, value] if name in ("turns", "memory") else value}) + "\n"
        )
        index = RunIndex(kind, tmp_path)  # type: ignore[arg-type]
        index.refresh([file])
        assert len(index.rows) == 1
        from evals.view.details import details
        from evals.view.tokens import TokenTexts

        json.loads(write(details(index.document(0), TokenTexts(tmp_path))))


def test_a_training_with_odd_steps_is_exported(tmp_path: Path) -> None:
    from evals.view.export import export

    folder = training(tmp_path / "training")
    file = sorted((folder / "rollouts").iterdir())[0]
    good = json.loads(file.read_text().splitlines()[0])
    with file.open("a") as lines:
        for step in ('"x"', "1e999", "true", "null"):
            lines.write(json.dumps(good | {"step": "STEP"}).replace('"STEP"', step) + "\n")
    export(Library([folder]), tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size


def test_search_finds_what_a_reader_sees(tmp_path: Path) -> None:
    library = Library([evaluation(tmp_path / "e", 12)])
    assert library.search(0, "TRAVELLER 11")["found"] == [11]
    assert library.search(0, '"traveller 1"')["found"] == [1, 10, 11]
    assert library.search(0, "timeout web_search")["found"] == []
    assert library.search(0, "did not work")["found"] == [0, 5, 10]
    assert library.search(0, "")["found"] == list(range(12))


def test_search_holds_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evals.view.index._BLOCK", 700)
    library = Library([evaluation(tmp_path / "e", 12)])
    for n in range(12):
        assert n in library.search(0, f'"look traveller {n} up"')["found"]
        assert f"traveller {n}" in library.sources[0].index.words(n)


def test_a_query_is_words_and_quotes() -> None:
    assert words_of('  One "Two  three" four" ') == ["two  three", "one", "four"]


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    secret = evaluation(tmp_path / "secret", 1) / "results.jsonl"
    folder = evaluation(tmp_path / "shown", 1)
    (folder / "results.jsonl").unlink()
    (folder / "results.jsonl").symlink_to(secret)
    run = training(tmp_path / "run", 1, 1, 2)
    (run / "rollouts" / "step-000007.jsonl").symlink_to(secret)
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").symlink_to(secret)
    library = Library([folder, run])
    assert library.rows(0)["rows"] == []
    assert {row[PLACE["step"]] for row in library.rows(1)["rows"]} == {0}
    assert library.facts(1)["lines"] == []


def test_hostile_folders_are_read(tmp_path: Path) -> None:
    library = Library([hostile(tmp_path / "h", giant=1000)])
    assert [source.index.unread for source in library.sources] == [0, 0, 0]
    for number, source in enumerate(library.sources):
        json.loads(write(library.run(number, 0, source.index.generation)))
        json.loads(write(library.facts(number)))


def test_json_that_is_not_quite_json() -> None:
    assert read(b'{"a": "\\ud800", "b": NaN}')["a"] == "\ud800"
    assert json.loads(write({"a": "\ud800", "b": float("nan"), 3: [float("inf")]})) == {
        "a": "?",
        "b": None,
        "3": [None],
    }
    with pytest.raises(ValueError):
        read(b"[" * 100_000)
    with pytest.raises(Unreadable):
        plain(b"{", "run")


def test_the_page_names_the_modules_as_the_graph_does() -> None:
    assert tuple(NODES) == MODULES


def test_tokens_have_the_text_of_the_runs_tokenizer(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    from evals.view.tokens import TokenTexts

    tokens = TokenTexts(tmp_path)
    assert tokens.pieces([1, 2]) is None
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|end|>"]
    )
    made.train_from_iterator(["the planner plans the plan"], trainer)
    (tmp_path / "checkpoint-2").mkdir()
    made.save(str(tmp_path / "checkpoint-2" / "tokenizer.json"))
    ids = [*made.encode("the plan für \U0001f600").ids, made.token_to_id("<|end|>")]
    pieces = tokens.pieces(ids)
    assert pieces is not None
    assert len(pieces) == len(ids)
    assert "".join(pieces) == "the plan für \U0001f600<|end|>" == tokens.text(ids)
    assert pieces[-1] == "<|end|>"


def test_a_rollout_that_was_made_again_is_there_once(tmp_path: Path) -> None:
    made = list(read_rollouts(training(tmp_path / "other", 1, 1, 3) / "rollouts"))
    store = RolloutStore(tmp_path / "run" / "rollouts")
    gone = {"kind": "unavailable", "message": "gone"}
    first, second, third = (replace(rollout, answer=f"early{n}") for n, rollout in enumerate(made))
    for rollout in (replace(first, reward=None, failure=gone), second, third):
        store.append(rollout)
    [source] = Library([tmp_path / "run"]).sources
    index = source.index
    before = index.generation
    for rollout in (replace(first, answer="late0"), replace(second, reward=None, failure=gone, answer="late1"),
                    replace(third, answer="late2")):  # fmt: skip
        store.append(rollout)
    source.refresh()
    assert [row[PLACE["key"]] for row in index.rows] == [rollout.id for rollout in made]
    assert [row[PLACE["answer"]] for row in index.rows] == ["late0", "early1", "late2"]
    assert index.document(0)["answer"] == "late0"
    assert index.generation > before, "the page reads its rows again"
    assert [index.search(word) for word in ("early0", "late0", "early1", "late2")] == [[], [0], [1], [2]]
    assert "late2" in index.words(2)


def test_links_that_lead_in_a_circle_are_a_problem_of_their_set(tmp_path: Path) -> None:
    folder = training(tmp_path / "run", 1, 1, 2)
    for name in ("rollouts/step-000007.jsonl", "config.yaml"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(folder / name)
    [source] = Library([folder]).sources
    assert source.index.problems == ["step-000007.jsonl cannot be read (Too many levels of symbolic links)"]
    assert source.settings() == {}
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(ConfigError, match="nothing at"):
        find_sources([circle])
