"""The real `ddgs` against a web server of our own that answers as one of its engines does."""

from __future__ import annotations

import time
from html import escape
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, ToolException

from tools.errors import ToolUnavailable
from tools.filecache import FileCache
from tools.web import WebSearchSettings, make_web_search


def results_page(*results: tuple[str, str, str]) -> str:
    items = "".join(
        f"<li><h2><a href='{href}'>{escape(title)}</a></h2><p class='s'>{escape(body)}</p></li>"
        for title, href, body in results
    )
    return f"<html><body><ul class='results'>{items}</ul></body></html>"


@pytest.fixture
def engine(site: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    from ddgs.engines.mojeek import Mojeek

    monkeypatch.setattr(Mojeek, "search_url", f"{site.url}/search")
    return site


def tool(tmp_path: Path, **settings: Any) -> BaseTool:
    settings = {"backend": "mojeek", "interval": 0.0, "retries": 0, **settings}
    return make_web_search(WebSearchSettings(**settings), cache=FileCache(tmp_path))


PAGE = results_page(
    ("Nobel Prize – Überblick", "https://example.org/nobel", "The laureates were announced on Tuesday."),
    ("Physics", "https://example.org/physics", "Physics is a science."),
)


async def test_results_come_with_title_address_and_excerpt(
    engine: Any, reply: Any, tmp_path: Path, no_blocking: None
) -> None:
    engine.pages["/search"] = reply(PAGE)
    result = await tool(tmp_path).ainvoke({"query": "Nobel laureates"})
    assert "Nobel Prize – Überblick (https://example.org/nobel)\nThe laureates were announced on Tuesday." in result
    assert "[2] " in result


def test_the_same_search_is_made_once(engine: Any, reply: Any, tmp_path: Path) -> None:
    engine.pages["/search"] = reply(PAGE)
    first = tool(tmp_path).invoke({"query": "Nobel laureates"})
    asked = len(engine.requests)
    assert tool(tmp_path).invoke({"query": "Nobel laureates"}) == first
    assert len(engine.requests) == asked


def test_no_result_is_said_with_advice(engine: Any, reply: Any, tmp_path: Path) -> None:
    engine.pages["/search"] = reply(results_page())
    with pytest.raises(ToolException, match="fewer or more common words") as caught:
        tool(tmp_path).invoke({"query": "zzyzx"})
    assert not isinstance(caught.value, ToolUnavailable)


def test_an_engine_out_of_reach_is_tried_again_then_reported(engine: Any, tmp_path: Path) -> None:
    engine.close()
    start = time.monotonic()
    with pytest.raises(ToolUnavailable, match="No search engine answered"):
        tool(tmp_path, retries=1).invoke({"query": "anything"})
    assert time.monotonic() - start >= 1


def test_searches_are_spaced_out(engine: Any, reply: Any, tmp_path: Path) -> None:
    engine.pages["/search"] = reply(PAGE)
    search = tool(tmp_path, interval=0.4)
    time.sleep(1)  # whatever earlier tests reserved is over
    start = time.monotonic()
    for query in ("one", "two", "three"):
        search.invoke({"query": query})
    assert time.monotonic() - start >= 0.8


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'altavista'.*auto, .*duckduckgo"):
        WebSearchSettings(backend="mojeek, altavista")
