"""`wikipedia_search`: the passages of Wikipedia articles that match a query.

Two steps of the MediaWiki Action API: full-text search for a few articles, then their plain text, which is cut into
passages and ranked here. The search engine wants every word of a query in the article; small models write sentences,
so a query without a hit is tried again with any of its content words.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from tools.bm25 import is_content_word
from tools.card import Example, ToolCard
from tools.errors import ToolUnavailable
from tools.filecache import FileCache, cache_home
from tools.http import Fetched, Fetcher, FetchSettings, run
from tools.passages import RESULT_CHARS, Passage, format_passages, rank_passages, split_passages
from tools.text import Text

_ARTICLES = 3  # read for a query
_LONGEST_QUERY = 300  # characters; the search engine refuses longer ones
_BACK_MATTER = re.compile(
    r"^==\s*(?:See also|References|Notes|Footnotes|Citations|Sources|Bibliography|Further reading|External links)"
    r"\s*==\s*$",
    re.MULTILINE | re.IGNORECASE,
)
_HEADING = re.compile(r"^=+[^=\n]+=+\s*$", re.MULTILINE)


class WikipediaArguments(BaseModel):
    """Arguments of `wikipedia_search`."""

    query: Text = Field(description="The name of a person, place or thing, with a word or two on what is asked.")


_CARD = ToolCard(
    quotes_sources=True,
    input="a name, with a word or two on what is asked",
    examples=(
        Example(
            question="In which year was the Eiffel Tower completed?",
            reason="It is a fact that an encyclopedia tells.",
            context="Eiffel Tower",
            sub_goal="Find when the Eiffel Tower was completed",
            input="Eiffel Tower completed",
        ),
        Example(
            question="How many years after the Eiffel Tower was the film Metropolis finished?",
            reason="Both years have to be looked up before anything can be computed.",
            context="film Metropolis",
            sub_goal="Find the year of the film Metropolis",
            input="Metropolis film year",
        ),
    ),
    limitations=("No news, prices or opinions; no calculations.",),
    best_practices=("Ask about one thing at a time and name it exactly.",),
)


class Wikipedia:
    """A MediaWiki site's search.

    Args:
        base_url: The address of `api.php`.
        fetcher: Fetches its answers.
    """

    def __init__(self, base_url: str, fetcher: Fetcher) -> None:
        self._base_url = base_url
        self._fetcher = fetcher

    async def passages(self, query: str, k: int) -> list[Passage]:
        """The at most `k` best passages of the best articles for `query`, best first; none if no article matches."""
        pages = await self._search(query[:_LONGEST_QUERY])
        if not pages:
            # Quotation marks and operators would change the meaning of the words that are left.
            words = [word for word in re.findall(r"\w+", query) if is_content_word(word)]
            if len(words) > 1:
                pages = await self._search(" OR ".join(words)[:_LONGEST_QUERY])
        passages: list[Passage] = []
        for page in pages:  # one after the other: the API's etiquette asks for no parallel requests
            passages += await self._read(page)
        return await asyncio.to_thread(self._rank, query, passages, k)

    @staticmethod
    def _rank(query: str, passages: list[Passage], k: int) -> list[Passage]:
        # The engine knows synonyms and other spellings; where no passage shares a word with the query, trust its order.
        return rank_passages(query, passages, k) or passages[:k]

    async def _search(self, query: str) -> list[int]:
        answer = await self._ask({"list": "search", "srsearch": query, "srlimit": _ARTICLES, "srprop": ""})
        return [int(hit["pageid"]) for hit in answer.get("search", [])]

    async def _read(self, page: int) -> list[Passage]:
        answer = await self._ask({"prop": "extracts|info", "inprop": "url", "explaintext": 1, "pageids": page})
        passages = []
        for found in answer.get("pages", []):
            text = _HEADING.sub("\n", _BACK_MATTER.split(found.get("extract", ""))[0])
            for piece in await asyncio.to_thread(split_passages, text):
                passages.append(Passage(found["title"], piece, found.get("fullurl", "")))
        return passages

    async def _ask(self, params: Mapping[str, str | int]) -> Mapping[str, Any]:
        common: dict[str, str | int] = {"action": "query", "format": "json", "formatversion": 2}
        fetched = await self._fetcher.get(self._base_url, {**common, **params}, check=_read_answer)
        return _read_answer(fetched)


def _read_answer(fetched: Fetched) -> Mapping[str, Any]:
    """The `query` part of an API answer; MediaWiki reports its errors with status 200."""
    try:
        answer = json.loads(fetched.body)
    except ValueError:
        raise ToolUnavailable(f"{fetched.url} did not answer as a MediaWiki API does.") from None
    if not isinstance(answer, dict) or "error" in answer:
        error = answer.get("error", {}) if isinstance(answer, dict) else {}
        raise ToolUnavailable(f"Wikipedia refused the search: {error.get('info', 'no reason given')}")
    query = answer.get("query", {})
    return query if isinstance(query, dict) else {}


def make_wikipedia_search(
    *,
    base_url: str = "https://en.wikipedia.org/w/api.php",
    k: int = 4,
    max_chars: int = RESULT_CHARS,
    time_limit: float = 45.0,
    fetcher: Fetcher | None = None,
) -> BaseTool:
    """A tool that searches Wikipedia, or any other MediaWiki site that has its TextExtracts extension.

    Args:
        base_url: The address of the site's `api.php`.
        k: Passages in a result.
        max_chars: Characters of a result, about.
        time_limit: Seconds a call may take.
        fetcher: Makes the requests; by default a polite one that keeps answers for a day in the user's cache directory.
    """
    if fetcher is None:
        fetcher = Fetcher(FetchSettings(timeout=20.0, interval=0.2), cache=FileCache(cache_home() / "http"))
    site = Wikipedia(base_url, fetcher)

    async def asearch(query: str) -> str:
        if not query.strip():
            raise ToolException("The query is empty. Name what to look for.")
        try:
            async with asyncio.timeout(time_limit):
                found = await site.passages(query, k)
                if not found:
                    raise ToolException(f"Wikipedia has nothing on {query!r}. Use fewer words or another name.")
                return await asyncio.to_thread(format_passages, found, query, max_chars)
        except TimeoutError:
            raise ToolUnavailable(f"Wikipedia did not answer within {time_limit:g} s.") from None

    def search(query: str) -> str:
        return run(asearch(query))

    return StructuredTool.from_function(
        search,
        coroutine=asearch,
        name="wikipedia_search",
        description="Searches Wikipedia for matching passages. Good for facts on people, places, works, events.",
        args_schema=WikipediaArguments,
        # The executor's limit lies beyond our own, so that the error which names the cause comes first.
        metadata={"card": _CARD, "time_limit": time_limit + 5},
    )
