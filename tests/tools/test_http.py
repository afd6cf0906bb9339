from __future__ import annotations

import asyncio
import gzip
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import ToolException

from tools.errors import ToolUnavailable
from tools.filecache import FileCache
from tools.http import Fetched, Fetcher, FetchSettings, retry_after, run
from tools.pacing import HostPacer


def fetcher(cache: FileCache | None = None, **settings: Any) -> Fetcher:
    settings = {"interval": 0.0, "backoff": 0.01, "timeout": 5.0, **settings}
    return Fetcher(FetchSettings(**settings), cache=cache, pacer=HostPacer())


async def test_says_who_it_is_and_returns_what_it_got(site: Any, reply: Any) -> None:
    site.pages["/a"] = reply("hällo", headers={"Content-Type": "text/plain; charset=utf-8"})
    fetched = await fetcher().get(f"{site.url}/a", {"q": "x y"})
    assert fetched == Fetched(f"{site.url}/a?q=x+y", "text/plain; charset=utf-8", "hällo".encode())
    await fetcher().get(f"{site.url}/a?flag&b=%20c#part")
    assert site.requests == ["/a?q=x+y", "/a?flag&b=%20c"]
    assert site.agents[0].startswith("agentflow-langgraph/")


async def test_a_failing_host_is_tried_again(site: Any, reply: Any) -> None:
    answers = [reply(status=503), reply(status=429), reply("fine")]
    site.pages["/a"] = lambda _: answers.pop(0)
    assert (await fetcher().get(f"{site.url}/a")).body == b"fine"
    assert len(site.requests) == 3


async def test_retries_end(site: Any, reply: Any) -> None:
    site.pages["/a"] = reply(status=500)
    with pytest.raises(ToolUnavailable, match="500"):
        await fetcher(retries=1).get(f"{site.url}/a")
    assert len(site.requests) == 2


async def test_retry_after_is_obeyed(site: Any, reply: Any) -> None:
    answers = [reply(status=429, headers={"Retry-After": "1"}), reply("fine")]
    site.pages["/a"] = lambda _: answers.pop(0)
    start = time.monotonic()
    assert (await fetcher().get(f"{site.url}/a")).body == b"fine"
    assert time.monotonic() - start >= 1


async def test_a_host_that_asks_for_more_time_than_there_is_gets_it(site: Any, reply: Any) -> None:
    site.pages["/a"] = reply(status=429, headers={"Retry-After": "3600"})
    patient = fetcher()
    with pytest.raises(ToolUnavailable, match="429"):
        await patient.get(f"{site.url}/a")
    with pytest.raises(ToolUnavailable, match="another 3"):
        await patient.get(f"{site.url}/b")
    assert site.requests == ["/a"]


def test_retry_after_reads_seconds_and_dates() -> None:
    assert retry_after("7") == 7
    assert retry_after(None) is None
    assert retry_after("soon") is None
    later = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert later is not None
    assert 55 < later <= 60
    assert retry_after("Fri, 01 Jan 1999 00:00:00 GMT") == 0


async def test_requests_to_one_host_are_spaced_out(site: Any, reply: Any) -> None:
    site.pages["/a"] = reply("fine")
    slow = fetcher(interval=0.1)
    start = time.monotonic()
    await asyncio.gather(*(slow.get(f"{site.url}/a") for _ in range(4)))
    assert time.monotonic() - start >= 0.3


async def test_the_same_thing_is_fetched_once(site: Any, reply: Any, tmp_path: Path) -> None:
    site.pages["/a"] = reply("fine")
    cached = fetcher(interval=0.1, cache=FileCache(tmp_path))
    together = await asyncio.gather(*(cached.get(f"{site.url}/a") for _ in range(3)))
    assert await fetcher(cache=FileCache(tmp_path)).get(f"{site.url}/a#part") == together[0]
    assert len(site.requests) == 1


async def test_old_and_bad_answers_are_not_kept(site: Any, reply: Any, tmp_path: Path) -> None:
    site.pages["/a"] = reply("fine")

    def refuse(_: Fetched) -> None:
        raise ToolUnavailable("an error in disguise")

    with pytest.raises(ToolUnavailable, match="disguise"):
        await fetcher(cache=FileCache(tmp_path)).get(f"{site.url}/a", check=refuse)
    await fetcher(cache=FileCache(tmp_path)).get(f"{site.url}/a")
    await fetcher(cache=FileCache(tmp_path, max_age=-1)).get(f"{site.url}/a")
    assert len(site.requests) == 3


