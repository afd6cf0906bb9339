"""Which code of a reply runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from graph.parsing.blocks import Block, fenced_blocks, is_python
from graph.parsing.calls import text_in_call
from graph.parsing.thinking import without_thinking

_TAGS = ("code", "execute", "execute_python", "python", "tool_code", "bash", "sql", "javascript")
_OPENING_TAG = re.compile(rf"<(?P<tag>{'|'.join(_TAGS)})(?:\s[^<>\n]*)?>", re.IGNORECASE)
_CALL = re.compile(r"[{\[]|<tool_call>|<function=|<\|python_tag\|>\s*\{|```json\b")
_OPENING_MARK = re.compile(r"\A\s*<\|python_tag\|>")
_CLOSING_MARK = re.compile(r"\s*(?:</(?P<tag>\w*)>?|<end_code>)\s*\Z", re.IGNORECASE)
_INTRODUCES_OUTPUT = re.compile(
    r"\b(?:outputs?|results?|prints?|printed|returns?|expected|stdout|shows?)\b[^\n.]*:?[*_ \t]*$", re.IGNORECASE
)


def code_in(reply: str, language: str, argument: str = "", tool: str = "") -> str:
    """The program in a reply: the last complete block in its language; empty if there is none.

    Blocks that name no language count where none names this one, unless the text calls them an output. A block that is
    not closed counts where none is. A reply without any block is a program as a whole, unless it is a call by JSON that
    gives this `tool` the program as its `argument`.
    """
    text = without_thinking(reply)
    if argument and _CALL.match(text) and (code := text_in_call(text, argument, tool)):
        return code.strip("\n")
    if language == "python" and is_python(text):
        return _without_marks(text, language)
    blocks = [block for block in fenced_blocks(text, language) if block.body.strip()]
    if blocks:
        return _without_marks(_chosen(blocks, text, language), language)
    if tagged := list(_tagged(text, language)):
        closed = [code for code, is_closed in tagged if is_closed] or [code for code, _ in tagged]
        return _without_marks(closed[-1], language)
    return _without_marks(text, language)


def _tagged(text: str, language: str) -> Iterator[tuple[str, bool]]:
    """The contents of tags such as `<code>`, and whether each is closed."""
    position = 0
    while opening := _OPENING_TAG.search(text, position):
        ends = [match.span() for match in re.finditer(rf"(?i)</{opening['tag']}>", text[opening.end() :])]
        ends = [(opening.end() + start, opening.end() + end) for start, end in ends]
        whole = [end for end in ends if language == "python" and is_python(text[opening.end() : end[0]].strip())]
        end, position = next(iter(whole or ends), (len(text), len(text)))
        if code := text[opening.end() : end].strip("\n"):
            yield code, bool(ends)


def _chosen(blocks: list[Block], text: str, language: str) -> str:
    named = [block for block in blocks if block.is_in(language)]
    unnamed = [block for block in blocks if not block.language]
    programs = [block for block in unnamed if not _INTRODUCES_OUTPUT.search(text[: block.start].rstrip())]
    for kind in (named, programs, unnamed):
        closed = [block for block in kind if block.closed]
        if chosen := closed or kind:
            return chosen[-1].body
    return ""


def _without_marks(code: str, language: str) -> str:
    """Code without a language's bare name above it, and without a tag that was cut off at its end."""
    code = _OPENING_MARK.sub("", code)
    closing = _CLOSING_MARK.search(code)
    if closing and any(tag.startswith((closing["tag"] or "").lower()) for tag in _TAGS):
        code = code[: closing.start()]
    first, _, rest = code.strip("\n").partition("\n")
    return (rest if rest and first.strip().lower() == language else code).strip("\n")
