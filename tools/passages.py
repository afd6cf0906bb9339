"""Passages: how long texts are cut, ranked and shown to a small model.

A search tool's result is read by a model that pays for every token and is easily led astray, so it gets a few short,
numbered passages with their sources, and of a long passage the sentences that speak to the query.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tools.bm25 import Bm25, terms

RESULT_CHARS = 1500
"""Characters of a tool result, about 350 tokens."""

PASSAGE_CHARS = 600
"""Characters of a passage that a long text is cut into: a paragraph, or a few sentences of one."""

_SHORTEST_SHARE = 80
"""Characters a shown passage gets even when its source's address has eaten its share."""

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[^a-z\s])|(?<=[。！？])|\n+")
_ABBREVIATION = re.compile(r"(?:\b(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Jr|Sr|vs|No|Prof|Gen|Col|Inc|Ltd|c|ca|approx|cf)\.)$")
_LONGEST_ABBREVIATION = len("approx.")


@dataclass(frozen=True)
class Passage:
    """A piece of text with where it came from."""

    title: str
    text: str
    source: str
    """An address or a file that a reader can open."""
    score: float = 0.0
    """How well it matched the query it was found with; comparable within one search only."""


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, stripped, none empty; no word is lost."""
    sentences: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        stop = end.start() + len(end.group().rstrip())
        if "\n" not in end.group() and _ABBREVIATION.search(text, max(start, stop - _LONGEST_ABBREVIATION), stop):
            continue  # "J. Smith": not an end, go on to the next one
        if piece := text[start : end.end()].strip():
            sentences.append(piece)
        start = end.end()
    if rest := text[start:].strip():
        sentences.append(rest)
    return sentences


def split_passages(text: str, max_chars: int = PASSAGE_CHARS) -> list[str]:
    """Cut a text into passages of at most `max_chars` characters.

    Cuts fall between paragraphs where possible, else between sentences, else between words, and inside a word only when
    that word alone is too long. Every word of the text is in exactly one passage, in order.
    """
    if max_chars < 1:
        raise ValueError(f"max_chars must be at least 1, not {max_chars}")
    passages: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        pieces = [paragraph.strip()]
        if len(pieces[0]) > max_chars:
            pieces = [part for sentence in split_sentences(paragraph) for part in _wrap(sentence, max_chars)]
        fresh = True  # a paragraph may join the passage before it, but only if it fits there whole
        for piece in filter(None, pieces):
            joint = "\n" if fresh else " "
            whole = len(paragraph.strip()) if fresh else len(piece)
            if passages and len(passages[-1]) + len(joint) + whole <= max_chars:
                passages[-1] += joint + piece
            else:
                passages.append(piece)
            fresh = False
    return passages


def _wrap(sentence: str, max_chars: int) -> Iterator[str]:
    """Pieces of one sentence of at most `max_chars`, cut between words if it can be."""
    while len(sentence) > max_chars:
        cut = sentence.rfind(" ", 1, max_chars + 1)
        cut = cut if cut > 0 else max_chars
        if piece := sentence[:cut].strip():
            yield piece
        sentence = sentence[cut:].strip()
    if sentence:
        yield sentence


def rank_passages(query: str, passages: Sequence[Passage], k: int) -> list[Passage]:
    """The at most `k` passages that match `query`, best first, with their scores; none when nothing matches."""
    found = Bm25.build([(passage.title, passage.text) for passage in passages]).search(query, k)
    return [replace(passages[i], score=score) for i, score in found]


def format_passages(passages: Sequence[Passage], query: str = "", max_chars: int = RESULT_CHARS) -> str:
    """Numbered passages with title and source, about `max_chars` characters in all.

    Each passage gets an equal share of what is left, so short ones leave room to long ones. Of a passage that is longer
    than its share the sentences that share rare terms with the query are kept, in their order.
    """
    weights = _term_weights(query, passages)
    shown: list[str] = []
    left = max_chars
    for number, passage in enumerate(passages, start=1):
        origin = f"{passage.title} ({passage.source})" if passage.source else passage.title
        head = f"[{number}] {origin}\n" if origin else f"[{number}] "
        share = left // (len(passages) - number + 1) - len(head) - 1
        block = head + best_sentences(passage.text, weights, max(share, _SHORTEST_SHARE))
        shown.append(block)
        left -= len(block) + 1
    return "\n".join(shown)


def _term_weights(query: str, passages: Sequence[Passage]) -> dict[str, float]:
    """How much each query term tells the sentences of these passages apart (its idf among them)."""
    wanted = set(terms(query))
    sentences = [wanted.intersection(terms(s)) for passage in passages for s in split_sentences(passage.text)]
    counts = Counter(term for sentence in sentences for term in sentence)
    return {term: math.log(1 + len(sentences) / (1 + counts[term])) for term in wanted}


def best_sentences(text: str, weights: dict[str, float], max_chars: int) -> str:
    """At most `max_chars` characters of `text`: its best sentences in their own order, gaps marked with "…".

    Args:
        text: What to shorten; returned on one line, whole if it fits.
        weights: The worth of each query term (see `tools.bm25.terms`).
        max_chars: Characters of the result.
    """
    text = " ".join(text.split()) if len(text) <= max_chars else text
    if len(text) <= max_chars:
        return text
    sentences = [" ".join(sentence.split()) for sentence in split_sentences(text)]
    # A text opens with what it is about, so among equals the earlier sentence wins.
    value = [sum(weights.get(term, 0.0) for term in set(terms(s))) for s in sentences]
    order = sorted(range(len(sentences)), key=lambda i: (-value[i], i))
    if len(sentences[order[0]]) > max_chars - 4:
        return _window(sentences[order[0]], weights, max_chars)
    kept: set[int] = set()
    for i in order:
        if len(_join(sentences, kept | {i})) <= max_chars:
            kept.add(i)
    return _join(sentences, kept)


def _join(sentences: Sequence[str], kept: set[int]) -> str:
    """The kept sentences in order, with a mark wherever some are left out."""
    parts: list[str] = []
    previous = -1
    for i in sorted(kept):
        parts += ["…"] * (i > previous + 1) + [sentences[i]]
        previous = i
    return " ".join(parts + ["…"] * (previous < len(sentences) - 1))


def _window(sentence: str, weights: dict[str, float], max_chars: int) -> str:
    """The part of one over-long sentence around the first of its query terms, cut between words."""
    words = sentence.split(" ")
    first = next((i for i, word in enumerate(words) if any(weights.get(term) for term in terms(word))), 0)
    start = len(" ".join(words[:first]))
    begin = max(0, min(start - max_chars // 4, len(sentence) - max_chars))
    piece = sentence[begin : begin + max_chars - 4]
    if begin:
        piece = "… " + piece[:-2].partition(" ")[2] if " " in piece[:-2] else piece
    cut = begin + max_chars - 4 < len(sentence)
    return (piece.rpartition(" ")[0] or piece) + " …" if cut else piece
