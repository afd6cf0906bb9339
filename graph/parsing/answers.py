"""The short answer in a generator's reply."""

from __future__ import annotations

import re

from graph.parsing.json_text import json_values
from graph.parsing.labels import Labels
from graph.parsing.thinking import without_thinking

_LABELS = Labels({"answer": ("answer", "final answer", "short answer")})
_COLON = re.compile(r"[^=:：\"<]*+[:：]")
"""`answer = 2` is a line of a program, and `"answer": 2` one of JSON."""
_OTHER_LABEL = re.compile(r"[ \t>#]*+[*_]*+[^\W\d_a-z][\w-]*+(?: [\w-]++){0,2}[*_]*+[:：](?=[\s*_]|\Z)")
"""The label of a line, with a capital letter as `Explanation:` has one."""
_PAIRED = re.compile(r"(\*++|`++)((?:(?!\1).)+)\1", re.DOTALL)
"""A text in emphasis or backticks; `a*`, `*.py` and `**a** or **b**` are none."""


def parse_answer(reply: str) -> str:
    """What stands after the last `Answer:` or in an `<answer>` tag; else the whole reply, without its thinking.

    An answer may have several lines; it ends at an empty one, or at another label (`Explanation:`) unless it is a list
    of labels itself.
    """
    text = without_thinking(reply)
    answer = _in_json(text) or _after_label(text) or _LABELS.in_tags(text).get("answer", "") or text
    while paired := _PAIRED.fullmatch(answer):
        answer = paired[2].strip()
    return answer or text


def _in_json(text: str) -> str:
    """The answer in a reply that is one JSON object."""
    parts = json_values(text)
    around = text[: parts[0].start] + text[parts[0].end :] if len(parts) == 1 else "more"
    return "" if around.strip("` \njson") else _LABELS.in_json(parts[0].value).get("answer", "")


def _after_label(text: str) -> str:
    """The last answer behind a label."""
    answers: list[list[str]] = []
    is_open = False
    for line in text.split("\n"):
        if _COLON.match(line) and (labelled := _LABELS.line(line)):
            answers.append([labelled[1]])
            is_open = True
        elif is_open and (is_open := _goes_on(answers[-1], line)):
            answers[-1].append(line)
    return next((answer for lines in reversed(answers) if (answer := "\n".join(lines).strip())), "")


def _goes_on(answer: list[str], line: str) -> bool:
    """Whether a line still belongs to an answer."""
    first = next((said for said in answer if said.strip()), "")
    if not first or not line.strip():
        return not first
    return not _OTHER_LABEL.match(line) or first.rstrip().endswith((":", "：")) or bool(_OTHER_LABEL.match(first))
