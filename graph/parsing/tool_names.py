"""Which tool a text names.

The exact name decides. Only where there is none are names compared without case, spacing and separators, by letters
of all scripts; a text that could then mean two tools is a doubt and names none, because calling the wrong one cannot be
undone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

_DECORATION = frozenset(" \t\r\n`*_\"'“”‘’«»<>()[]{}（）【】「」『』《》.,;:!?。，；：！？")
_MOST_DECORATIONS = 6
_MEANT = frozenset("#@&%")
"""Punctuation that tells names apart (`c` and `c#`) and separates nothing."""
_NOT_MEANT = frozenset("<>|~=^`´¨")
_FILLERS = re.compile(
    r"(?:a|an|the|i|we|you|use|using|call|calling|choose|select|pick|try|with|by|via|tools?|function|named|called|is|are"
    r"|it|this|my|our|best|next|lets?|should|would|will|like|to|be|please)(?:'(?:ll|d|m|s))?[:,]?",
    re.IGNORECASE,
)
"""Words that may stand before a name without being part of one: `use the python tool`."""
_LINK = re.compile(r"[\s`*\"')\]]*(?:(?:,|/|\||&|\+|;|->|→|\bor\b|\band\b|\bthen\b)\s*){0,2}", re.IGNORECASE)
_MARKED = re.compile(r"`([^`\n]+)`|\*\*([^*\n]+)\*\*|\"([^\"\n]+)\"|“([^”\n]+)”")
_MOST_WORDS = 8
_BEFORE_A_NAME = re.compile(r"\s*(?:(?:[-*+•#>]+|\d+[.)])\s+)*(?:(?:functions?|tools?|default_api)\.(?=\w))?")
"""Bullets and numbers of a list, and the namespaces in which models were taught to call tools."""


@lru_cache(maxsize=1024)
def folded(name: str) -> str:
    """A name without what may be written either way: case, width, spacing, separators, quotes."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(character for character in text if _tells_apart(character))


def _tells_apart(character: str) -> bool:
    kind = unicodedata.category(character)[0]
    if kind == "M":
        return not "\ufe00" <= character <= "\ufe0f"  # these only choose how an emoji is drawn
    return kind in "LN" or character in _MEANT or (kind == "S" and character not in _NOT_MEANT)


def tools_named(text: str, tools: Iterable[str]) -> list[str]:
    """The tools that a text could mean: one is named, several are a doubt, and none is a name of something else.

    A text names a tool by its name alone, or by its name and a remark after it (`` `Python` (to compute) ``); words
    such as `use the` may come first. In a sentence it is named by its exact name in quotes, or by an exact name that
    is no word (`web_search`).
    """
    names = tuple(dict.fromkeys(tools))
    if text in names:
        return [text]
    lines = [*text.strip().splitlines()[:1], text.strip()]
    bare = [_BEFORE_A_NAME.sub("", line, count=1) for line in lines]
    for candidate in dict.fromkeys([*lines, *bare]):
        if (
            matches := _named_alone(candidate, names)
            or _named_first(candidate, names)
            or _named_within(candidate, names)
        ):
            return matches
    return []


def exact_name(text: str, tools: Iterable[str]) -> str | None:
    """The tool whose exact name a text is, quotes and the like around it left out."""
    return next(iter(_named_alone(text, tuple(tools))), None)


def match_tool(text: str, tools: Iterable[str]) -> str | None:
    """The one known tool that a text names, or None; see `tools_named`."""
    matches = tools_named(text, tools)
    return matches[0] if len(matches) == 1 else None


def _named_alone(text: str, names: Sequence[str]) -> list[str]:
    return next(([bare] for bare in _peeled(text) if bare in names), [])


def _peeled(text: str) -> Iterator[str]:
    """A text, then what is left as decorating characters are taken off its ends, the longest first."""
    left = next((n for n, character in enumerate(text) if character not in _DECORATION), 0)
    right = next((n for n, character in enumerate(reversed(text)) if character not in _DECORATION), 0)
    left, right = min(left, _MOST_DECORATIONS), min(right, _MOST_DECORATIONS)
    cuts = ((n, total - n) for total in range(left + right + 1) for n in range(total + 1))
    yield from (text[n : len(text) - m] for n, m in cuts if n <= left and m <= right)


def _named_first(text: str, names: Sequence[str]) -> list[str]:
    """The tools that the text opens with; two if another follows at once (`python or web_search`)."""
    words = list(re.finditer(r"[^\s(（\[]+|[(（\[]", text))
    for number, word in enumerate(words):
        for last in range(min(number + _MOST_WORDS, len(words)), number, -1):
            matches = _bearers(text[word.start() : words[last - 1].end()], names)
            if matches:
                rest = text[words[last - 1].end() :]
                others = _named_next(rest, [name for name in names if name not in matches])
                return [*matches, *others]
        if not _FILLERS.fullmatch(word[0].strip("*_`")):
            return []
    return []


def _named_next(rest: str, names: Sequence[str]) -> list[str]:
    link = _LINK.match(rest)
    words = rest[link.end() if link else 0 :].split()
    phrases = (" ".join(words[:count]) for count in range(min(_MOST_WORDS, len(words)), 0, -1))
    return next((matches for phrase in phrases if (matches := _bearers(phrase, names))), [])


def _bearers(phrase: str, names: Sequence[str]) -> list[str]:
    """The tools that a phrase is a name of: the one it is the exact name of, else all that are written alike."""
    if exact := _named_alone(phrase, names):
        return exact
    alike = folded(phrase)
    if not alike:
        return []
    matches = [name for name in names if folded(name) == alike]
    return matches or [
        name for name in names if folded(name) and alike in (f"{folded(name)}tool", f"{folded(name)}tools")
    ]


def _named_within(text: str, names: Sequence[str]) -> list[str]:
    marked = ["".join(match.groups(default="")) for match in _MARKED.finditer(text)]
    matches = [name for name in names if name in marked]
    if matches:
        return matches
    words = {bare for word in text.split() for bare in _peeled(word)}
    matches = [name for name in names if name in words]
    return matches if any(not name.isalpha() for name in matches) else []
