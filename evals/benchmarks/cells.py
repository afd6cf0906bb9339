"""Read the cells of a data file: answers and options in the shapes that well-known data sets give them.

What a cell holds is told by its column and its type, never by what its text looks like: a text is one answer, also a
text like `[3, 4, 5]`; alternatives are a list. A shape that is not known is refused with the way to write it, for a
reference that no answer can equal would count every answer as wrong.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from string import ascii_uppercase
from typing import Any

from evals.scorers.final import last_boxed
from tools.counts import kind_of

MAX_LIST_TEXT = 10_000
"""Characters of a list that is written as text."""
_WORKED_SOLUTION = "####"
"""What GSM8K puts before the final answer of a worked solution."""
_ANSWER_KEYS = ("value", "aliases", "normalized_value", "normalized_aliases")
"""TriviaQA's dictionaries; other keys of theirs say where the answer was found."""
_SINGLE_KEYS = ("text", "answer", "value", "span")
"""Keys under which the data sets that list their answers as dictionaries keep the text of one (SQuAD, KILT)."""


class CellError(ValueError):
    """A cell that cannot be read; the message says what it holds and how to write it, as the end of a sentence."""


@dataclass(frozen=True)
class Options:
    """The options of a question, and the names by which its answer calls them, where the file gives any."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()


def is_missing(value: object) -> bool:
    """Whether a cell is empty: nothing, an empty text or list, or the "not a number" that tables put for nothing."""
    return value is None or value in ("", [], {}, ()) or (isinstance(value, float) and math.isnan(value))


def answers_in(value: object, *, alternatives: bool, scorer: str) -> tuple[str, ...]:
    """The right answers of a cell, any one of which is right.

    Args:
        value: the cell.
        alternatives: whether the column is one for several right answers; a list in another column is one answer that
            is a list where answers are formulas, and several right answers where they are texts.
        scorer: who will compare them.

    Raises:
        CellError: it holds no answer, or one that cannot be compared.
    """
    if isinstance(value, Mapping):
        return _answers_of_mapping(value, scorer)
    if not isinstance(value, list | tuple):
        return (_final(scalar(value), scorer),)
    items = [item for item in value if not is_missing(item)]
    if len(items) == 1 and isinstance(items[0], list | tuple | Mapping):
        return answers_in(items[0], alternatives=True, scorer=scorer)
    if scorer == "math" and not alternatives and len(items) > 1:
        return (_as_list(items),)
    if any(isinstance(item, list | tuple) for item in items):
        raise CellError("has lists inside the list of answers; write one list of texts, any of which is right")
    return tuple(answer for item in items for answer in answers_in(item, alternatives=False, scorer=scorer))


def _answers_of_mapping(value: Mapping[Any, Any], scorer: str) -> tuple[str, ...]:
    keys = _ANSWER_KEYS if "value" in value else tuple(key for key in _SINGLE_KEYS if key in value)[:1]
    cells = [value[key] for key in keys if not is_missing(value.get(key))]
    if not keys:
        names = ", ".join(map(str, value))
        raise CellError(f"has an answer with the keys {names}; write a text, or a list of texts any of which is right")
    if not cells:
        raise CellError("has no answer, as unanswerable questions have in SQuAD; leave such rows out")
    return tuple(answer for cell in cells for answer in answers_in(cell, alternatives=True, scorer=scorer))


def _as_list(items: Sequence[Any]) -> str:
    """The text of a list of numbers that is itself the answer."""
    if not all(_is_numeric(item) for item in items):
        raise CellError(
            "has a list of texts where one formula should stand; write alternatives under `answers`, or a list that is "
            "the answer as one text"
        )
    return f"[{', '.join(_as_list(item) if isinstance(item, list | tuple) else scalar(item) for item in items)}]"


def _is_numeric(item: object) -> bool:
    if isinstance(item, list | tuple):
        return bool(item) and all(map(_is_numeric, item))
    return isinstance(item, int | float | Decimal) and not isinstance(item, bool)


def scalar(value: object) -> str:
    """The text of a single value, a number without exponent.

    Raises:
        CellError: it is infinite, binary, or no single value.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal):
        return _decimal(value)
    if isinstance(value, datetime):
        return (value.date() if value.time() == datetime.min.time() else value).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    raise CellError(f"has {kind_of(value)} where a text or a number should stand; write it as a text")


def _decimal(value: float | Decimal) -> str:
    number = Decimal(repr(value)) if isinstance(value, float) else value
    if not number.is_finite():
        raise CellError(f"has the answer {value}, which is no number; write the answer as a text")
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _final(text: str, scorer: str) -> str:
    """The final answer of a worked solution (after GSM8K's `####`, or boxed); any other text is itself an answer."""
    if scorer in ("choice", "gameof24"):
        return text
    lines = text.strip().splitlines()
    if lines and lines[-1].startswith(_WORKED_SOLUTION):
        return lines[-1].removeprefix(_WORKED_SOLUTION).strip()
    if (boxed := last_boxed(text)) is not None:
        return boxed.answer
    return text


def collection_in_text(text: str) -> list[Any] | dict[Any, Any] | None:
    """The list or dictionary that a text like `['a', 'b']` stands for, in files that have none; None if it is none."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "{}") or len(text) > MAX_LIST_TEXT:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list | dict):
            return value
    return None


def options_in(value: object) -> Options:
    """The options of a cell: a list of texts, texts by label, ARC's `{text, label}`, or a list of such pairs.

    Raises:
        CellError: it is none of these.
    """
    if isinstance(value, Mapping):
        return _options_of_mapping(value)
    if not isinstance(value, list | tuple):
        raise CellError("has options that are no list; write them as a list of texts")
    if all(isinstance(item, Mapping) for item in value):
        texts = [_first_of(item, ("text", "value", "content")) for item in value]
        labels = [_first_of(item, ("label", "key", "id")) for item in value]
        return _labelled(texts, labels)
    return Options(tuple(_option(item) for item in value))


def _options_of_mapping(value: Mapping[Any, Any]) -> Options:
    texts, labels = value.get("text", value.get("texts")), value.get("label", value.get("labels"))
    if isinstance(texts, list | tuple) and isinstance(labels, list | tuple):
        return _labelled(list(texts), list(labels))
    keys = sorted(value, key=str)
    if not all(str(key).upper() in ascii_uppercase or str(key).isdigit() for key in keys) or "" in map(str, keys):
        names = ", ".join(map(str, value))
        raise CellError(f"has options with the keys {names}; write them as a list of texts, or as texts by letter")
    return _labelled([value[key] for key in keys], list(keys))


def _labelled(texts: list[Any], labels: list[Any]) -> Options:
    names = tuple(scalar(label) for label in labels)
    if len(texts) != len(names) or len(set(names)) != len(names):
        raise CellError("has options whose labels are not one for each; give every option a label of its own")
    return Options(tuple(map(_option, texts)), names)


def _first_of(item: Mapping[Any, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        if key in item:
            return item[key]
    raise CellError(f"has an option with the keys {', '.join(map(str, item))}; write the options as a list of texts")


def _option(item: object) -> str:
    if is_missing(item):
        raise CellError("has an empty option; leave it out")
    return scalar(item)
