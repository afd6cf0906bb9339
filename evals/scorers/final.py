"""Find the final answer in what a model wrote.

The generator is asked for a short answer and mostly gives one. A bare model explains first. Both are read the same
way: an explicit mark (`<answer>`, `\\boxed{}`, "the answer is", "Answer:", `####` in the last line) says where the
answer stands, the last mark counts, and a text without any mark is the answer as a whole. An announced answer is its
line, or the first sentence of it if the rest is a remark ("25. I hope it is correct."). A marked answer that is denied
("I doubt that the answer is 27") or withdrawn ("wait, that is wrong") is none. Nothing is guessed beyond that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from evals.scorers.denials import has_denial, is_denied_nearby, is_open, is_withdrawn

MAX_PREDICTION = 20_000
"""Characters of a prediction that are read; of a longer one, the end, where a final answer stands."""

_ANNOUNCED = re.compile(
    r"(?:\bfinal answer\b|\b(?:correct |right |best |final |short )?answer\b|答案)"
    r"(?:\s*\*{1,2})?\s*(?:is\b|[:：=是为])[ \t]*[:：]?",
    re.IGNORECASE,
)
_LAST_LINE = re.compile(r"(?m:^)[ \t]*####(?!#)[ \t]*(?=\S)(?=[^\n]*+\s*+\Z)")
_OPENED = re.compile(r"(?<![^\s(\[>\"'“#:-])(\*{1,3}|__)(?=[^\s*_])[^*_\n]*\Z")
"""Emphasis that begins before the mark of an answer and goes on after it."""
_EMPHASIS = re.compile(r"(?<![^\s(\[\"'“:])(\*\*|__)(?=[^\s*_])((?:(?!\1)[^\n])+)(?<=\S)\1(?![^\s.,:;!?)\]\"'”])")
_REMARK = re.compile(
    r"[.!]([*_\"”')\]]{0,3})\s+(?=(?:I|It|He|She|We|You|They|This|That|These|Those|There|Here|The|Both|Because|Since|So|As|"
    r"Let|Note|Hope|Please|Feel|Thank|Thanks)\b)"
)
"""The end of an answer before a sentence about it; after "St." or "J. K." a name goes on."""
_OTHERWISE = re.compile(
    r"\?|\b(?:or|also|alternatively|alternative|another|other|others|second|either|instead|rather|but|however|although|"
    r"though|unless|whether|could|might|may|maybe|perhaps|possibly|probably|likely|guess|sorry|"
    r"if(?! you)|should(?! you))\b",
    re.IGNORECASE,
)
"""Words of a remark that leave open whether the answer is one, or bring another."""
_OPENING_TAG, _CLOSING_TAG = re.compile("<answer>", re.IGNORECASE), re.compile("</answer>", re.IGNORECASE)
_BOX = re.compile(r"\\boxed\{")
_MAX_BOXES = 50
_JOINT = re.compile(
    r"[\s$.]*+(?:,|;|/|&|\\quad|\b(?:or|and)\b|\\text\{\s*+(?:or|and)\s*+\})?+[\s$]*+(?:\b(?:or|and)\b)?+[\s$]*+"
)
_WRAPPING = (
    ("\\text{", "}"),
    ("\\textbf{", "}"),
    ("\\mathrm{", "}"),
    ("**", "**"),
    ("__", "__"),
    ("`", "`"),
    ('"', '"'),
    ("“", "”"),
    ("'", "'"),
    ("$", "$"),
    ("*", "*"),
    ("_", "_"),
)


def text_of(prediction: object) -> str:
    """The prediction as a stripped string of bounded length; empty for anything that is no string."""
    if not isinstance(prediction, str):
        return ""
    return prediction[-MAX_PREDICTION:].replace("\x00", " ").strip()


@dataclass(frozen=True)
class Marked:
    """A marked answer and where it stands, mark included."""

    answer: str
    start: int
    end: int


def last_boxed(text: str) -> Marked | None:
    """The content of the last complete `\\boxed{...}` (braces balanced), or None; boxes side by side are one list."""
    return _last_in_row(text, _boxes(text))


def last_tagged(text: str) -> Marked | None:
    """The content of the last `<answer>...</answer>`; an unclosed tag runs to the end. None without a tag."""
    spans: list[Marked] = []
    position = 0
    while opening := _OPENING_TAG.search(text, position):
        closing = _CLOSING_TAG.search(text, opening.end())
        inner_end, position = (closing.start(), closing.end()) if closing else (len(text), len(text))
        content = text[opening.end() : inner_end]
        # A tag opened again before it is closed begins anew.
        while again := _OPENING_TAG.search(content):
            content = content[again.end() :]
        spans.append(Marked(content.strip(), opening.start(), position))
    return _last_in_row(text, spans)


def last_announced(text: str) -> Marked | None:
    """The rest of the line after the last "answer is", "answer:" or final `####`; the next line if nothing is left.

    Emphasis, which may begin before the mark, is taken off in pairs.
    """
    marks = list(_ANNOUNCED.finditer(text)) or list(_LAST_LINE.finditer(text))
    if not marks:
        return None
    rest = text[marks[-1].end() :]
    opened = _OPENED.search(text[text.rfind("\n", 0, marks[-1].start()) + 1 : marks[-1].end()])
    if opened:
        rest = re.sub(rf"\A[:：\s]*+{re.escape(opened[1])}", "", rest)
    rest = rest.lstrip(" :：\t\r\n")
    line = rest.split("\n", 1)[0]
    end = len(text) - len(rest) + len(line)
    if opened:
        line = re.sub(rf"(?<=\S){re.escape(opened[1])}(?![\w*])", "", line, count=1)
    line = without_emphasis(line.strip())
    return Marked(line, marks[-1].start(), end) if line else None


def without_emphasis(text: str) -> str:
    """A text without Markdown's bold type; stars that begin it and are never closed go too."""
    text = _EMPHASIS.sub(r"\2", text)
    opening = re.match(r"\*+", text)
    return text[opening.end() :].lstrip() if opening and "*" not in text[opening.end() :] else text


