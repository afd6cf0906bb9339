"""The short answer in a generator's reply."""

from __future__ import annotations

import re

from graph.parsing.json_text import json_values
from graph.parsing.labels import Labels
from graph.parsing.thinking import without_thinking

_LABEL = r"[ \t>#*_]*(?:final |short )?answer[*_]*[ \t]*[:：]"
_ANSWER = re.compile(rf"^{_LABEL}[*_ \t]*(.*(?:\n(?!\s*\n|{_LABEL}).*)*)", re.IGNORECASE | re.MULTILINE)
_LABELS = Labels({"answer": ("answer", "final answer", "short answer")})


def parse_answer(reply: str) -> str:
    """What stands after the last `Answer:` or in an `<answer>` tag; else the whole reply, without its thinking."""
    text = without_thinking(reply)
    marked = [match[1] for match in _ANSWER.finditer(text)]
    answer = next((part.strip() for part in reversed(marked) if part.strip()), "")
    answer = answer or _LABELS.in_tags(text).get("answer", "") or _in_json(text) or text
    return answer.strip("*` \n") or text


def _in_json(text: str) -> str:
    """The answer in a reply that is one JSON object."""
    parts = json_values(text)
    around = text[: parts[0].start] + text[parts[0].end :] if len(parts) == 1 else "more"
    return "" if around.strip("` \njson") else _LABELS.in_json(parts[0].value).get("answer", "")
