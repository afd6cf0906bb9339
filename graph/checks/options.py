"""Questions that name what answers them: a choice (`A or B?`, `which of A and B`), or an order (`put A and B`)."""

from __future__ import annotations

import re

from graph.checks.evidence import Evidence

_CHOICE = re.compile(
    r"(?is)^\s*(?:which|who|what)\b(?:[^?]*?,(?P<after>[^?]*\bor\b[^?]*)|\s+(?:one\s+)?of\s+(?P<of>[^?]*\band\b[^?]*))\?"
)
_ORDER = re.compile(r"(?is)^\s*(?:put|arrange|sort|order|rank)\s+(?P<items>.*?\band\b.*?)\s+(?:in|into|by|from)\b")
_ITEM = re.compile(r",\s*(?:or|and)\s+|,\s*|\s+(?:or|and)\s+", re.IGNORECASE)
_WORD = re.compile(r"\w+")


def none_of_the_options(answer: str, evidence: Evidence) -> str | None:
    """The question offers a choice, and the answer shares no word with it."""
    choice = _CHOICE.search(evidence.question)
    if choice is None:
        return None
    options = choice["after"] or choice["of"]
    if _words(options) & _words(answer):
        return None
    return f"the question asks for one of {' '.join(options.split())}, and {answer!r} is none of them"


def left_out(answer: str, evidence: Evidence) -> str | None:
    """The question asks for an order of things, and the answer leaves some out."""
    order = _ORDER.search(evidence.question)
    items = _ITEM.split(order["items"]) if order else []
    missing = [item for item in items if not _words(item) & _words(answer)]
    return f"the answer leaves out {', '.join(missing)}" if missing else None


def _words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.casefold()) if word not in ("the", "a", "an", "of", "and", "or")}
