"""`read_url`: the readable text of a web page, or the passages of it that match a query."""

from __future__ import annotations

import asyncio
import codecs
import re

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from tools.card import Example, ToolCard
from tools.errors import ToolUnavailable
from tools.filecache import FileCache, cache_home
from tools.http import Fetched, Fetcher, FetchSettings, run
from tools.passages import RESULT_CHARS, Passage, format_passages, rank_passages, split_passages
from tools.text import Text

_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.\-]*:(?!\d)")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:\-]+)", re.IGNORECASE)
_HTML = ("text/html", "application/xhtml+xml")
_AS_BROWSERS = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932",
    "euc_kr": "cp949", "iso8859-9": "cp1254",
}  # fmt: skip
"""Charsets, as Python calls them, that browsers read as a larger one (https://encoding.spec.whatwg.org/#names-and-labels)."""
_LONG_PAGE = 200_000  # bytes
_PLAIN = ("text/", "application/json", "application/xml", "application/ld+json")


class ReadUrlArguments(BaseModel):
    """Arguments of `read_url`."""

    url: Text = Field(description="The address of the page, with https://.")
    query: Text = Field(default="", description="What to look for on the page; leave empty for its beginning.")


_CARD = ToolCard(
    quotes_sources=True,
    input="the address of a page, and what to look for on it",
    examples=(
        Example(
            question="Which release date does https://example.org/news give?",
            reason="The page is named, so it can be read.",
            context="https://example.org/news",
            sub_goal="Read the release date on the page",
            input="https://example.org/news, release date",
        ),
    ),
    limitations=("Reads public web pages and plain text, no PDF, video or log-in.",),
    best_practices=("Use an address that a search returned; do not invent one.",),
)


def readable(fetched: Fetched) -> Passage:
    """The title and text of a page, as one long passage.

    Raises:
        ToolException: it is no text, or none can be found in it.
    """
    kind = fetched.content_type.partition(";")[0].strip().lower()
    declared = _declared(fetched)
    if kind in _HTML or (not kind and b"<" in fetched.body[:1000]):
        from trafilatura import bare_extraction
        from trafilatura.settings import Document

        # Without `fast`, other extractors are tried and compared: better on short pages, many seconds on long ones.
        fast = len(fetched.body) > _LONG_PAGE
        page = bare_extraction(
            fetched.body if declared is None else declared,
            url=fetched.url,
            include_comments=False,
            with_metadata=True,
            fast=fast,
        )
        text = page.text if isinstance(page, Document) else None
        if not isinstance(page, Document) or not text or not text.strip():
            raise ToolException(f"{fetched.url} has no readable text; it may need a browser. Try another page.")
        return Passage(page.title or fetched.url, text, fetched.url)
    if kind and not kind.startswith(_PLAIN):
        raise ToolException(f"{fetched.url} is {kind}, not a web page or text. Try another page.")
    text = fetched.body.decode("utf-8", errors="replace") if declared is None else declared
    if not text.strip():
        raise ToolException(f"{fetched.url} is empty. Try another page.")
    return Passage(fetched.url, text, fetched.url)


def _declared(fetched: Fetched) -> str | None:
    """The text in the charset that the server declares; None if it names none that is known, or the text belies it."""
    charset = _CHARSET.search(fetched.content_type)
    if charset is None:
        return None
    try:
        name = codecs.lookup(charset[1]).name
        text = fetched.body.decode(_AS_BROWSERS.get(name, name), errors="replace").removeprefix("\ufeff")
    except (LookupError, UnicodeError):
        return None
    return None if text.count("\ufffd") * 100 > len(text) else text


def _show(fetched: Fetched, query: str, k: int, max_chars: int) -> str:
    page = readable(fetched)
    if len(page.text) <= max_chars:
        return format_passages([page], query, max_chars)
    # One heading for the page, not one per passage: they all have the same source.
    pieces = [Passage("", piece, "") for piece in split_passages(page.text)]
    found = rank_passages(query, pieces, k) if query.strip() else pieces[:1]
    note = "" if found else f"Nothing on the page matches {query!r}; it begins:\n"
    if not query.strip() or not found:
        begin = split_passages(page.text, max_chars - len(note) - len(page.title) - len(page.source) - 8)[0]
        return f"{note}{page.title} ({page.source})\n{begin} …"
    shown = format_passages(found, query, max_chars - len(page.title) - len(page.source) - 4)
    return f"{page.title} ({page.source})\n{shown}"


def make_read_url(
    *,
    k: int = 4,
    max_chars: int = RESULT_CHARS,
    max_bytes: int = 1_000_000,
    time_limit: float = 30.0,
    allow_private_addresses: bool = False,
    fetcher: Fetcher | None = None,
) -> BaseTool:
    """A tool that reads a web page.

    Args:
        k: Passages in a result, when there is a query.
        max_chars: Characters of a result, about.
        max_bytes: What of a page is read at most.
        time_limit: Seconds a call may take.
        allow_private_addresses: Also read pages of this machine and its network. Whoever writes the question then
            reads them too: only for tests and closed networks.
        fetcher: Makes the requests, in place of one made from the settings above.
    """
    if fetcher is None:
        settings = FetchSettings(
            timeout=time_limit - 5 if time_limit > 10 else time_limit / 2,
            max_bytes=max_bytes,
            public_only=not allow_private_addresses,
        )
        fetcher = Fetcher(settings, cache=FileCache(cache_home() / "http"))

    async def aread(url: str, query: str = "") -> str:
        url = url.strip().strip("<>")
        try:
            async with asyncio.timeout(time_limit):
                fetched = await fetcher.get(url if _SCHEME.match(url) else f"https://{url}")
                return await asyncio.to_thread(_show, fetched, query, k, max_chars)
        except TimeoutError:
            raise ToolUnavailable(f"{url} could not be read within {time_limit:g} s.") from None

    def read(url: str, query: str = "") -> str:
        return run(aread(url, query))

    return StructuredTool.from_function(
        read,
        coroutine=aread,
        name="read_url",
        description="Reads a public web page and returns its text, or the passages that match a query.",
        args_schema=ReadUrlArguments,
        metadata={"card": _CARD, "time_limit": time_limit + 5},
    )
