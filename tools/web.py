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
from dataclasses import dataclass

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from tools.card import Example, ToolCard
from tools.errors import ToolUnavailable
from tools.filecache import FileCache, cache_home
from tools.pacing import PACER
from tools.passages import RESULT_CHARS, Passage, format_passages
from tools.text import Text

logger = logging.getLogger(__name__)

_HOST = "web search"  # the engines behind ddgs are paced as one host


class WebSearchArguments(BaseModel):
    """Arguments of `web_search`."""

    query: Text = Field(description="What to search for, as one would type it into a search engine.")


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


@dataclass(frozen=True, kw_only=True)
class WebSearchSettings:
    """What is searched, and how patiently.

    Raises:
        ValueError: `backend` names no engine.
    """

    backend: str = "auto"
    """The engines: "auto", or names separated by commas, e.g. "duckduckgo, brave"."""
    max_results: int = 5
    """Results that are asked for."""
    region: str = "us-en"
    """Country and language."""
    time_limit: float = 45.0
    """Seconds one search may take, waits and retries included; an engine under way is not interrupted."""
    engine_timeout: int = 5
    """Seconds one engine may take."""
    interval: float = 1.0
    """Seconds between two searches."""
    retries: int = 1
    """How often a failed search is repeated."""

    def __post_init__(self) -> None:
        _check_engines(self.backend)


class WebSearch:
    """Searches with `ddgs`, paced, retried and cached.

    Args:
        settings: What is searched, and how.
        cache: Where results are kept.
    """

    def __init__(self, settings: WebSearchSettings, cache: FileCache) -> None:
        self._settings = settings
        self._cache = cache

    def __call__(self, query: str) -> list[Passage]:
        """The results for `query`, in the engines' order, at least one.

        Raises:
            ToolException: the engines have no result.
            ToolUnavailable: no engine answered.
        """
        settings = self._settings
        key = f"ddgs {settings.backend} {settings.region} {settings.max_results} {query}"
        if (kept := self._cache.get(key)) is not None:
            return [Passage(**entry) for entry in json.loads(kept)]
        hits = [
            Passage(hit.get("title") or hit["href"], hit.get("body", ""), hit["href"])
            for hit in self._search(query)
            if hit.get("href")
        ]
        if not hits:
            raise _nothing(query)
        entries = [{"title": hit.title, "text": hit.text, "source": hit.source} for hit in hits]
        self._cache.put(key, json.dumps(entries).encode())
        return hits

    def _search(self, query: str) -> list[dict[str, str]]:
        from ddgs import DDGS
        from ddgs.exceptions import DDGSException

        settings = self._settings
        deadline = time.monotonic() + settings.time_limit
        for attempt in range(settings.retries + 1):
            time.sleep(PACER.reserve(_HOST, settings.interval, deadline - time.monotonic()))
            try:
                return DDGS(timeout=settings.engine_timeout).text(
                    query, region=settings.region, max_results=settings.max_results, backend=settings.backend
                )
            except DDGSException as error:
                if str(error) == "No results found.":
                    raise _nothing(query) from None
                wait = 2.0**attempt
                logger.info("web search failed (%s), attempt %d", error, attempt + 1)
                PACER.hold(_HOST, wait)
                if attempt == settings.retries or time.monotonic() + wait > deadline:
                    raise ToolUnavailable(f"No search engine answered ({error}). Use another tool.") from error
        raise AssertionError("unreachable: the last attempt returns or raises")


def _nothing(query: str) -> ToolException:
    return ToolException(f"The web search found nothing for {query!r}. Use fewer or more common words.")


def _check_engines(backend: str) -> None:
    """Refuse engines that do not exist; ddgs itself would quietly use all engines instead."""
    if backend == "auto":
        return
    from ddgs.engines import ENGINES

    known = ENGINES["text"]
    unknown = [name for name in (part.strip() for part in backend.split(",")) if name not in known]
    if unknown:
        raise ValueError(
            f"Unknown search engine {', '.join(map(repr, unknown))}: choose from auto, {', '.join(sorted(known))}."
        )


def make_web_search(
    settings: WebSearchSettings | None = None, *, max_chars: int = RESULT_CHARS, cache: FileCache | None = None
) -> BaseTool:
    """A tool that searches the web.

    Args:
        settings: What is searched, and how patiently.
        max_chars: Characters of a result, about.
        cache: Where results are kept; by default for a day in the user's cache directory.
    """
    settings = settings or WebSearchSettings()
    search_web = WebSearch(settings, cache or FileCache(cache_home() / "web_search"))

    def search(query: str) -> str:
        if not query.strip():
            raise ToolException("The query is empty. Name what to look for.")
        return format_passages(search_web(query), query, max_chars)

    async def asearch(query: str) -> str:
        try:
            async with asyncio.timeout(settings.time_limit):
                return await asyncio.to_thread(search, query)
        except TimeoutError:
            raise ToolUnavailable(f"The web search did not answer within {settings.time_limit:g} s.") from None

    return StructuredTool.from_function(
        search,
        coroutine=asearch,
        name="web_search",
        description="Searches the web; returns titles, addresses and short excerpts. Good for current and rare facts.",
        args_schema=WebSearchArguments,
        metadata={"card": _CARD, "time_limit": settings.time_limit + 5},
    )
