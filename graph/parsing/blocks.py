"""Fenced blocks of a reply, and the code that is meant to run.

Fences are read as CommonMark reads them: ``` or ~~~, of any length from three, indented or quoted. Models break its
rules in a few ways that leave no doubt about what they mean: a fence stands on a label's line or at the end of the
last line of code, or in the middle of a program's text. Where the language is Python, its own parser decides which
closing fence is meant: fences inside a string close nothing.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

_ALIASES = {
    "python": {"py", "ipython", "tool_code", "pycon"},
    "javascript": {"js", "node", "mjs"},
    "typescript": {"ts"},
    "bash": {"sh", "shell", "zsh"},
    "sql": {"sqlite", "postgresql", "psql", "mysql"},
}
_OPENING = re.compile(
    r"""^(?P<lead>[ \t>]*+(?:[-*+]|\d+[.)])?[ \t]*     # indented, quoted or in a list
          |[^`\n]*:[ \t]*)                           # or after a label
        (?P<fence>`{3,}|~{3,})[ \t]*
        (?P<info>[^`\n]*)$""",
    re.VERBOSE,
)
_ONE_LINE = re.compile(r"^(?P<lead>[^`\n]*?)(?P<fence>`{3,})(?P<body>[^`\n]+)(?P=fence)[ \t]*$")
_INFO = re.compile(r"[{.\s]*(?P<language>[\w+#.-]*)(?P<rest>.*)")
_STATEMENT = re.compile(r"(?![\w.-]+=\S|[{}:,])(?=.*[(=]|(?:import|from)\b)")
"""What follows the language on an opening fence is code, and not an attribute such as `title="x"`."""
_QUOTE = re.compile("[\"']")
_MOST_ENDS = 30
"""Closing fences that are tried for one block."""


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    """As its fence names it, in lower case; empty where it names none."""
    body: str
    start: int
    """Where its opening fence begins in the text."""
    end: int
    """Where its closing fence ends."""
    closed: bool

    def is_in(self, language: str) -> bool:
        """Whether the fence names this language, in one of its spellings (`python`, `py`, `Python3`, `python3.12`)."""
        bare = self.language.rstrip("0123456789.-")
        return language in (self.language, bare) or bool({self.language, bare} & _ALIASES.get(language, set()))


@dataclass(frozen=True)
class _Line:
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def fenced_blocks(text: str, assumed: str = "") -> list[Block]:
    """The fenced blocks of a text, in order.

    Args:
        text: Any text.
        assumed: The language of blocks that name none.
    """
    if "```" not in text and "~~~" not in text:
        return []
    lines = list(_lines(text))
    blocks: list[Block] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        if whole := _ONE_LINE.match(line.text):
            language, body = _split_one_line(whole["body"])
            blocks.append(Block(language, body, line.start + whole.start("fence"), line.end, closed=True))
            number += 1
        elif opening := _OPENING.match(line.text):
            block, number = _block(lines, number, opening, assumed)
            blocks.append(block)
        else:
            number += 1
    return blocks


def _lines(text: str) -> Iterator[_Line]:
    start = 0
    for line in text.split("\n"):
        yield _Line(line.removesuffix("\r"), start)
        start += len(line) + 1


def _split_one_line(body: str) -> tuple[str, str]:
    tag, _, rest = body.strip().partition(" ")
    named = Block(tag.lower(), "", 0, 0, closed=True)
    if rest and any(named.is_in(language) for language in _ALIASES):
        return tag.lower(), rest.strip()
    return "", body.strip()


def _block(lines: list[_Line], number: int, opening: re.Match[str], assumed: str) -> tuple[Block, int]:
    """The block that opens in line `number`, and the number of the line after it."""
    info = _INFO.match(opening["info"])
    assert info is not None
    language, rest = info["language"].lower(), info["rest"].strip()
    code = [rest] if _STATEMENT.match(rest) else []
    start = lines[number].start + opening.start("fence")
    lead = opening["lead"] if not opening["lead"].strip(" \t>") else ""
    python = Block(language or assumed, "", 0, 0, closed=True).is_in("python")
    fallback: tuple[Block, int] | None = None
    for following, last_line, passed in _ends(lines, number + 1, opening["fence"]):
        inside = [line.text for line in lines[number + 1 : following]]
        if last_line is not None:
            inside.append(last_line)
        stop = following + 1 if following < len(lines) and not passed else following
        end = lines[following - passed].end
        block = Block(language, _body(code + inside, lead), start, end, closed=not passed)
        if passed:  # the next block has begun, or the text is over: only a whole program may go on beyond that
            fallback = fallback or (block, stop)
        elif not python or is_python(block.body):
            return (block, stop) if python or fallback is None else fallback
        else:
            fallback = fallback or (block, stop)
            if not _QUOTE.search(block.body):
                break  # a fence can only be part of a program inside a string
    assert fallback is not None
    return fallback


def _ends(lines: list[_Line], first: int, fence: str) -> Iterator[tuple[int, str | None, bool]]:
    """Where a block may end: the line, the code on that line, and whether it is no closing fence (see `_block`)."""
    mark = re.escape(fence[0])
    # After a closing fence stands nothing, or what names no language: a mark, a sentence.
    rest = rf"(?:$|[^\w{{.\s{mark}]|\w+[ \t]+\w+[ \t]+\w)"
    closing = re.compile(rf"^[ \t>]*{re.escape(fence)}{mark}*[ \t]*{rest}")
    glued = re.compile(rf"^(?P<code>.*[^{mark}]){re.escape(fence)}[ \t]*$")
    tried = 0
    for number in range(first, len(lines)):
        text = lines[number].text
        if closing.match(text):
            yield number, None, False
        elif match := glued.match(text):
            yield number, match["code"], False
        elif (match := _OPENING.match(text)) and match["info"].strip() and not match["lead"].strip(" \t>"):
            yield number, None, True
        else:
            continue
        tried += 1
        if tried == _MOST_ENDS:
            break
    yield len(lines), None, True


def _body(lines: list[str], lead: str) -> str:
    """Lines of a block without the indentation, or the quote marks, of its fence."""
    if lead.strip():
        mark = re.compile(rf"^[ \t]*(?:>[ \t]?){{0,{lead.count('>')}}}")
        lines = [mark.sub("", line) for line in lines]
    text = "\n".join(lines).strip("\n")
    first = text.split("\n", 1)[0]
    return textwrap.dedent(text) if first[:1] in " \t" else text


def syntax_of(code: str, mode: Literal["exec", "eval"] = "exec") -> Any:
    """Python's syntax tree of a text. Raises what `ast.parse` raises; its warnings are for whoever runs the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code, mode=mode)


def is_python(code: str) -> bool:
    """Whether a text is a whole program of at least one statement."""
    try:
        return bool(syntax_of(code).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