async def test_a_public_fetcher_is_not_served_what_a_private_one_kept(site: Any, reply: Any, tmp_path: Path) -> None:
    site.pages["/a"] = reply("internal")
    await fetcher(cache=FileCache(tmp_path)).get(f"{site.url}/a")
    with pytest.raises(ToolException, match="public internet"):
        await fetcher(cache=FileCache(tmp_path), public_only=True).get(f"{site.url}/a")


async def test_a_big_body_is_cut(site: Any, reply: Any) -> None:
    site.pages["/a"] = reply(b"x" * 100_000)
    fetched = await fetcher(max_bytes=1000).get(f"{site.url}/a")
    assert (len(fetched.body), fetched.truncated) == (1000, True)


async def test_a_packed_body_is_unpacked_up_to_the_limit(site: Any, reply: Any) -> None:
    site.pages["/a"] = reply(gzip.compress(b"x" * 50_000_000), headers={"Content-Encoding": "gzip"})
    fetched = await fetcher(max_bytes=1000).get(f"{site.url}/a")
    assert (fetched.body, fetched.truncated) == (b"x" * 1000, True)
    site.pages["/b"] = reply(gzip.compress(b"small"), headers={"Content-Encoding": "gzip"})
    assert (await fetcher().get(f"{site.url}/b")).body == b"small"
    site.pages["/c"] = reply(b"?", headers={"Content-Encoding": "br"})
    with pytest.raises(ToolException, match="br"):
        await fetcher().get(f"{site.url}/c")


async def test_a_slow_host_ends_in_time(site: Any, reply: Any) -> None:
    release = threading.Event()

    def slow(_: dict[str, str]) -> Any:
        release.wait(60)
        return reply("late")

    site.pages["/a"] = slow
    start = time.monotonic()
    with pytest.raises(ToolUnavailable, match=r"0\.3 s"):
        await fetcher(timeout=0.3).get(f"{site.url}/a")
    assert time.monotonic() - start < 30
    release.set()


async def test_nobody_there_is_the_services_fault(site: Any) -> None:
    site.close()
    with pytest.raises(ToolUnavailable, match="could not be reached"):
        await fetcher().get(f"{site.url}/a")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://example.org/a", "no web address"),
        ("file:///etc/passwd", "no web address"),
        ("https://", "no web address"),
        ("http://[::1", "no valid address"),
        ("http://user:secret@example.org/", "user name"),
    ],
)
async def test_what_is_no_web_address_is_the_callers_fault(url: str, words: str) -> None:
    with pytest.raises(ToolException, match=words) as caught:
        await fetcher().get(url)
    assert not isinstance(caught.value, ToolUnavailable)
    assert "secret" not in str(caught.value)


async def test_a_missing_page_is_the_callers_fault_and_not_retried(site: Any) -> None:
    with pytest.raises(ToolException, match="404") as caught:
        await fetcher().get(f"{site.url}/nothing")
    assert not isinstance(caught.value, ToolUnavailable)
    assert len(site.requests) == 1


async def test_redirects_are_followed_but_not_for_ever(site: Any, reply: Any) -> None:
    site.pages["/a"] = reply(status=302, headers={"Location": "/b"})
    site.pages["/b"] = reply("there")
    site.pages["/loop"] = reply(status=302, headers={"Location": "/loop"})
    site.pages["/odd"] = reply(status=302, headers={"Location": "file:///etc/passwd"})
    assert (await fetcher().get(f"{site.url}/a")).url == f"{site.url}/b"
    with pytest.raises(ToolException, match="redirects more than"):
        await fetcher().get(f"{site.url}/loop")
    with pytest.raises(ToolException, match="no web page"):
        await fetcher().get(f"{site.url}/odd")


async def test_run_works_inside_and_outside_a_loop() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert run(answer()) == 42
    assert await asyncio.to_thread(lambda: run(answer())) == 42


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache = FileCache(blocked / "cache")
    cache.put("key", b"value")
    assert cache.get("key") is None


def test_the_cache_forgets_what_is_old(tmp_path: Path) -> None:
    FileCache(tmp_path, max_age=-1).put("old", b"1")
    assert len(list(tmp_path.iterdir())) == 1
    FileCache(tmp_path, max_age=-1).put("new", b"2")
    assert len(list(tmp_path.iterdir())) == 1
