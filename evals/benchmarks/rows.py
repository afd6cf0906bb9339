"""Turn rows of a data file into tasks.

The files differ in their columns and in their habits: an answer can be a list, a list written as text, or a number;
an answer-format instruction can be glued to the question; options carry their letters, or stand in the question a
second time. All of that is undone here, so that a `Task` holds the question, the answers and the options, and
nothing else.
"""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Iterable
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from evals.benchmarks.files import Row
from evals.benchmarks.registry import Benchmark
from evals.scorers import SCORERS
from evals.scorers.choice import plain_text
from evals.task import Task
from graph.errors import DataError

_GLUED = re.compile(r"\s*When ready, output the final answer enclosed in <answer> and </answer> tags\b.*\Z", re.DOTALL)
_LABEL = re.compile(r"\(?([A-Z])[.):]\s+", re.DOTALL)
_MAX_LIST_TEXT = 10_000


def tasks_of(rows: Iterable[Row], benchmark: Benchmark, path: Path) -> list[Task]:
    """One task for each row, in order.

    Ids come from the benchmark's id column and must be unique. The AgentFlow files have a `pid` instead; where it
    repeats, and where there is no such column at all, the position in the file is the id.

    Raises:
        DataError: a column is missing, an id repeats, or a row cannot be a task of this benchmark.
    """
    rows = list(rows)
    pids = [row.get("pid") for row in rows]
    if None in pids or len(set(map(str, pids))) < len(pids):
        pids = list(range(len(rows)))
    tasks: list[Task] = []
    seen: dict[str, int] = {}
    for position, row in enumerate(rows):
        where = f"{path}, row {position + 1}"
        if benchmark.fields.attachment and row.get(benchmark.fields.attachment):
            continue
        task = _task(row, benchmark, str(pids[position]), where)
        if task.id in seen:
            raise DataError(
                f"{where}, has the id {task.id!r}, as row {seen[task.id]} has; give every question an id of its own."
            )
        seen[task.id] = position + 1
        tasks.append(task)
    if not tasks:
        raise DataError(f"{path} holds no question that can be asked as text.")
    return tasks


def _task(row: Row, benchmark: Benchmark, other_id: str, where: str) -> Task:
    fields = benchmark.fields
    metadata: dict[str, Any] = {name: row[name] for name in fields.metadata if name in row}
    if benchmark.name == "own" and isinstance(row.get("metadata"), dict):
        metadata |= row["metadata"]
    numbers = _numbers(_first(row, fields.numbers))
    if numbers:
        metadata["numbers"] = numbers
    question = _question(row, benchmark, numbers, where)
    answers = _answers(row, benchmark, where)
    choices = _choices(row, benchmark, answers, where)
    scorer = row.get("scorer") or ("choice" if choices and benchmark.name == "own" else benchmark.scorer)
    if choices:
        question = _without_options(question, choices)
        answers = _option_texts(row, answers, choices, where)
    identity = _first(row, fields.id)
    task = Task(
        id=other_id if identity is None else str(identity),
        question=question,
        answers=answers,
        choices=choices,
        scorer=str(scorer),
        benchmark=benchmark.name,
        metadata=metadata,
    )
    _check(task, where)
    return task


def _first(row: Row, names: Iterable[str]) -> Any:
    """The value of the first of these columns that the row has with something in it, or None."""
    return next((row[name] for name in names if row.get(name) not in (None, "", [], {})), None)


def _question(row: Row, benchmark: Benchmark, numbers: tuple[int, ...], where: str) -> str:
    question = _first(row, benchmark.fields.question)
    if question is None and numbers and benchmark.question_template:
        question = benchmark.question_template.format(numbers=", ".join(map(str, numbers)))
    if not isinstance(question, str) or not question.strip():
        raise DataError(_missing(where, "question", benchmark.fields.question, row))
    return _GLUED.sub("", question).strip()


