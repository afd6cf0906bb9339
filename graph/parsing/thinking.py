"""A reply without its thinking, which is where every reader of replies starts.

Models mark their thinking in many ways, and servers cut the marks up: where the template opens the thinking, the reply
only closes it, and where the tokens ran out, the reply only opens it. A draft inside the thinking looks exactly like a
decision, so nothing of it may be read: what stands before a closing mark is thinking whether it was opened or not, and
thinking that does not end has decided nothing.

A mark that is only mentioned (in code, in quotes, in running text) is text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from graph.parsing.blocks import Block, fenced_blocks, is_python

_NAME = (
    r"(?:[a-z]+[:_-])?(?:think(?:ing)?|thoughts?|reasoning|reflect(?:ion)?|scratch_?pad|monologue|cot)(?:[_-][a-z_]+)?"
)
_HEADER = (
    r"(?:<\|(?:end|call|return)\|>\s*)?(?:<\|start\|>\s*assistant\s*)?"
    r"<\|channel\|>\s*{channel}[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
)
_PAIRS = (
    (rf"<\|?(?:begin|start)(?:_of)?_{_NAME}\|?>", rf"<\|?end(?:_of)?_{_NAME}\|?>"),
    (rf"<\|{_NAME}\|>", rf"<\|/{_NAME}\|>"),
    (
        rf"(?:<|&lt;)(?!reasoning>[ \t]*[*_]*:){_NAME}(?:\s[^<>\n]*)?(?:>|&gt;|\Z)",  # `<reasoning>:` labels a line
        rf"(?:<|&lt;)/{_NAME}\s*(?:>|&gt;|\Z)",
    ),
    (r"\[think(?:ing)?\]", r"\[/think(?:ing)?\]"),
    (r"◁think(?:ing)?▷", r"◁/think(?:ing)?▷"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    (_HEADER.format(channel="analysis"), _HEADER.format(channel="(?:final|commentary)")),
    (r"\A\s*analysis(?=(?s:.*)assistant(?:final|commentary))", r"assistant(?:final|commentary)"),  # ... marks stripped
    (r"<\|channel>\s*thought\b", r"<channel\|>"),
    (r"<unused94>(?:thought\b)?", r"<unused95>"),
)
"""Opening and closing marks."""
_TAGS = 2
"""The number of the pair that is written as tags."""
_MOST_MARKS = 200
"""Marks of a reply that are looked at; whoever writes more has lost the thread."""
_MARK = re.compile(
    "|".join(f"(?P<open{i}>{opening})|(?P<close{i}>{closing})" for i, (opening, closing) in enumerate(_PAIRS)),
    re.IGNORECASE,
)
_POSSIBLE = re.compile(r"[<\[◁]|&lt;|assistant", re.IGNORECASE)
"""What every mark has one of; most replies have none, and looking for this takes a tenth of the time."""
_WRAPPER = re.compile(
    r"\A<(?P<tag>answer|final_answer|final|output|response|solution)>(?P<body>(?:(?!</(?P=tag)\b).)*)(?:</(?P=tag)>?\s*+)?\Z"
    r"|\A<\|(?:begin_of_solution|start_response|start_text)\|>(?P<content>.*?)(?:<\|(?:end_of_solution|end_response|end_text)\|>\s*)?\Z",
    re.DOTALL | re.IGNORECASE,
)
_END_OF_TURN = re.compile(
    r"(?<!\s)\s*(?:<\|(?:im_end|eot_id|eom_id|end|return|call|endoftext|end_of_text|end_of_turn|eot)\|>|<end_of_turn>|<eos>|</s>)\s*\Z"
)
_BEFORE_MENTION = re.compile(r"[\w,;)] \Z")
_AFTER_MENTION = re.compile(r" [a-z]|[ ]?[.,;:!?)](?:\s|\Z)|[。，；：！？）、]")
_LABEL_ALONE = re.compile(r"[^\S\n]*[*_]*\w[\w ]{0,30}[*_]*:[*_]*[^\S\n]*\Z")


@dataclass(frozen=True)
class _Mark:
    start: int
    end: int
    pair: int
    opens: bool


def without_thinking(text: str) -> str:
    """The text of a reply without its thinking; empty if the reply is nothing else.

    A wrapper around all that is left (`<answer>`, `<output>`) and the marks that end a turn are taken off as well.
    """
    text = _after_thinking(text).strip()
    while text.endswith(">") and (shorter := _END_OF_TURN.sub("", text)) != text:
        text = shorter
    if wrapped := _WRAPPER.match(text):
        text = wrapped["body"] or wrapped["content"] or ""
    return text.strip()


def _after_thinking(text: str) -> str:
    marks = _marks(text)
    kept = ""  # the text before the thought at hand: kept unless a mark shows that it was thinking too
    position = number = 0
    has_thought = False
    while number < len(marks):
        mark = marks[number]
        if mark.opens:
            kept += text[position : mark.start]
            closing = _closing(marks, number)
            if closing is None:
                return kept
            number, position = closing, marks[closing].end
        elif has_thought and text[position : mark.start].strip() and not text[mark.end :].strip():
            return kept + text[position : mark.start]  # closed twice, at the end: the first time counted
        else:
            kept, position = "", mark.end
        has_thought = True
        number += 1
    return kept + text[position:]


def _closing(marks: list[_Mark], opening: int) -> int | None:
    """The number of the mark that ends a thought: one of its own kind, else any."""
    following = [number for number in range(opening + 1, len(marks)) if not marks[number].opens]
    own = [number for number in following if marks[number].pair == marks[opening].pair]
    return next(iter(own or following), None)


def _marks(text: str) -> list[_Mark]:
    """The marks that structure a reply, in order."""
    if not _POSSIBLE.search(text):
        return []
    candidates = [
        _Mark(match.start(), match.end(), int(re.sub(r"\D", "", match.lastgroup or "")), match.lastgroup[:4] == "open")
        for match in _MARK.finditer(text)
        if match.lastgroup
    ]
    if candidates and all(mark.pair == _TAGS for mark in candidates) and is_python(text):
        return []  # a program without a fence
    marks: list[_Mark] = []
    since = 0  # a fence or a quotation that a thought left open does not reach beyond the thought
    blocks: list[Block] | None = None
    for mark in candidates[:_MOST_MARKS]:
        if blocks is None and ("```" in text[since : mark.start] or "~~~" in text[since : mark.start]):
            blocks = [_moved(block, since) for block in fenced_blocks(text[since:], "python")]
        if not _is_mention(mark, text, since, blocks or [], candidates):
            marks.append(mark)
            since, blocks = mark.end, None
    return marks


def _moved(block: Block, by: int) -> Block:
    return replace(block, start=block.start + by, end=block.end + by)


def _is_mention(mark: _Mark, text: str, since: int, blocks: list[Block], marks: list[_Mark]) -> bool:
    """Whether a mark is only mentioned in the text since the last real one."""
    start, end = max(text.rfind("\n", 0, mark.start) + 1, since), text.find("\n", mark.end)
    before, after = text[start : mark.start], text[mark.end : end if end >= 0 else len(text)]
    block = next((block for block in blocks if block.start <= mark.start < block.end), None)
    if block is not None and _is_content(mark, block, after, marks):
        return True
    if _is_quoted(before, after) or (_BEFORE_MENTION.search(before) and _AFTER_MENTION.match(after)):
        return True
    last = not text[mark.end :].strip(" \n*_`.")
    return last and bool(_LABEL_ALONE.match(before) or (mark.opens and before.strip()))


def _is_content(mark: _Mark, block: Block, after: str, marks: list[_Mark]) -> bool:
    """Whether a mark inside a fenced block belongs to what the block holds.

    Only a closing mark that ends its line and closes nothing in the block does not: the fence was opened in a thought
    that left it open.
    """
    if mark.opens or _MARK.sub("", after).strip() or (block.closed and is_python(block.body)):
        return True
    return any(other.opens and other.pair == mark.pair and block.start <= other.start < mark.start for other in marks)


def _is_quoted(before: str, after: str) -> bool:
    if before.count("`") % 2 and after.count("`") % 2:
        return True
    if _unescaped('"', before) % 2 and _unescaped('"', after) % 2:
        return True
    if before.rfind("“") > before.rfind("”") and "”" in after:
        return True
    opened = len(re.findall(r"(?<!\w)'", before)) > len(re.findall(r"(?<=[^\s])'(?!\w)", before))
    return opened and bool(re.search(r"'(?!\w)", after))


def _unescaped(quote: str, text: str) -> int:
    return len(re.findall(rf"(?<!\\){quote}", text))
