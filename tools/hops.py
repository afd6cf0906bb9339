"""The second hop of a search: what the first hits add to the question.

A question about two facts names only the first thing: "the birthplace of the founder of Port Ellery". The passage that
it names tells the next ("founded by Agnes Corvell"), whose own passage shares hardly a word with the question. So after
the words of the question have been weighed (BM25), passages gain weight in three ways:

- their title stands in the question;
- their title is mentioned by one of the best passages: they inherit a part of its weight;
- they hold a name that the best passage adds to the question, and words of the question that it lacks.

What the question itself names still comes first, so a question about one fact finds what it found before.

`python -m evals.speed.retrieval` measures it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tools.bm25 import Bm25, terms

if TYPE_CHECKING:
    from tools.passages import Passage

Weights = NDArray[np.float64]
"""A weight for each passage."""

_IN_QUESTION = 0.2
"""Weight of a title in the question, as a share of its terms' inverse document frequencies."""
_BEST = 2
"""How many of the best passages pass on weight to titles they mention, in each round; only the best one to names."""
_ROUNDS = 2
_BY_TITLE = 0.5
"""Share of its weight that a passage passes on to a passage whose title it mentions."""
_BY_NAME = 0.3
"""The same for a passage that holds a name it adds to the question."""
_NAMES = 30
_WHOLE_NAME = 0.6
"""Share of the best match's weight from which a passage is said to hold a name."""
_MOST_HOLDERS = 50
"""A name held by more passages says too little, and so does one whose last word is in more than one of so many."""
_FEW_HOLDERS = 3
_LONGEST_TITLE = 8

_WORD = re.compile(r"\w+")
_ASIDE = re.compile(r"\s*[(,].*")
"""What tells titles of one name apart: "Namibia (ship)"."""
_NAME = re.compile(r"(?:[^\W\d_a-z][\w'’.-]*(?:\s+(?:of|the|de|von|van|and|&)(?=\s+[^\W\d_a-z]))?\s*)+")

Title = tuple[str, ...]


class Hops:
    """The titles of a corpus, ready to be found in texts."""

    def __init__(self, passages: Sequence[Passage], bm25: Bm25) -> None:
        self._passages = passages
        self._bm25 = bm25
        self._titles = [_title(_ASIDE.sub("", passage.title)) for passage in passages]
        self._holders: dict[Title, list[int]] = defaultdict(list)
        for number, passage in enumerate(passages):
            for title in {self._titles[number], _title(passage.title)}:
                if _tells_apart(title):
                    self._holders[title].append(number)

    def spread(self, query: str, weights: Weights) -> Weights:
        """The weights of all passages after the second hop, given those by the words of the query."""
        words = [word for word in dict.fromkeys(terms(query)) if self._bm25.holders(word)]
        own = weights.copy()
        for title in self._titles_in(query, skip_first=True):
            worth = sum(map(self._bm25.idf, dict.fromkeys(terms(" ".join(title)))))
            own[self._holders[title]] += _IN_QUESTION * worth
        spread, told = own.copy(), set[int]()
        for _ in range(_ROUNDS):
            for number in _best(spread, _BEST):
                if number not in told:
                    told.add(number)
                    self._pass_on_by_title(number, own, spread)
        for number in _best(spread, 1):
            self._pass_on_by_name(number, words, own, spread)
        spread[self._named(query, weights)] += spread.max()
        return spread

    def _named(self, query: str, weights: Weights) -> list[int]:
        """The passages that the question itself names: they come before those that they lead to."""
        titles = [title for title in self._titles_in(query, skip_first=True) if len(title) > 1]
        by_title = [max(self._holders[title], key=lambda number: weights[number]) for title in titles]
        return [int(weights.argmax()), *by_title]

    def _pass_on_by_title(self, number: int, own: Weights, spread: Weights) -> None:
        """One passage of each title gains, the one that matches best: a long text has many of one title."""
        best: dict[Title, int] = {}
        for title in self._titles_in(self._passages[number].text):
            for other in self._holders[title]:
                name = self._titles[other]
                if name != self._titles[number] and (name not in best or own[other] > own[best[name]]):
                    best[name] = other
        for other in best.values():
            spread[other] = max(spread[other], own[other] + _BY_TITLE * spread[number])

    def _pass_on_by_name(self, number: int, words: Sequence[str], own: Weights, spread: Weights) -> None:
        passage = self._passages[number]
        covered = {*terms(passage.title), *terms(passage.text)}
        lacking = self._bm25.scores([word for word in words if word not in covered])
        if not lacking.any():
            return
        for name in dict.fromkeys(list(_names_in(passage.text))[:_NAMES]):
            new = [word for word in name if word not in words and self._bm25.holders(word)]
            if not new or self._bm25.holders(new[-1]) > max(_FEW_HOLDERS, len(own) // _MOST_HOLDERS):
                continue
            match = self._bm25.scores(new)
            match /= match.max()
            (holders,) = np.nonzero((match > _WHOLE_NAME) & (lacking > 0))
            if len(holders) <= _MOST_HOLDERS:
                inherited = _BY_NAME * spread[number] * match[holders]
                spread[holders] = np.maximum(spread[holders], own[holders] + inherited)

    def _titles_in(self, text: str, *, skip_first: bool = False) -> Iterator[Title]:
        """The titles that a text mentions, the longest at each place; a text's first word is capital without reason."""
        words = _WORD.findall(text)
        place = 0
        while place < len(words):
            for length in range(min(_LONGEST_TITLE, len(words) - place), 0, -1):
                title = tuple(words[place : place + length])
                if title in self._holders and (length > 1 or place or not skip_first):
                    yield title
                    place += length - 1
                    break
            place += 1


def _title(text: str) -> Title:
    return tuple(_WORD.findall(text))


def _tells_apart(title: Title) -> bool:
    """Whether a title can be recognised in a text: several words, or a capital one of more than two letters."""
    return len(title) > 1 or (len(title) == 1 and title[0][0].isupper() and len(title[0]) > 2)


def _names_in(text: str) -> Iterator[tuple[str, ...]]:
    """The capitalised names of a text, as index terms."""
    for match in _NAME.finditer(text):
        if name := tuple(terms(match.group())):
            yield name


def _best(weights: Weights, count: int) -> list[int]:
    order = np.argsort(-weights, kind="stable")[:count]
    return [int(number) for number in order if weights[number] > 0]
