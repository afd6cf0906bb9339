"""Multiple choice, answered by letter or by the text of an option.

What counts is the option's text, so two options with the same text are both right if one is. An answer that names no
option, or several, is wrong: there is no default option to fall back on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from string import ascii_uppercase

from evals.scorers.final import final_answers
from evals.scorers.normal import tokens
from evals.task import Score, Task, right, wrong

_LETTER_ONLY = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:]?")
_LETTER_FIRST = re.compile(r"(?:[(\[]([A-Z])[)\]]|([A-Z])\s?[).:\-–,])\s*(.*)", re.DOTALL)
_LETTER_NAMED = re.compile(r"\b(?i:option|choice|answer)(?:\s+is)?\s*:?\s*(?:[(\[]([A-Z])[)\]]|([A-Z])\b(?!['’]))")
_DENIAL = re.compile(
    r"\b(?:not|no|never|neither|nor|except|rather|unlike|incorrect|wrong|rule[sd]? out|cannot)\b|n't\b"
)
_CONCLUDING = frozenset(("is", "are", "be", "was", "has", "have", "choose", "suggests", "suggest", "indicates"))
_MAX_SENTENCE = 400
"""Characters of an explanation in which an option is looked for."""


def plain_text(text: str) -> str:
    """One spelling for spaces and compatibility characters only; case and signs can tell two options apart."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).rstrip(" .")


def _folded(text: str) -> str:
    return plain_text(text).casefold()


@lru_cache(maxsize=4096)
def _loose(text: str) -> str:
    return " ".join(tokens(text))


Spellings = tuple[Callable[[str], str], ...]
_STRICT: Spellings = (plain_text, _folded)
_LOOSE: Spellings = (_loose,)


def score_choice(task: Task, prediction: object) -> Score:
    """Right if the prediction names exactly one option, by letter, by text or by both in agreement, and it is right."""
    options = task.choices or ()
    readings = final_answers(prediction)
    if not readings:
        return wrong("No option was chosen.")
    for reading in readings:
        chosen = _chosen(reading, options)
        if chosen is None:
            continue
        letter = ascii_uppercase[chosen]
        correct = any(plain_text(options[chosen]) == plain_text(answer) for answer in task.answers)
        return right(f"Chose option {letter}.") if correct else wrong(f"Chose option {letter}.")
    return wrong("Names no option, or more than one.")


def _chosen(reading: str, options: tuple[str, ...]) -> int | None:
    """The index of the option that a reading names; None for none or several."""
    exact = _by_text(reading, options, _STRICT)
    if match := _LETTER_ONLY.fullmatch(reading.strip()):
        # An option can itself be a small letter ("a", "x"); a capital is a label before it is anything else.
        by_letter = _index(match[1].upper(), options)
        return by_letter if by_letter is not None and (match[1].isupper() or exact is None) else exact
    if exact is not None:
        return exact
    if match := _LETTER_FIRST.match(reading.strip()):
        return _by_letter_and_text(match[1] or match[2], match[3], options)
    if (chosen := _by_text(reading, options, _LOOSE)) is not None:
        return chosen
    named = {_index(match[1] or match[2], options) for match in _LETTER_NAMED.finditer(reading)}
    if len(named) == 1 and not _DENIAL.search(reading[:_MAX_SENTENCE].lower()):
        return named.pop()
    return _by_mention(reading, options) if not named else None


def _index(letter: str, options: tuple[str, ...]) -> int | None:
    index = ascii_uppercase.index(letter)
    return index if index < len(options) else None


def _by_text(reading: str, options: tuple[str, ...], spellings: Spellings) -> int | None:
    """The option whose text the reading is, in the first spelling in which it is any option's."""
    for spelling in spellings:
        wanted = spelling(reading)
        found = [index for index, option in enumerate(options) if wanted and spelling(option) == wanted]
        if found:
            return _single(found, options)
    return None


def _single(found: list[int], options: tuple[str, ...]) -> int | None:
    """The first of several options that all have the same text; None if their texts differ."""
    return found[0] if len({plain_text(options[index]) for index in found}) == 1 else None


def _by_letter_and_text(letter: str, rest: str, options: tuple[str, ...]) -> int | None:
    """The option of "B. text", unless the text is that of another option or the rest names another letter."""
    index = _index(letter, options)
    if index is None or not rest.strip():
        return index
    by_text = _by_text(rest, options, _STRICT + _LOOSE)
    if by_text is not None and plain_text(options[by_text]) != plain_text(options[index]):
        return None
    others = re.findall(r"(?:^|[\s,;/])(?:or|and|,)\s*[(\[]?([A-Z])[)\]]?(?=[\s.,;:)]|$)", rest[:_MAX_SENTENCE])
    bare = re.fullmatch(r"[(\[]?([A-Z])[)\]]?(?:\s*[,;/]\s*[(\[]?[A-Z][)\]]?)*[.]?", rest.strip())
    if bare is not None or any(other != letter and _index(other, options) is not None for other in others):
        return None
    return index


def _by_mention(reading: str, options: tuple[str, ...]) -> int | None:
    """The only option that a short explanation concludes with ("the most likely diagnosis is delirium").

    An option's text that merely occurs does not count, and an explanation that denies something is not read.
    """
    if len(reading) > _MAX_SENTENCE or _DENIAL.search(reading.lower()):
        return None
    sentences = [_loose(sentence) for sentence in re.split(r"[.;!]\s|\n|[.;!]$", reading)]
    found = [
        index
        for index, option in enumerate(options)
        if (text := _loose(option)) and any(_concludes_with(sentence, text) for sentence in sentences)
    ]
    return _single(found, options) if found else None


def _concludes_with(sentence: str, option: str) -> bool:
    head = sentence.removesuffix(f" {option}")
    return head != sentence and head.rsplit(" ", 1)[-1] in _CONCLUDING
