"""`web_search`: public search engines through `ddgs`, without a key.

`ddgs` is synchronous and asks several engines in turn, each with its own time limit; it runs in a thread. It cannot be
interrupted: when a call is given up, its thread ends when the engines have been asked or have run out of their time.
It also takes an engine's refusal (any status but 200) for an empty page, so "found nothing" may mean "was blocked".
"""

from __future__ import annotations

import asyncio
import json
import logging
import time

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from tools.card import Example, ToolCard
from tools.errors import ToolUnavailable
from tools.filecache import FileCache, cache_home
from tools.pacing import PACER, HostPacer
from tools.passages import RESULT_CHARS, Passage, format_passages

logger = logging.getLogger(__name__)

_HOST = "web search"  # the engines behind ddgs are paced as one host


class WebSearchArguments(BaseModel):
    """Arguments of `web_search`."""

    query: str = Field(description="What to search for, as one would type it into a search engine.")


_CARD = ToolCard(
    quotes_sources=True,
    input="key words, as typed into a search engine",
    examples=(
        Example(
            question="Who won this year's Nobel Prize in Physics?",
            reason="It is recent, so the web has to tell.",
            context="Nobel Prize in Physics",
            sub_goal="Find this year's Nobel laureates in physics",
            input="Nobel Prize in Physics winners",
        ),
    ),
    limitations=("Returns short excerpts; read_url gives the whole page.",),
    best_practices=("Use key words rather than a sentence; put exact phrases in quotation marks.",),
)


class WebSearch:
    """Searches with `ddgs`, paced, retried and cached.

    Args:
        backend: The engines, "auto" or names separated by commas, e.g. "duckduckgo, brave".
        max_results: How many results are asked for.
        region: Country and language, e.g. "us-en".
        engine_timeout: Seconds one engine may take.
        time_limit: Seconds one search may take, waits and retries included; an engine under way is not interrupted.
        interval: Seconds between two searches.
        retries: How often a failed search is repeated.
        cache: Where results are kept; None keeps none.
        pacer: Who spaces the searches out.

    Raises:
        ValueError: `backend` names no engine.
    """

    def __init__(
        self,
        *,
        backend: str,
        max_results: int,
        region: str,
        engine_timeout: int,
        time_limit: float,
        interval: float,
        retries: int,
        cache: FileCache | None,
        pacer: HostPacer = PACER,
    ) -> None:
        self._backend = _checked(backend)
        self._max_results = max_results
        self._region = region
        self._engine_timeout = engine_timeout
        self._time_limit = time_limit
        self._interval = interval
        self._retries = retries
        self._cache = cache
        self._pacer = pacer

    def __call__(self, query: str) -> list[Passage]:
        """The results for `query`, in the engines' order, at least one.

        Raises:
            ToolException: the engines have no result.
            ToolUnavailable: no engine answered.
        """
        key = f"ddgs {self._backend} {self._region} {self._max_results} {query}"
        if self._cache and (kept := self._cache.get(key)) is not None:
            return [Passage(**entry) for entry in json.loads(kept)]
        found = [
            Passage(hit.get("title") or hit["href"], hit.get("body", ""), hit["href"])
            for hit in self._search(query)
            if hit.get("href")
        ]
        if not found:
            raise _nothing(query)
        if self._cache:
            entries = [{"title": hit.title, "text": hit.text, "source": hit.source} for hit in found]
            self._cache.put(key, json.dumps(entries).encode())
        return found

    def _search(self, query: str) -> list[dict[str, str]]:
        from ddgs import DDGS
        from ddgs.exceptions import DDGSException

        deadline = time.monotonic() + self._time_limit
        for attempt in range(self._retries + 1):
            time.sleep(self._pacer.reserve(_HOST, self._interval, deadline - time.monotonic()))
            try:
                return DDGS(timeout=self._engine_timeout).text(
                    query, region=self._region, max_results=self._max_results, backend=self._backend
                )
            except DDGSException as error:
                if str(error) == "No results found.":
                    raise _nothing(query) from None
                wait = 2.0**attempt
                logger.info("web search failed (%s), attempt %d", error, attempt + 1)
                self._pacer.hold(_HOST, wait)
                if attempt == self._retries or time.monotonic() + wait > deadline:
                    raise ToolUnavailable(f"No search engine answered ({error}). Use another tool.") from error
        raise AssertionError("unreachable: the last attempt returns or raises")


def _nothing(query: str) -> ToolException:
    return ToolException(f"The web search found nothing for {query!r}. Use fewer or more common words.")


def _checked(backend: str) -> str:
    """`backend`, if every engine in it exists; ddgs itself would quietly use all engines instead."""
    if backend == "auto":
        return backend
    from ddgs.engines import ENGINES

    known = ENGINES["text"]
    unknown = [name for name in (part.strip() for part in backend.split(",")) if name not in known]
    if unknown:
        raise ValueError(
            f"Unknown search engine {', '.join(map(repr, unknown))}: choose from auto, {', '.join(sorted(known))}."
        )
    return backend


def make_web_search(
    *,
    backend: str = "auto",
    max_results: int = 5,
    region: str = "us-en",
    max_chars: int = RESULT_CHARS,
    time_limit: float = 45.0,
    engine_timeout: int = 5,
    interval: float = 1.0,
    retries: int = 1,
    cache: FileCache | None = None,
) -> BaseTool:
    """A tool that searches the web.

    Args:
        backend: The engines, "auto" or names separated by commas, e.g. "duckduckgo, brave".
        max_results: Results in an answer.
        region: Country and language, e.g. "us-en".
        max_chars: Characters of a result, about.
        time_limit: Seconds a call may take.
        engine_timeout: Seconds one engine may take.
        interval: Seconds between two searches.
        retries: How often a failed search is repeated.
        cache: Where results are kept; by default for a day in the user's cache directory.

    Raises:
        ValueError: `backend` names no engine.
    """
    search_web = WebSearch(
        backend=backend,
        max_results=max_results,
        region=region,
        engine_timeout=engine_timeout,
        time_limit=time_limit,
        interval=interval,
        retries=retries,
        cache=cache or FileCache(cache_home() / "web_search"),
    )

    def search(query: str) -> str:
        if not query.strip():
            raise ToolException("The query is empty. Name what to look for.")
        return format_passages(search_web(query), query, max_chars)

    async def asearch(query: str) -> str:
        try:
            async with asyncio.timeout(time_limit):
                return await asyncio.to_thread(search, query)
        except TimeoutError:
            raise ToolUnavailable(f"The web search did not answer within {time_limit:g} s.") from None

    return StructuredTool.from_function(
        search,
        coroutine=asearch,
        name="web_search",
        description="Searches the web; returns titles, addresses and short excerpts. Good for current and rare facts.",
        args_schema=WebSearchArguments,
        metadata={"card": _CARD, "time_limit": time_limit + 5},
    )
