from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, ToolException

from tools.card import card_of, time_limit_of
from tools.errors import ToolUnavailable
from tools.filecache import FileCache
from tools.http import Fetcher, FetchSettings
from tools.pacing import HostPacer
from tools.wikipedia import make_wikipedia_search

FILLER = "It is known for many other things that nobody asks about in this test of a search tool.\n\n"
ARTICLES = {
    7: (
        "Mount Example",
        f"Mount Example is a mountain.\n\n== Geology ==\n{FILLER * 20}Its height is 4321 metres.\n\n"
        f"{FILLER * 20}== See also ==\nHeight of other mountains, height, height.\n",
    ),
    8: ("Example (band)", f"Example was a band formed in 1999 in Örebro.\n\n{FILLER * 5}"),
}


class MediaWiki:
    """Answers as the Action API does: all words of a query must be in the article, "OR" lifts that."""

    def __init__(self, reply: Any) -> None:
        self._reply = reply
        self.searches: list[str] = []

    def __call__(self, query: dict[str, str]) -> Any:
        assert query["action"] == "query"
        assert query["formatversion"] == "2"
        if query.get("list") == "search":
            self.searches.append(query["srsearch"])
            words = query["srsearch"].lower().split(" or ")
            groups = [word.split() for word in words]
            hits = [
                {"ns": 0, "title": title, "pageid": key}
                for key, (title, text) in ARTICLES.items()
                if any(all(word in f"{title} {text}".lower() for word in group) for group in groups)
            ]
            return self._reply(json.dumps({"query": {"search": hits[: int(query["srlimit"])]}}))
        key = int(query["pageids"])
        title, text = ARTICLES[key]
        page = {"pageid": key, "title": title, "extract": text, "fullurl": f"https://wiki.example/{key}"}
        return self._reply(json.dumps({"query": {"pages": [page]}}))


@pytest.fixture
def wiki(site: Any, reply: Any) -> MediaWiki:
    answers = MediaWiki(reply)
    site.pages["/api.php"] = answers
    return answers


@pytest.fixture
def search(site: Any, tmp_path: Path) -> BaseTool:
    fetcher = Fetcher(FetchSettings(interval=0.0, retries=0), cache=FileCache(tmp_path), pacer=HostPacer())
    return make_wikipedia_search(base_url=f"{site.url}/api.php", fetcher=fetcher)


async def test_the_matching_passage_is_found_deep_in_an_article(
    wiki: MediaWiki, search: BaseTool, no_blocking: None
) -> None:
    result = await search.ainvoke({"query": "Mount Example height"})
    assert "4321 metres" in result
    assert "[1] Mount Example (https://wiki.example/7)" in result
    assert "other mountains" not in result, "the back matter is no passage"
    assert "==" not in result
    assert len(result) <= 1500


def test_a_sentence_without_hits_is_tried_with_its_words(wiki: MediaWiki, search: BaseTool) -> None:
    result = search.invoke({"query": "In which year was the band called Example formed?"})
    assert "formed in 1999 in Örebro" in result
    assert wiki.searches == [
        "In which year was the band called Example formed?",
        "which OR year OR band OR called OR Example OR formed",
    ]


def test_answers_are_kept(wiki: MediaWiki, search: BaseTool, site: Any) -> None:
    first = search.invoke({"query": "Mount Example height"})
    asked = len(site.requests)
    assert search.invoke({"query": "Mount Example height"}) == first
    assert len(site.requests) == asked == 2


def test_nothing_found_is_said_with_advice(wiki: MediaWiki, search: BaseTool) -> None:
    with pytest.raises(ToolException, match="fewer words") as caught:
        search.invoke({"query": "zzyzx"})
    assert not isinstance(caught.value, ToolUnavailable)
    with pytest.raises(ToolException, match="empty"):
        search.invoke({"query": "  "})


def test_an_error_with_status_200_is_an_error_and_not_kept(site: Any, reply: Any, search: BaseTool) -> None:
    site.pages["/api.php"] = reply(json.dumps({"error": {"code": "ratelimited", "info": "Too many requests"}}))
    for _ in range(2):
        with pytest.raises(ToolUnavailable, match="Too many requests"):
            search.invoke({"query": "Example"})
    assert len(site.requests) == 2
    site.pages["/api.php"] = reply("<html>maintenance</html>")
    with pytest.raises(ToolUnavailable, match="MediaWiki"):
        search.invoke({"query": "Example"})


def test_it_is_a_described_tool(search: BaseTool) -> None:
    assert search.name == "wikipedia_search"
    assert list(search.args) == ["query"]
    assert card_of(search).examples
    assert time_limit_of(search) > 0
