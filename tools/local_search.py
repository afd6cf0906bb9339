"""`local_search`: BM25 and a second hop over the user's own corpus.

The index is built once for a corpus' content and kept in the user's cache directory; the next start reads it back.
Nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from tools.bm25 import ANALYSIS_VERSION, TITLE_WEIGHT, Bm25, best, terms
from tools.card import Example, ToolCard
from tools.corpus import LONGEST_PASSAGE, fingerprint, read_corpus
from tools.filecache import cache_home
from tools.hops import Hops
from tools.passages import RESULT_CHARS, Passage, format_passages
from tools.text import Text

logger = logging.getLogger(__name__)


class LocalIndex:
    """The passages of a corpus and the index over them."""

    def __init__(self, passages: list[Passage], bm25: Bm25) -> None:
        self.passages = passages
        self._bm25 = bm25
        self._hops = Hops(passages, bm25)

    @classmethod
    def build(cls, passages: list[Passage]) -> LocalIndex:
        """Index passages that are in memory."""
        return cls(passages, Bm25.build([(passage.title, passage.text) for passage in passages]))

    @classmethod
    def open(cls, corpus: Path, *, cache_dir: Path | None = None) -> LocalIndex:
        """Read a corpus, and its index from the cache or, the first time, by building it.

        Args:
            corpus: A JSONL file or a folder (see `tools.corpus.read_corpus`).
            cache_dir: Where indexes are kept; the user's cache directory by default.

        Raises:
            ValueError: the corpus cannot be read; file, line and remedy are named.
        """
        passages = read_corpus(corpus)
        engine = f"{version('bm25s')}-{version('PyStemmer')}-{ANALYSIS_VERSION}-{TITLE_WEIGHT}-{LONGEST_PASSAGE}"
        home = (cache_dir or cache_home() / "indexes") / f"{fingerprint(corpus)[:32]}-{engine}"
        if home.is_dir():
            try:
                return cls(passages, Bm25.load(home, len(passages)))
            except (OSError, EOFError, ValueError, KeyError) as error:
                logger.warning("the cached index %s cannot be read (%s) and is built anew", home, error)
                shutil.rmtree(home, ignore_errors=True)
        logger.info("indexing the %d passages of %s", len(passages), corpus)
        index = cls.build(passages)
        if index._bm25.is_empty:
            raise ValueError(f"The corpus {corpus} holds no words to search for, only stop words or signs.")
        _keep(index._bm25, home)
        return index

    def search(self, query: str, k: int = 5) -> list[Passage]:
        """The at most `k` passages that match `query` best, best first, each with its weight (see `tools.hops`)."""
        weights = self._bm25.scores(list(dict.fromkeys(terms(query))))
        if not weights.any():
            return []
        return [replace(self.passages[i], score=score) for i, score in best(self._hops.spread(query, weights), k)]


def _keep(bm25: Bm25, home: Path) -> None:
    """Put an index into the cache, whole or not at all; without a cache the search still works."""
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=home.parent, prefix=".new-"))
        try:
            bm25.save(staging)
            os.rename(staging, home)
        finally:
            shutil.rmtree(staging, ignore_errors=True)  # gone already, unless another process was first
    except OSError as error:
        if not home.is_dir():
            logger.warning("the index is not kept in %s (%s) and will be built again next time", home.parent, error)


class LocalSearchArguments(BaseModel):
    """Arguments of `local_search`."""

    query: Text = Field(description="Key words or a short question.")


_CARD = ToolCard(
    quotes_sources=True,
    plain_words=True,
    input="key words or a short question",
    examples=(
        Example(
            question="How tall is the tower that Gustave Eiffel built?",
            reason="It is a fact that has to be looked up.",
            context="Gustave Eiffel, tower",
            sub_goal="Find the height of the Eiffel Tower",
            input="Eiffel Tower height",
        ),
        Example(
            question="How many years after the Eiffel Tower was the film Metropolis finished?",
            reason="Both years have to be looked up before anything can be computed.",
            context="film Metropolis",
            sub_goal="Find the year of the film Metropolis",
            input="Metropolis film year",
        ),
        Example(
            question="How many eggs does the farm of Elmsted sell in a week?",
            reason="What it sells has to be looked up before anything can be computed.",
            context="farm of Elmsted",
            sub_goal="Find the eggs that the farm of Elmsted sells",
            input="farm of Elmsted eggs sold",
        ),
    ),
    limitations=("It cannot compute.",),
    best_practices=("Ask for one fact at a time and name the person, place or thing exactly.",),
)


PASSAGES = 2
"""Passages in a result: of three or more the embedded model is too often led astray by the wrong one."""


def _passages_wanted() -> int:
    """`PASSAGES`, or what the environment variable AGENTFLOW_PASSAGES says."""
    wanted = os.environ.get("AGENTFLOW_PASSAGES", "")
    if wanted and not (wanted.isdecimal() and int(wanted) > 0):
        raise ValueError(f"AGENTFLOW_PASSAGES is {wanted!r}; it must be a whole number above 0")
    return int(wanted) if wanted else PASSAGES


def make_local_search(
    corpus: Path,
    *,
    k: int | None = None,
    max_chars: int = RESULT_CHARS,
    time_limit: float = 10.0,
    cache_dir: Path | None = None,
) -> BaseTool:
    """A tool that searches `corpus`.

    The corpus is read and indexed here, so that a bad one is reported before any question is asked. That takes seconds
    the first time; in async code call this from a thread.

    Args:
        corpus: A JSONL file or a folder (see `tools.corpus.read_corpus`).
        k: Passages in a result; by default AGENTFLOW_PASSAGES, else `PASSAGES`.
        max_chars: Characters of a result, about.
        time_limit: Seconds a call may take.
        cache_dir: Where indexes are kept; the user's cache directory by default.

    Raises:
        ValueError: the corpus cannot be read (file, line and remedy are named), or `k` is not positive.
    """
    shown = _passages_wanted() if k is None else k
    if shown < 1:
        raise ValueError(f"k must be at least 1, not {shown}")
    index = LocalIndex.open(corpus, cache_dir=cache_dir)

    def search(query: str) -> str:
        found = index.search(query, shown)
        if not found:
            raise ToolException(f"No passage matches {query!r}. Use other words, fewer of them, or another tool.")
        return format_passages(found, query, max_chars)

    async def asearch(query: str) -> str:
        return await asyncio.to_thread(search, query)

    return StructuredTool.from_function(
        search,
        coroutine=asearch,
        name="local_search",
        description=(
            "Looks up facts about people, places, things and events in the user's own collection of texts, and returns "
            "the passages that match best."
        ),
        args_schema=LocalSearchArguments,
        metadata={"card": _CARD, "time_limit": time_limit},
    )
