"""Find the final answer in what a model wrote.

The generator is asked for a short answer and mostly gives one. A bare model explains first. Both are read the same
way: an explicit mark (`<answer>`, `\\boxed{}`, "the answer is", "Answer:") says where the answer stands, the last mark
counts, and a text without any mark is the answer as a whole. Nothing is guessed beyond that.
"""

from __future__ import annotations

import re

MAX_PREDICTION = 20_000
"""Characters of a prediction that are read; of a longer one, the end, where a final answer stands."""

_ANNOUNCED = re.compile(
    r"(?:\bfinal answer\b|\b(?:correct |right |best |final |short )?answer\b)(?:\s*\*{1,2})?\s*(?:is\b|:|=)[ \t]*:?",
    re.IGNORECASE,
)
_WRAPPING = (("**", "**"), ("__", "__"), ("`", "`"), ('"', '"'), ("“", "”"), ("'", "'"), ("$", "$"), ("*", "*"))


def text_of(prediction: object) -> str:
    """The prediction as a stripped string of bounded length; empty for anything that is no string."""
    if not isinstance(prediction, str):
        return ""
    return prediction[-MAX_PREDICTION:].replace("\x00", " ").strip()


def last_boxed(text: str) -> str | None:
    """The content of the last complete `\\boxed{...}` (braces balanced), or None."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    begin = start + len("\\boxed{")
    depth = 1
    for position in range(begin, len(text)):
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return text[begin:position].strip()
    return None


def last_tagged(text: str) -> str | None:
    """The content of the last `<answer>...</answer>`; an unclosed tag runs to the end. None without a tag."""
    lowered = text.lower() if len(text.lower()) == len(text) else text
    start = lowered.rfind("<answer>")
    if start < 0:
        return None
    begin = start + len("<answer>")
    end = lowered.find("</answer>", begin)
    return text[begin : end if end >= 0 else len(text)].strip()


def last_announced(text: str) -> str | None:
    """The rest of the line after the last "answer is" or "answer:" (or the next line, if that is where it stands)."""
    marks = list(_ANNOUNCED.finditer(text))
    if not marks:
        return None
    rest = text[marks[-1].end() :].lstrip(" *:\t").lstrip("\n")
    line = rest.split("\n", 1)[0]
    return line.strip() or None


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


def final_answers(prediction: object) -> tuple[str, ...]:
    """The readings of a prediction, most explicit first, without repeats: the marked answer, then the whole text.

    Empty if there is no text. The whole text stands beside the marked answer because a mark can be part of an answer
    (a title that contains "answer is").
    """
    text = text_of(prediction)
    if not text:
        return ()
    marked = last_tagged(text)
    if marked is None:
        marked = last_boxed(text)
    if marked is None:
        marked = last_announced(text)
    readings = [] if marked is None else [last_boxed(marked) or marked, unwrap(marked)]
    readings += [text, unwrap(text)]
    return tuple(dict.fromkeys(reading for reading in readings if reading))