def _answers(row: Row, benchmark: Benchmark, where: str) -> tuple[str, ...]:
    found = _first(row, benchmark.fields.answers)
    if found is None:
        raise DataError(_missing(where, "answers", benchmark.fields.answers, row))
    answers = _texts(found) + _texts(_first(row, benchmark.fields.aliases))
    answers = tuple(dict.fromkeys(answer.strip() for answer in answers if answer.strip()))
    if not answers:
        raise DataError(f"{where}, has an empty answer; give at least one text or number that is right.")
    return answers


def _missing(where: str, what: str, names: Iterable[str], row: Row) -> str:
    columns = ", ".join(map(str, row)) or "none"
    return f"{where}, has no {what}: none of the columns {', '.join(names)} holds any (the row's columns: {columns})."


def _texts(value: object) -> tuple[str, ...]:
    """The texts of an answer cell: a text, a number, a list, or a list written as text."""
    if value is None:
        return ()
    if isinstance(value, str):
        listed = _list_in_text(value)
        return (value,) if listed is None else tuple(map(str, listed))
    if isinstance(value, list | tuple):
        return tuple(str(item) for item in value if item is not None)
    if isinstance(value, bool):
        return ("yes" if value else "no",)
    if isinstance(value, float) and value.is_integer():
        return (str(int(value)),)
    return (str(value),)


def _list_in_text(text: str) -> list[Any] | None:
    """The list that a text like "['a', 'b']" stands for; None if the text is no such list."""
    if not (text.startswith("[") and text.endswith("]")) or len(text) > _MAX_LIST_TEXT:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
            return value
    return None


def _numbers(value: object) -> tuple[int, ...]:
    if isinstance(value, str):
        value = re.findall(r"\d{1,9}", value) if re.fullmatch(r"[\d\s,\[\]]+", value) else None
    if not isinstance(value, list | tuple):
        return ()
    return tuple(int(item) for item in value)


def _choices(row: Row, benchmark: Benchmark, answers: tuple[str, ...], where: str) -> tuple[str, ...] | None:
    """The options without their letters, in order; None for a question without options."""
    found = _first(row, benchmark.fields.choices)
    if isinstance(found, dict):  # {"A": text, "B": text}
        found = [found[key] for key in sorted(found)]
    if isinstance(found, list | tuple):
        return _without_labels([str(option) for option in found])
    incorrect = [str(row[name]) for name in benchmark.fields.incorrect if row.get(name)]
    if incorrect:
        options = [answers[0], *incorrect]
        random.Random(_first(row, benchmark.fields.question)).shuffle(options)
        return tuple(option.strip() for option in options)
    if found is not None:
        raise DataError(f"{where}, has options that are no list; write them as a list of texts.")
    return None


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


def _option_texts(row: Row, answers: tuple[str, ...], choices: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The right options' texts, whether the row names them by text, by letter or by both."""
    texts: list[str] = []
    by_text = {plain_text(choice): choice for choice in choices}
    for answer in answers:
        label = _LABEL.match(answer)
        unlabelled = answer[label.end() :] if label else answer
        if plain_text(answer) in by_text:
            texts.append(by_text[plain_text(answer)])
        elif plain_text(unlabelled) in by_text:
            texts.append(by_text[plain_text(unlabelled)])
        elif len(answer) == 1 and answer.upper() in ascii_uppercase[: len(choices)]:
            texts.append(choices[ascii_uppercase.index(answer.upper())])
        else:
            raise DataError(f"{where}, has an answer that is none of its options; give an option's letter or text.")
    return tuple(texts)


def _check(task: Task, where: str) -> None:
    """Refuse a task that its scorer could not judge."""
    if task.scorer not in SCORERS:
        raise DataError(f"{where}, names the scorer {task.scorer!r}; use one of {', '.join(SCORERS)}.")
    if task.scorer == "choice" and not task.choices:
        raise DataError(f"{where}, is multiple choice but has no options; add a list named `choices`.")
    if task.choices is not None and not 2 <= len(task.choices) <= len(ascii_uppercase):
        raise DataError(f"{where}, has {len(task.choices)} options; two to {len(ascii_uppercase)} can be asked.")
    if task.scorer == "gameof24" and not task.metadata.get("numbers"):
        raise DataError(f"{where}, is a game of 24 without numbers; add a list named `numbers`.")
