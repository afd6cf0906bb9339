"""Which options of a multiple-choice question a sentence names, and which of them it chooses.

A clause names options by letter ("B", "option B"), by place ("the second option") or by text. A clause that denies
anything chooses nothing; it only rules out what it names. A sentence chooses an option if it asserts exactly one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from string import ascii_uppercase

from evals.scorers.denials import affirmed, has_denial
from evals.scorers.normal import tokens

MAX_SENTENCE = 400
"""Characters of an explanation in which an option is looked for."""

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_PLACES = {word: index for index, word in enumerate(_ORDINALS)} | {
    f"{n}{'st' if n == 1 else 'nd' if n == 2 else 'rd' if n == 3 else 'th'}": n - 1 for n in range(1, 11)
}
_ORDINAL = re.compile(
    rf"\b(?:the\s+)?(?P<place>{'|'.join(sorted(_PLACES, key=len, reverse=True))}|last)"
    r"(?:\s+(?P<what>option|choice|answer|one|alternative|statement)\b)?",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"\b(?:option|choice|alternative)\s*(?:no\.?|number|#)?\s*(?P<number>[1-9]|10)\b(?![.\d])", re.IGNORECASE
)
_LETTER = re.compile(
    r"(?<![\w'’])[(\[]?(?P<letter>[A-Z])[)\]]?(?=\s*(?:[,.;:!)]|$|\b(?:or|and|nor|so|because|since|is|are|was|as|must|it|that|which|but)\b))"
)
_ASSERTING = re.compile(
    r"\b(?:is|are|was|were|be|has|have|had|shows?|suggests?|indicates?|choose|chose|pick|select|answer|leaves?|remains?|"
    r"diagnosis(?: of)?|called|named|known as|consistent with|points? to|due to|caused by|because of|suffers? from|"
    r"suffering from|diagnosed with|presents? with|presenting with)(?: an?| the)?(?: likely| probably| clearly)?"
    r"(?: case of| form of| option| choice)?\Z",
)
"""What a sentence says directly before what it asserts, in the comparable form of `normal.tokens`."""
_OPEN = re.compile(
    r"\?|\b(?:or|either|if|whether|maybe|perhaps|possibly|might|could|may|unsure|unless|versus|vs|between|then|history|"
    r"although|though|despite|risk|exclude[sd]?|eliminate[sd]?|rule[sd]?|mimics?|resembles?|less|least|instead)\b",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(
    r"[.;:,]?\s*\b(?:so|therefore|thus|hence|consequently|but|it must be|it has to be|which leaves|that leaves|leaving)"
    r"\b[\s,:]*|[.;]\s+(?=(?:the\s+)?(?:(?:correct|right|best|final)\s+)?(?:answer|option|choice)\b|[A-Z]\s+is\b)",
    re.IGNORECASE,
)
_SUBORDINATE = re.compile(
    r"[,;(]|\b(?:because|since|due to|as|given|caused by|owing to|which|following|after|from)\b", re.IGNORECASE
)
_INSTEAD = re.compile(
    r"(?P<chosen>.+?)\s+(?:rather than|instead of|and not|not|,\s*not)\s+(?P<other>.+)", re.IGNORECASE | re.DOTALL
)
_LETTERS_ONLY = re.compile(
    r"(?:option\s+)?[(\[]?([A-Z])[)\]]?\s*,?\s+(?:rather than|instead of|and not|not)\s+"
    r"((?:option\s+)?[(\[]?[A-Z][)\]]?(?:\s*(?:,|or|nor|and)+\s*[(\[]?[A-Z][)\]]?)*)[.!]?"
)
"""Two letters or more, of which the first is preferred ("C, not D")."""
_BEFORE_PLACE = re.compile(
    r"(?:(?:it|that|this|the (?:correct |right |best |final )?answer|my (?:answer|choice))"
    r"(?:\s+(?:is|must be|has to be|would be)|['’]s)|"
    r"i(?:\s+would|['’]d|\s+will|['’]ll)?\s+(?:choose|chose|pick|picked|select|go with|went with)|"
    r"choose|pick|select)\s+",
    re.IGNORECASE,
)
_VERDICT = re.compile(
    r"(?:is|was|would be|seems|remains)\s+(?:clearly\s+|probably\s+)?(?:the\s+)?(?:most\s+)?"
    r"(?:likely|probable|correct|right|best|appropriate|true|accurate)\b[^?]*",
    re.IGNORECASE,
)


_RIGHT = re.compile(
    r"(?:is|seems|would be)\s+(?:the\s+)?(?:correct|right|best|most likely|true)(?:\s+(?:one|answer|option|choice))?",
    re.IGNORECASE,
)


_STATED_LETTER = re.compile(
    rf"(?i:(?:option|choice|answer)\s+)?[(\[]?(?P<letter>[A-Z])[)\]]?(?P<right>\s+{_RIGHT.pattern})?[.!]?", re.ASCII
)
_HENCE = re.compile(r"\A(?:so|therefore|thus|hence|consequently)\b[\s,:]*+", re.IGNORECASE)
_REASONED = re.compile(r"[(\[]?([A-Z])[)\]]?,?\s+(?:because|since|as)\s+(.+)", re.DOTALL)


def by_ordinal(reading: str, options: Sequence[str]) -> int | None:
    """The option that a short answer names by its place and by nothing else ("the third option", "option 3").

    An option may be an ordinal or a number itself; then its place and its text have to be the same.
    """
    text = reading.strip().rstrip(".!")
    match = _ORDINAL.fullmatch(text) or _NUMBERED.fullmatch(text)
    if match is None and not has_denial(text):
        text = _BEFORE_PLACE.sub("", text, count=1)
        match = _ORDINAL.match(text)
        rest = text[match.end() :].strip() if match else ""
        match = match if match and match["what"] and (not rest or _RIGHT.fullmatch(rest)) else None
    if match is None or (index := _place(match, options)) is None:
        return None
    said = {loose(text), loose(match.groupdict().get("number") or match.groupdict().get("place") or "")}
    return None if any(loose(option) in said for option in options if option != options[index]) else index


def by_letter(reading: str, options: Sequence[str]) -> int | None:
    """The option of a short sentence that says of one letter that it is the answer ("it is C", "C is correct")."""
    text = _HENCE.sub("", affirmed(reading).strip())
    if match := _REASONED.fullmatch(_BEFORE_PLACE.sub("", text, count=1)):
        reason = match[2]
        return None if _CONCLUSION.search(reason) or _OPEN.search(reason) else _index_of(match[1], options)
    match = _STATED_LETTER.fullmatch(_BEFORE_PLACE.sub("", text, count=1))
    is_bare = match is None or not (match["right"] or _BEFORE_PLACE.match(text))
    return None if match is None or is_bare else _index_of(match["letter"], options)


def _index_of(letter: str, options: Sequence[str]) -> int | None:
    index = ascii_uppercase.index(letter)
    return index if index < len(options) else None


def concluded(reading: str, options: Sequence[str]) -> int | None:
    """The option that a short explanation comes to, or None.

    It may rule out others before ("not A, so D"), never the option itself, and everything else that it names must be
    ruled out.
    """
    text = affirmed(reading)
    if len(text) > MAX_SENTENCE:
        return None
    parts = _CONCLUSION.split(text)
    if len(parts) < 2 or not has_denial(" ".join(parts[:-1])):
        return None
    *grounds, conclusion = parts
    chosen = mentioned(conclusion, options)
    if len(chosen) != 1 or has_denial(conclusion) or _OPEN.search(conclusion):
        return None
    if not all(has_denial(ground) for ground in grounds if mentioned(ground, options)):
        return None
    ruled_out = set().union(*(mentioned(ground, options) for ground in grounds))
    return None if chosen & ruled_out or not ruled_out else chosen.pop()


def asserted(reading: str, options: Sequence[str]) -> int | None:
    """The only option that a sentence names by its text, if the sentence asserts it."""
    text = affirmed(reading).strip()
    if len(text) > MAX_SENTENCE or "\n" in text:
        return None
    if match := _LETTERS_ONLY.fullmatch(text):
        return _first_letter(match, options)
    if match := _INSTEAD.fullmatch(text):
        return _preferred(match, options)
    if has_denial(text) or _OPEN.search(text):
        return None
    found = _by_text(text, options)
    if len(found) != 1 or _by_letter(text, options) - found:
        return None
    (index,) = found
    return index if _is_asserted(text, options[index]) else None


def _first_letter(match: re.Match[str], options: Sequence[str]) -> int | None:
    index = ascii_uppercase.index(match[1])
    others = re.findall(r"\b[A-Z]\b", match[2])
    return index if index < len(options) and match[1] not in others else None


def _preferred(match: re.Match[str], options: Sequence[str]) -> int | None:
    """The option of "B rather than A is the diagnosis"."""
    chosen, other = _by_text(match["chosen"], options), _by_text(match["other"], options)
    if len(chosen) != 1 or not other or chosen & other or has_denial(match["chosen"]) or _OPEN.search(match["chosen"]):
        return None
    (index,) = chosen
    is_bare = loose(match["chosen"]) == loose(options[index])
    verdict = _VERDICT.search(match["other"])
    if is_bare and (verdict is None or has_denial(match["other"])):
        return None
    return index if is_bare or _is_asserted(match["chosen"], options[index]) else None


def _is_asserted(text: str, option: str) -> bool:
    """Whether an option stands where a sentence says what is the case ("it is B because", "B is the best answer")."""
    words, wanted = loose(text).split(), loose(option).split()
    place = next((n for n in range(len(words)) if words[n : n + len(wanted)] == wanted), None)
    if place is None:
        return False
    before, after = " ".join(words[:place]), " ".join(words[place + len(wanted) :])
    if not before:
        return _VERDICT.match(after) is not None
    return _ASSERTING.search(before) is not None and (not after or _SUBORDINATE.match(after) is not None)


def mentioned(text: str, options: Sequence[str]) -> set[int]:
    """The options that a text names, by letter, by place or by their own text."""
    by_place = {
        place
        for pattern in (_ORDINAL, _NUMBERED)
        for match in pattern.finditer(text)
        if (pattern is _NUMBERED or match["what"] or match[0].strip(" .") == text.strip(" ."))
        and (place := _place(match, options)) is not None
    }
    return by_place | _by_letter(text, options) | _by_text(text, options)


def _by_letter(text: str, options: Sequence[str]) -> set[int]:
    letters = {ascii_uppercase.index(match["letter"]) for match in _LETTER.finditer(text.strip())}
    return {index for index in letters if index < len(options)}


def _by_text(text: str, options: Sequence[str]) -> set[int]:
    """The options whose words stand in a text, one after the other; of options inside one another, the longer."""
    said = f" {loose(text)} "
    found = {index for index, option in enumerate(options) if (words := loose(option)) and f" {words} " in said}
    return {index for index in found if not any(_is_inside(options[index], options[other]) for other in found)}


def _is_inside(short: str, long: str) -> bool:
    return loose(short) != loose(long) and f" {loose(short)} " in f" {loose(long)} "


def _place(match: re.Match[str], options: Sequence[str]) -> int | None:
    groups = match.groupdict()
    if groups.get("number"):
        index = int(groups["number"]) - 1
    elif groups["place"].lower() == "last":
        index = len(options) - 1
    else:
        index = _PLACES[groups["place"].lower()]
    return index if index < len(options) else None


@lru_cache(maxsize=4096)
def loose(text: str) -> str:
    """A text without what two spellings of one option can differ in."""
    return " ".join(tokens(text))
