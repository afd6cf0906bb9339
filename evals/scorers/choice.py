"""Multiple choice, answered by letter or by the text of an option.

What counts is the option's text, so two options with the same text are both right if one is. An answer that names no
option, or several, is wrong: there is no default option to fall back on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from string import ascii_uppercase

from evals.scorers.denials import affirmed, has_denial, is_withdrawn
from evals.scorers.final import final_answers
from evals.scorers.mentions import MAX_SENTENCE, asserted, by_letter, by_ordinal, concluded, loose, mentioned
from evals.task import Score, Task, right, wrong

_LETTER_ONLY = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:;!。]?")
_LETTER_FIRST = re.compile(r"(?:[(\[]([A-Z])[)\]]|([A-Z])(?:\s?[).:\-–,(]|\s*\n))\s*(.*)", re.DOTALL)
_LETTER_LINE = re.compile(r"\s*[(\[*_`]{0,3}([A-Z])[)\]*_`.!]{0,4}")
_UNFINISHED = re.compile(
    r"(?:[,;/&]|\b(?:or|and|nor|either|neither|not|than|except|but)|n['’]t)[^\w.!?]*\Z", re.IGNORECASE
)
"""The end of reasons whose sentence goes on with what stands below them."""
_LABEL = re.compile(r"[^\w\s]*([A-Z])(?:[)\].:]|\s[-–]\s|\*|\s*\Z)")
"""A letter that stands before an option in a list of them."""
_LETTER_NAMED = re.compile(r"\b(?i:option|choice|answer)(?:\s+is)?\s*:?\s*(?:[(\[]([A-Z])[)\]]|([A-Z])\b(?!['’]))")
_LETTER_LAST = re.compile(r"(.+\S)\s*[(\[](?:(?i:option|choice|answer)\s+)?([A-Z])[)\]][.!]?", re.DOTALL)
_LIKELY = re.compile(
    r"\A(?:most\s++)?(?:likely|probably)\s++|(?:,|(?<!\s))\s++(?:most\s++)?(?:likely|probably)[.!]?\Z", re.IGNORECASE
)
_MORE_LETTERS = re.compile(r"\s*(?:,|/|&|;|\bor\b|\band\b|\bnor\b)\s*(?:(?i:option|choice)\s*)?[(\[]?[A-Z]\b")
_LISTED = re.compile(r"(?:^|[\s,;/])(?:or|and|,)\s*[(\[]?([A-Z])[)\]]?(?=[\s.,;:)]|$)")
_AFFIRMED = re.compile(
    r"\b([A-Z])\s+(?:is|could be|may be|might be|would be)\s+(?:(?:also|equally|just as)\s+)*"
    r"(?:possible|plausible|correct|right|true|valid)\b"
)
_DISCARDED = re.compile(
    r"(?i:\W*(?:(?:it|this|that|which)\s+)?(?:is|was|are|can|would|should|must|does|could|has|been|seems|clearly|\s)*"
    r"\b(?:not|cannot|wrong|incorrect|false|unlikely|ruled|excluded|eliminated|no)\b)|\W*\w+n['’]t\b"
)
_RULING_OUT = re.compile(r"\b(?:rule[sd]? out|exclude[sd]?|eliminate[sd]?|rather|unlike|except)\b|\?", re.IGNORECASE)
_HEDGED = re.compile(r"\b(?:might|could|may|maybe|perhaps|possibly|either|or)\b", re.IGNORECASE)
_CONCLUDING = frozenset(("is", "are", "be", "was", "has", "have", "choose", "suggests", "suggest", "indicates"))


def plain_text(text: str) -> str:
    """One spelling for spaces and compatibility characters only; case and signs can tell two options apart."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).rstrip(" .")


def _folded(text: str) -> str:
    return plain_text(text).casefold()


Spellings = tuple[Callable[[str], str], ...]
_STRICT: Spellings = (plain_text, _folded)
_LOOSE: Spellings = (loose,)


def score_choice(task: Task, prediction: object) -> Score:
    """Right if the prediction names exactly one option, by letter, by text or by both in agreement, and it is right."""
    options = task.choices or ()
    readings = final_answers(prediction)
    if not readings:
        return wrong("No option was chosen.")
    for chooses in (_chosen, _chosen_leniently):
        for reading in readings:
            chosen = chooses(reading, options)
            if chosen is None or (len(reading) < len(readings[0]) and _names_another(readings[0], chosen, options)):
                continue
            letter = ascii_uppercase[chosen]
            if all(plain_text(options[chosen]) != plain_text(answer) for answer in task.answers):
                return wrong(f"Chose option {letter}.")
            verdict = right(f"Chose option {letter}.")
            return verdict if chooses is _chosen else verdict.leniently()
    return wrong("Names no option, or more than one.")


def _names_another(text: str, chosen: int, options: tuple[str, ...]) -> bool:
    """Whether a text names an option of another text than the chosen one."""
    return any(plain_text(options[index]) != plain_text(options[chosen]) for index in mentioned(text, options))


def _chosen_leniently(reading: str, options: tuple[str, ...]) -> int | None:
    """The option that a reading names by its place, concludes with, or asserts in a sentence."""
    if is_withdrawn(reading) or _letter_below(reading):
        return None
    for chooses in (_by_text_and_letter, _by_likely_text, by_letter, by_ordinal, concluded, asserted):
        if (chosen := chooses(reading, options)) is not None:
            return chosen
    return None


def _chosen(reading: str, options: tuple[str, ...]) -> int | None:
    """The index of the option that a reading names; None for none or several."""
    if below := _letter_below(reading):
        return _by_letter_below(*below, options)
    return _stated(reading, options)


