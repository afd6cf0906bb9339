"""Turn rows of a data file into tasks.

The files differ in their columns and in their habits: an answer-format instruction can be glued to the question;
options carry their letters, or stand in the question a second time; answers and options come in many shapes
(`cells.py`). All of that is undone here, so that a `Task` holds the question, the answers and the options, and nothing
else.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from evals.benchmarks.cells import CellError, Options, answers_in, collection_in_text, is_missing, options_in, scalar
from evals.benchmarks.files import Row
from evals.benchmarks.registry import Benchmark
from evals.scorers import SCORERS, score
from evals.scorers.choice import plain_text
from evals.scorers.game24 import solution
from evals.task import Task
from graph.errors import DataError
from tools.counts import kind_of

_GLUED = re.compile(r"\s*When ready, output the final answer enclosed in <answer> and </answer> tags\b.*\Z", re.DOTALL)
_WITHHELD = ("", "?")
"""What stands in place of an answer; the question mark in GAIA's test set."""
_LABEL = re.compile(r"\(?([A-Z])[.):]\s+", re.DOTALL)


def tasks_of(rows: Iterable[Row], benchmark: Benchmark, path: Path) -> list[Task]:
    """One task for each row, in order.

    Ids come from the benchmark's id column and must be unique. The AgentFlow files have a `pid` instead; where it
    repeats, and where there is no such column at all, the position in the file is the id.

    Raises:
        DataError: a column is missing, an id repeats, or a row cannot be a task of this benchmark.
    """
    rows = [_with_plain_names(row) for row in rows]
    pids = [row.get("pid") for row in rows]
    if None in pids or len(set(map(str, pids))) < len(pids):
        pids = list(range(len(rows)))
    tasks: list[Task] = []
    seen: dict[str, int] = {}
    for position, row in enumerate(rows):
        where = f"{path}, row {position + 1}"
        if benchmark.fields.attachment and not is_missing(row.get(benchmark.fields.attachment)):
            continue
        try:
            task = _task(_typed(row, benchmark, path), benchmark, str(pids[position]))
        except CellError as error:
            raise DataError(f"{where}, {error}.") from None
        except RecursionError:
            raise DataError(f"{where}, is nested too deeply; write texts, or lists of texts.") from None
        if task.id in seen:
            raise DataError(
                f"{where}, has the id {task.id!r}, as row {seen[task.id]} has; give every question an id of its own."
            )
        seen[task.id] = position + 1
        tasks.append(task)
    if not tasks:
        raise DataError(f"{path} holds no question that can be asked as text.")
    return tasks


def _with_plain_names(row: Row) -> Row:
    """The row with one spelling for the names of columns: `_id` and `ID` are `id`, `Final answer` is `final_answer`.

    Of columns that are then one, the first that holds anything stays.
    """
    plain: dict[str, Any] = {}
    for name, value in row.items():
        key = re.sub(r"[ _-]+", "_", name.lower()).strip("_")
        if is_missing(plain.get(key)):
            plain[key] = value
    return plain


def _typed(row: Row, benchmark: Benchmark, path: Path) -> Row:
    """The row with real lists and dictionaries where its format, or the benchmark's own files, have them as text."""
    fields = benchmark.fields
    columns = (*fields.alternatives, *fields.choices) if path.suffix.lower() == ".csv" else ()
    if fields.lists_in_text:
        columns = (*fields.answers, *fields.choices)
    listed = {name: collection_in_text(row[name]) for name in columns if isinstance(row.get(name), str)}
    return {**row, **{name: value for name, value in listed.items() if value is not None}}


def _task(row: Row, benchmark: Benchmark, other_id: str) -> Task:
    fields = benchmark.fields
    if str(row.get("answerable")).lower() == "false":  # MuSiQue's full file has such twins of its questions
        raise CellError("has no answer (`answerable` is false); leave such rows out")
    metadata: dict[str, Any] = {name: row[name] for name in fields.metadata if name in row}
    if benchmark.name == "own" and isinstance(row.get("metadata"), dict):
        metadata |= row["metadata"]
    numbers = _numbers(_first(row, fields.numbers))
    if numbers:
        metadata["numbers"] = numbers
    question = _question(row, benchmark, numbers)
    named = _first(row, ("scorer",))
    has_options = _first(row, fields.choices) is not None or any(
        not is_missing(row.get(name)) for name in fields.incorrect
    )
    scorer = str(named or ("choice" if has_options and benchmark.name == "own" else benchmark.scorer))
    answers = _answers(row, benchmark, scorer)
    options = _choices(row, benchmark, answers)
    if options:
        question = _without_options(question, options.texts)
        answers = _option_texts(answers, options)
    identity = _first(row, fields.id)
    task = Task(
        id=other_id if identity is None else str(identity),
        question=question,
        answers=answers,
        choices=options.texts if options else None,
        scorer=scorer,
        benchmark=benchmark.name,
        metadata=metadata,
    )
    _check(task)
    return task


def _first(row: Row, names: Iterable[str]) -> Any:
    """The value of the first of these columns that the row has with something in it, or None."""
    return next((row[name] for name in names if not is_missing(row.get(name))), None)


def _question(row: Row, benchmark: Benchmark, numbers: tuple[int, ...]) -> str:
    question = _first(row, benchmark.fields.question)
    if question is None and numbers and benchmark.question_template:
        question = benchmark.question_template.format(numbers=", ".join(map(str, numbers)))
    if question is None or (isinstance(question, str) and not question.strip()):
        raise CellError(_missing("question", benchmark.fields.question, row))
    if not isinstance(question, str):
        raise CellError(f"has a question that is {kind_of(question)}; write the question as a text")
    return _GLUED.sub("", question).strip()