def first_sentence(line: str) -> str | None:
    """The answer before a remark on it, or None if the remark may bring another answer or take this one back."""
    match = _REMARK.search(line)
    if match is None:
        return None
    answer, remark = line[: match.start()] + match[1], line[match.end() :]
    if _OTHERWISE.search(remark) or has_denial(remark) or is_withdrawn(remark):
        return None
    # "1. The Rhine 2. The Rhone" is a list.
    is_list = answer.isdecimal() and re.search(rf"\b{int(answer[-9:]) + 1}[.)]\s", remark)
    return None if is_list else answer.strip()


def _boxes(text: str) -> list[Marked]:
    """All complete boxes; of boxes inside one another, the innermost."""
    spans: list[Marked] = []
    starts = [match.end() for match in _BOX.finditer(text)][-_MAX_BOXES:]
    for begin in starts:
        depth = 1
        for position in range(begin, len(text)):
            depth += (text[position] == "{") - (text[position] == "}")
            if depth == 0:
                if not any(begin < later < position for later in starts):
                    spans.append(Marked(text[begin:position].strip(), begin - len("\\boxed{"), position + 1))
                break
    return spans


def _last_in_row(text: str, spans: list[Marked]) -> Marked | None:
    """The last span; spans with nothing but "or", "and" or a comma between them are one answer of several."""
    if not spans:
        return None
    row = [spans[-1]]
    while len(row) < len(spans) and _JOINT.fullmatch(text[spans[-len(row) - 1].end : row[0].start]):
        row.insert(0, spans[-len(row) - 1])
    answers = dict.fromkeys(span.answer for span in row)
    return Marked(", ".join(answers), row[0].start, row[-1].end)


def unwrap(text: str) -> str:
    """Without the quotes, Markdown marks and final full stop that people and models put around a short answer."""
    text = text.strip()
    while True:
        before = text
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1].rstrip()
        for opening, closing in _WRAPPING:
            inner = text[len(opening) : len(text) - len(closing)]
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
                if opening not in inner and closing not in inner:
                    text = inner.strip()
                break
        if text == before:
            return text


def _is_taken_back(text: str, marked: Marked) -> bool:
    before = text[: marked.start]
    announced = not text.startswith(("<", "\\"), marked.start)
    return (is_open(before) if announced else is_denied_nearby(before)) or is_withdrawn(text[marked.end :])


def final_answers(prediction: object) -> tuple[str, ...]:
    """The readings of a prediction, most explicit first, without repeats.

    The marked answer comes first, then, if it was announced, its first sentence, then the whole text.
    There are none if there is no text. The whole text stands beside the marked answer because a mark can be part of an
    answer (a title that contains "answer is").
    """
    text = text_of(prediction)
    if not text:
        return ()
    marked = enclosed = last_tagged(text) or last_boxed(text)
    marked = marked or last_announced(text)
    if marked is not None and _is_taken_back(text, marked):
        marked = None
    readings = []
    if marked is not None:
        inner = last_boxed(marked.answer)
        readings = [inner.answer if inner else marked.answer, unwrap(marked.answer)]
        if enclosed is None and (sentence := first_sentence(marked.answer)):
            readings.append(unwrap(sentence))
    readings += [text, unwrap(without_emphasis(text))]
    return tuple(dict.fromkeys(reading for reading in readings if reading))
