from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool, ToolException

from tools.filecache import FileCache
from tools.http import Fetcher, FetchSettings
from tools.pacing import HostPacer
from tools.page import make_read_url

PARAGRAPH = "The harbour town has fish markets, narrow lanes and a long pier that visitors like to walk along at dusk. "
ARTICLE = (
    "<html><head><title>Harbour Town</title></head><body><nav><a href='/'>Home</a> <a href='/x'>Login</a></nav>"
    "<article><h1>Harbour Town</h1>"
    + "".join(f"<p>{PARAGRAPH * 3}({i})</p>" for i in range(12))
    + "<p>The lighthouse on the cliff was built in 1857 by the engineer Ada Marlow for the harbour company.</p>"
    + "".join(f"<p>{PARAGRAPH * 3}({i})</p>" for i in range(12, 24))
    + "</article><script>alert('not text')</script></body></html>"
)
HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.fixture
def reader(tmp_path: Path) -> BaseTool:
    settings = FetchSettings(interval=0.0, retries=0)
    return make_read_url(fetcher=Fetcher(settings, cache=FileCache(tmp_path), pacer=HostPacer()))


async def test_the_passage_that_answers_is_found(site: Any, reply: Any, reader: BaseTool, no_blocking: None) -> None:
    site.pages["/town"] = reply(ARTICLE, headers=HTML)
    result = await reader.ainvoke({"url": f"{site.url}/town", "query": "lighthouse built"})
    assert "built in 1857" in result
    assert result.startswith(f"Harbour Town ({site.url}/town)\n[1] ")
    assert "alert" not in result
    assert "Login" not in result
    assert len(result) <= 1500


def test_without_a_query_the_page_begins_at_its_beginning(site: Any, reply: Any, reader: BaseTool) -> None:
    site.pages["/town"] = reply(ARTICLE, headers=HTML)
    result = reader.invoke({"url": f"{site.url}/town"})
    assert "fish markets" in result
    assert "1857" not in result
    assert len(result) <= 1500


def test_a_query_that_matches_nothing_says_so(site: Any, reply: Any, reader: BaseTool) -> None:
    site.pages["/town"] = reply(ARTICLE, headers=HTML)
    result = reader.invoke({"url": f"{site.url}/town", "query": "xylophone"})
    assert result.startswith("Nothing on the page matches 'xylophone'")
    assert "fish markets" in result


@pytest.mark.parametrize(
    ("charset", "codec", "title", "sentence"),
    [
        ("gbk", "gbk", "城市", "北京是中华人民共和国的首都。"),
        ("gb2312", "gbk", "朱镕基", "朱镕基曾任中华人民共和国国务院总理。"),
        ("Shift_JIS", "shift_jis", "東京", "東京は日本の首都です。1868年に江戸から改称されました。"),
        ("windows-1251", "cp1251", "Город", "Москва основана в 1147 году."),
        ("iso-8859-1", "cp1252", "Café", "The café was “founded” in 1686."),
        ("utf-8", "utf-8-sig", "Ülm", "Die Stadt Ülm liegt an der Donau."),
        ("utf-8", "cp1251", "Город", "Москва основана в 1147 году князем Юрием Долгоруким, столица России."),
        ("no-such-charset", "utf-8", "Ülm", "Die Stadt Ülm liegt an der Donau."),
        ("idna", "utf-8", "Ülm", "Die Stadt Ülm liegt an der Donau."),
    ],
)
@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="{}"?>'])
def test_a_page_is_read_in_the_charset_that_its_header_declares(
    site: Any, reply: Any, reader: BaseTool, charset: str, codec: str, title: str, sentence: str, declaration: str
) -> None:
    named = "" if codec == "utf-8-sig" or charset != "utf-8" else f"<meta charset='{codec.replace('cp', 'windows-')}'>"
    page = (
        f"{declaration.format(codec)}<html><head>{named}<title>{title}</title></head>"
        f"<body><article><p>{sentence}</p></article></body></html>"
    )
    site.pages["/p"] = reply(page.encode(codec), headers={"Content-Type": f"text/html; charset={charset}"})
    result = reader.invoke({"url": f"{site.url}/p"})
    assert sentence in result
    assert title in result


def test_plain_text_is_read_in_its_own_charset(site: Any, reply: Any, reader: BaseTool) -> None:
    site.pages["/t"] = reply("Müßiggang".encode("latin-1"), headers={"Content-Type": "text/plain; charset=iso-8859-1"})
    assert "Müßiggang" in reader.invoke({"url": f"{site.url}/t"})
    site.pages["/j"] = reply('{"answer": 42}', headers={"Content-Type": "application/json; charset=nonsense"})
    assert '{"answer": 42}' in reader.invoke({"url": f"{site.url}/j"})


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"%PDF-1.7", "application/pdf", "application/pdf"),
        (b"<html><body><script>draw()</script></body></html>", "text/html", "no readable text"),
        (b"  ", "text/plain", "is empty"),
    ],
)
def test_what_cannot_be_read_is_said(
    site: Any, reply: Any, reader: BaseTool, body: bytes, kind: str, words: str
) -> None:
    site.pages["/x"] = reply(body, headers={"Content-Type": kind})
    with pytest.raises(ToolException, match=words):
        reader.invoke({"url": f"{site.url}/x"})


def test_a_scheme_is_added_where_it_is_missing(site: Any) -> None:
    with pytest.raises(ToolException, match="public internet"):
        make_read_url().invoke({"url": f"127.0.0.1:{site.port}/"})
    with pytest.raises(ToolException, match="public internet"):
        make_read_url().invoke({"url": f"localhost:{site.port}/"})
    with pytest.raises(ToolException, match="no web address"):
        make_read_url().invoke({"url": "javascript:alert(1)"})


async def test_private_pages_need_the_opt_out(
    site: Any, reply: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.page.cache_home", lambda: tmp_path)
    site.pages["/"] = reply("inside", headers={"Content-Type": "text/plain"})
    with pytest.raises(ToolException, match="public internet"):
        await make_read_url().ainvoke({"url": site.url})
    assert site.requests == []
    assert "inside" in await make_read_url(allow_private_addresses=True).ainvoke({"url": site.url})


def test_hostile_html_ends_in_time(site: Any, reply: Any, reader: BaseTool) -> None:
    site.pages["/deep"] = reply("<div>" * 100_000 + "text", headers=HTML)
    start = time.monotonic()
    with pytest.raises(ToolException, match="no readable text"):
        reader.invoke({"url": f"{site.url}/deep"})
    assert time.monotonic() - start < 20