def _answers(row: Row, benchmark: Benchmark, scorer: str) -> tuple[str, ...]:
    fields = benchmark.fields
    column = next((name for name in fields.answers if not is_missing(row.get(name))), None)
    if column is None:
        if scorer == "gameof24" and (expression := solution(_numbers(_first(row, fields.numbers)))):
            return (expression,)
        raise CellError(_missing("answers", fields.answers, row))
    answers = answers_in(row[column], alternatives=column in fields.alternatives, scorer=scorer)
    aliases = _first(row, fields.aliases)
    if aliases is not None:
        answers += answers_in(aliases, alternatives=True, scorer=scorer)
    answers = tuple(dict.fromkeys(answer.strip() for answer in answers if answer.strip() not in _WITHHELD))
    if not answers:
        raise CellError(
            "has an empty answer, or a question mark for one that is not published; give at least one text or number "
            "that is right, or leave such rows out"
        )
    return answers


def _missing(what: str, names: Iterable[str], row: Row) -> str:
    columns = ", ".join(map(str, row)) or "none"
    return f"has no {what}: none of the columns {', '.join(names)} holds any (the row's columns: {columns})"


def _numbers(value: object) -> tuple[int, ...]:
    if isinstance(value, str):
        value = re.findall(r"\d{1,9}", value) if re.fullmatch(r"[\d\s,\[\]]+", value) else None
    if not isinstance(value, list | tuple):
        return ()
    if not all(isinstance(item, int | float | str) and re.fullmatch(r"\d{1,9}(?:\.0)?", str(item)) for item in value):
        raise CellError("has numbers that are not whole; write four whole numbers as a list")
    return tuple(int(float(item)) for item in value)


def _choices(row: Row, benchmark: Benchmark, answers: tuple[str, ...]) -> Options | None:
    """The options without their letters, in order; None for a question without options."""
    cell = _first(row, benchmark.fields.choices)
    if cell is not None:
        options = options_in(cell)
        return options if options.labels else Options(_without_labels(list(options.texts)))
    incorrect = [scalar(row[name]) for name in benchmark.fields.incorrect if not is_missing(row.get(name))]
    if not incorrect:
        return None
    texts = [answers[0], *incorrect]
    random.Random(_first(row, benchmark.fields.question)).shuffle(texts)
    return Options(tuple(texts))


def _without_labels(options: list[str]) -> tuple[str, ...]:
    """Options without "A. ", "B. ", ..., if all of them carry their own letter."""
    labels = [_LABEL.match(option) for option in options]
    if all(label and label[1] == letter for label, letter in zip(labels, ascii_uppercase, strict=False)):
        options = [option[label.end() :] for option, label in zip(options, labels, strict=True) if label]
    return tuple(option.strip() for option in options)


def _without_options(question: str, choices: tuple[str, ...]) -> str:
    """The question without the lists of its own options at the end (one of the files has them twice)."""
    while True:
        end = len(question)
        for letter, choice in reversed(list(zip(ascii_uppercase, choices, strict=False))):
            text = question[:end].rstrip()
            option = f"{letter}. {choice}"
            if not text.endswith(option):
                return question
            end = len(text) - len(option)
        question = question[:end].rstrip().removesuffix("Choices:").rstrip()


def _option_texts(answers: tuple[str, ...], options: Options) -> tuple[str, ...]:
    """The right options' texts, whether the row names them by label, by text, by letter or by both."""
    texts: list[str] = []
    by_label = dict(zip(options.labels, options.texts, strict=False))
    by_text = {plain_text(choice): choice for choice in options.texts}
    for answer in answers:
        label = _LABEL.match(answer)
        unlabelled = answer[label.end() :] if label else answer
        if answer in by_label:
            texts.append(by_label[answer])
        elif plain_text(answer) in by_text:
            texts.append(by_text[plain_text(answer)])
        elif plain_text(unlabelled) in by_text:
            texts.append(by_text[plain_text(unlabelled)])
        elif len(answer) == 1 and answer.upper() in ascii_uppercase[: len(options.texts)]:
            texts.append(options.texts[ascii_uppercase.index(answer.upper())])
        else:
            raise CellError("has an answer that is none of its options; give an option's letter or text")
    return tuple(texts)


def _check(task: Task) -> None:
    """Refuse a task that its scorer could not judge."""
    if task.scorer not in SCORERS:
        raise CellError(f"names the scorer {task.scorer!r}; use one of {', '.join(SCORERS)}")
    if task.scorer == "choice" and not task.choices:
        raise CellError("is multiple choice but has no options; add a list named `choices`")
    if task.choices is not None and not 2 <= len(task.choices) <= len(ascii_uppercase):
        raise CellError(f"has {len(task.choices)} options; two to {len(ascii_uppercase)} can be asked")
    if task.scorer == "gameof24" and not task.metadata.get("numbers"):
        raise CellError("is a game of 24 without numbers; add a list named `numbers`")
    if not any(score(task, answer).correct for answer in task.answers):
        shown = task.answers[0] if len(task.answers[0]) <= 60 else f"{task.answers[0][:57]}..."
        raise CellError(
            f"has the answer {shown!r}, which its own scorer ({task.scorer}) does not find right; give the final "
            "answer alone, or another scorer"
        )