def _stated(reading: str, options: tuple[str, ...]) -> int | None:
    """The same for a reading that does not end in a line with a letter alone."""
    exact = _by_text(reading, options, _STRICT)
    reading = unicodedata.normalize("NFKC", reading)  # （Ａ）
    if match := _LETTER_ONLY.fullmatch(reading.strip()):
        # An option can itself be a small letter ("a", "x"); a capital is a label before it is anything else.
        by_letter = _index(match[1].upper(), options)
        return by_letter if by_letter is not None and (match[1].isupper() or exact is None) else exact
    if exact is not None:
        return exact
    if reading.rstrip(" *_\"'").endswith("?") or is_withdrawn(reading):
        return None  # a question chooses nothing
    if match := _LETTER_FIRST.match(reading.strip()):
        return _by_letter_and_text(match[1] or match[2], match[3], options)
    if (chosen := _by_text(reading, options, _LOOSE)) is not None:
        return chosen
    return _by_name(reading, options) if _LETTER_NAMED.search(reading) else _by_mention(reading, options)


def _letter_below(reading: str) -> tuple[str, str] | None:
    """Reasons and the letter that stands alone in the line below them."""
    reasons, _, line = reading.strip().rpartition("\n")
    match = _LETTER_LINE.fullmatch(unicodedata.normalize("NFKC", line)) if reasons.strip() else None
    return (reasons.rstrip(), match[1]) if match else None


def _by_letter_below(reasons: str, letter: str, options: tuple[str, ...]) -> int | None:
    """The option of a letter below its reasons, unless their end chooses another or goes on with the letter."""
    index, last = _index(letter, options), reasons.splitlines()[-1]
    if index is None or _UNFINISHED.search(last) or (last.endswith(":") and has_denial(last)):
        return None
    end = reasons[-MAX_SENTENCE:].strip()
    others = (chooses(text, options) for text in (end, *end.splitlines()) for chooses in (_stated, _chosen_leniently))
    if any(other is not None and plain_text(options[other]) != plain_text(options[index]) for other in others):
        return None
    return index


def _by_name(reading: str, options: tuple[str, ...]) -> int | None:
    """The one option that a text calls "option C" or "the answer C", if nothing is denied or named beside it."""
    matches = list(_LETTER_NAMED.finditer(reading))
    letters = [match[1] or match[2] for match in matches] + _AFFIRMED.findall(reading[:MAX_SENTENCE])
    named = {_index(letter, options) for letter in letters}
    text = affirmed(reading[:MAX_SENTENCE])
    if len(named) != 1 or has_denial(text) or _RULING_OUT.search(text):
        return None
    return None if any(_MORE_LETTERS.match(reading, match.end()) for match in matches) else named.pop()


def _by_text_and_letter(reading: str, options: tuple[str, ...]) -> int | None:
    """The option of "text (B)", where both name the same."""
    match = _LETTER_LAST.fullmatch(reading.strip())
    if match is None or (index := _index(match[2], options)) is None:
        return None
    by_text = _by_text(match[1], options, _STRICT + _LOOSE)
    return index if by_text is not None and plain_text(options[by_text]) == plain_text(options[index]) else None


def _by_likely_text(reading: str, options: tuple[str, ...]) -> int | None:
    """The option of "most likely text"."""
    text = _LIKELY.sub("", reading.strip())
    return _by_text(text, options, _STRICT + _LOOSE) if text != reading.strip() else None


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
    if _goes_on_with_another(letter, rest, options):
        return None
    by_text = _by_text(rest, options, _STRICT + _LOOSE)
    if by_text is not None:
        return index if plain_text(options[by_text]) == plain_text(options[index]) else None
    if _DISCARDED.match(rest):
        return None
    others = _LISTED.findall(rest[:MAX_SENTENCE]) + _AFFIRMED.findall(rest[:MAX_SENTENCE])
    bare = re.fullmatch(r"[(\[]?([A-Z])[)\]]?(?:\s*[,;/]\s*[(\[]?[A-Z][)\]]?)*[.]?", rest.strip())
    if bare is not None or any(other != letter and _index(other, options) is not None for other in others):
        return None
    return index


def _goes_on_with_another(letter: str, rest: str, options: tuple[str, ...]) -> bool:
    """Whether what follows a letter names another option by its letter: on a new line, or before that one's text."""
    lines = [line.strip() for line in rest.splitlines() if line.strip()]
    labels = [match[1] for line in lines[:2] if (match := _LABEL.match(line))]
    if any(label != letter and _index(label, options) is not None for label in labels):
        return True
    return any(
        other != letter and re.search(rf"(?<!\w){other}\W{{1,3}}{re.escape(plain_text(option))}", plain_text(lines[0]))
        for other, option in zip(ascii_uppercase, options, strict=False)
    )


def _by_mention(reading: str, options: tuple[str, ...]) -> int | None:
    """The only option that a short explanation concludes with ("the most likely diagnosis is delirium").

    An option's text that merely occurs does not count, and an explanation that denies something is not read.
    """
    if len(reading) > MAX_SENTENCE or has_denial(reading) or _RULING_OUT.search(reading) or _HEDGED.search(reading):
        return None
    sentences = [loose(sentence) for sentence in re.split(r"[.;!]\s|\n|[.;!]$", reading)]
    others = {loose(option) for option in options}
    if any(sentence in others for sentence in sentences):
        return None  # a second answer
    found = [
        index
        for index, option in enumerate(options)
        if (text := loose(option)) and any(_concludes_with(sentence, text) for sentence in sentences)
    ]
    return _single(found, options) if found else None


def _concludes_with(sentence: str, option: str) -> bool:
    head = sentence.removesuffix(f" {option}")
    return head != sentence and head.rsplit(" ", 1)[-1] in _CONCLUDING
