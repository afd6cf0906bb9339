"""BM25 over titled texts: the one ranker behind every search tool.

The engine is `bm25s` at its default parameters (Lucene's BM25, k1 = 1.5, b = 0.75) and its short English stop list.
What is ours is what goes in:

- Letters lose their case and their accents, so that "Alu" finds "Alû"; possessive endings go; single letters and
  digits stay, because "season 4" and "C major" mean something.
- Chinese and Japanese write no spaces: each character is a term of its own.
- The title is counted as if it stood `TITLE_WEIGHT` times at the head of the text, which is what a title is worth when
  texts are short and questions name the thing they are about (a one-field form of BM25F: Robertson, Zaragoza and
  Taylor, 2004).
"""

from __future__ import annotations

import functools
import math
import re
import threading
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TITLE_WEIGHT = 3
"""How often a title is counted. Two and four do nearly as well; `python -m evals.speed.retrieval` measures it."""

ANALYSIS_VERSION = 1
"""Part of every cached index's key: raise it whenever `terms` or what is indexed changes."""

_ACCENTS = re.compile("[\u0300-\u036f]")
_POSSESSIVE = re.compile(r"['’]s\b")
_TERM = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


_THREAD = threading.local()


def _stemmer() -> Any:
    """This thread's stemmer: PyStemmer keeps a cache of words that is fast and not safe to share."""
    if not hasattr(_THREAD, "stemmer"):
        import Stemmer  # type: ignore[import-not-found]  # a C extension without stubs

        _THREAD.stemmer = Stemmer.Stemmer("english")
    return _THREAD.stemmer


@functools.cache
def _stop_words() -> frozenset[str]:
    from bm25s.stopwords import STOPWORDS_EN  # type: ignore[import-untyped]

    return frozenset(STOPWORDS_EN)


def terms(text: str) -> list[str]:
    """The index terms of a text, in order: folded, split, without stop words, stemmed."""
    stop = _stop_words()
    text = text.lower()
    if not text.isascii():
        text = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text)))
    words = [word for word in _TERM.findall(_POSSESSIVE.sub("", text)) if word not in stop]
    stems: list[str] = _stemmer().stemWords(words)
    return stems


def is_content_word(word: str) -> bool:
    """Whether a word says what a text is about (it is no stop word)."""
    return bool(terms(word))


class Bm25:
    """An index over (title, text) pairs; documents are known by their position."""

    def __init__(self, engine: Any, size: int) -> None:
        self._engine = engine
        self._size = size

    @classmethod
    def build(cls, documents: Sequence[tuple[str, str]]) -> Bm25:
        """Index `documents`, pairs of title and text."""
        import bm25s  # type: ignore[import-untyped]

        engine = bm25s.BM25()
        words = [terms(title) * TITLE_WEIGHT + terms(text) for title, text in documents]
        if any(words):
            engine.index(words, show_progress=False)
        else:
            engine = None  # nothing to find: bm25s has no empty index
        return cls(engine, len(documents))

    def save(self, directory: Path) -> None:
        """Write the index, which must not be empty, into an existing, empty directory."""
        self._engine.save(directory, show_progress=False)

    @property
    def is_empty(self) -> bool:
        """Whether there is no term at all in the documents."""
        return self._engine is None

    @classmethod
    def load(cls, directory: Path, size: int) -> Bm25:
        """Read what `save` wrote for `size` documents.

        Raises:
            OSError, EOFError, ValueError or KeyError: the files are missing, cut short or of another size.
        """
        import bm25s

        engine = bm25s.BM25.load(directory)
        if engine.scores["num_docs"] != size:
            raise ValueError(f"the index in {directory} has {engine.scores['num_docs']} documents, not {size}")
        return cls(engine, size)

    def scores(self, words: Sequence[str]) -> NDArray[np.float64]:
        """The score of every document for these terms; 0 where it holds none of them."""
        import numpy as np

        known = [word for word in words if self.holders(word)]
        if not known:
            return np.zeros(self._size)
        return np.asarray(self._engine.get_scores(known), dtype=np.float64)

    def holders(self, word: str) -> int:
        """How many documents hold a term."""
        number = None if self._engine is None else self._engine.vocab_dict.get(word)
        if number is None:
            return 0
        starts = self._engine.scores["indptr"]
        return int(starts[number + 1] - starts[number])

    def idf(self, word: str) -> float:
        """A term's inverse document frequency (Lucene's)."""
        holders = self.holders(word)
        return math.log(1 + (self._size - holders + 0.5) / (holders + 0.5))

    def search(self, query: str, k: int) -> list[tuple[int, float]]:
        """The at most `k` best documents that share a term with `query`: (position, score), best first."""
        return best(self.scores(list(dict.fromkeys(terms(query)))), k)


def best(scores: NDArray[np.float64], k: int) -> list[tuple[int, float]]:
    """The at most `k` documents with the highest scores above 0: (position, score), best first.

    Equal scores keep the documents' own order, so that a search is repeatable.
    """
    import numpy as np

    order = np.argsort(-scores, kind="stable")[:k]
    return [(int(i), float(scores[i])) for i in order if scores[i] > 0]
