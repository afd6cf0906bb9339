"""Kept beginnings of prompts: real llama.cpp with a tiny random model, restarted, and files that were tampered with."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from graph.models.embedded import EmbeddedChat
from graph.models.embedded_server import stop_servers
from graph.models.prefixes import Chat, Prefixes, PrefixFiles, Reading
from graph.models.server import Endpoint
from graph.models.server_settings import ServerSettings
from graph.prompts.examples import example_reply, example_request
from graph.trace import note_reply, traced

SYSTEM = " ".join(f"Rule {number}: count the ships." for number in range(40))
SETTINGS = ServerSettings(slots=2, context=2048, threads=1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prefixes"


async def reply_to(gguf: Path, question: str, **settings: int | bool) -> AIMessage:
    """A reply of a server that has just been started."""
    stop_servers()
    server = replace(SETTINGS, **settings)  # type: ignore[arg-type]
    model = EmbeddedChat(model=str(gguf), settings=server, temperature=0.0, max_tokens=8)
    return await model.ainvoke([("system", SYSTEM), ("user", question)])


async def ask(gguf: Path, question: str, **settings: int | bool) -> tuple[str, int, int]:
    """A reply of such a server, and the tokens that it read and that it had."""
    reply = await reply_to(gguf, question, **settings)
    timings = reply.response_metadata["timings"]
    return str(reply.text), timings["prompt_n"], timings["cache_n"]


async def test_a_second_process_reads_only_what_is_new(gguf: Path, cache: Path) -> None:
    first = await ask(gguf, "How many ships are there in the harbour?")
    (kept,) = cache.iterdir()
    before = kept.stat().st_mtime_ns
    again = await ask(gguf, "How many ships are there in the harbour?")
    other = await ask(gguf, "What is counted?")
    assert again == first
    assert min(again[2], other[2]) > 200
    assert max(again[1], other[1]) < 80
    assert [path.name for path in cache.iterdir()] == [kept.name]
    assert kept.stat().st_mtime_ns >= before


async def test_examples_are_kept_with_the_system_message(gguf: Path, cache: Path) -> None:
    async def read(question: str) -> int:
        stop_servers()
        model = EmbeddedChat(model=str(gguf), settings=SETTINGS, temperature=0.0, max_tokens=8)
        chat = [SystemMessage("Count."), example_request(SYSTEM), example_reply("forty"), HumanMessage(question)]
        return int((await model.ainvoke(chat)).response_metadata["timings"]["prompt_n"])

    await read("How many ships are there?")
    assert len(list(cache.iterdir())) == 1
    assert await read("What is counted?") < 80


async def test_a_trace_counts_the_static_beginning_where_it_is_read(gguf: Path, cache: Path) -> None:
    steps = []
    for _ in range(2):
        with traced() as trace:
            began = time.perf_counter()
            reply = await reply_to(gguf, "How many ships are there?")
            note_reply("verifier", 1, [], reply, began)
        steps += trace.as_dict()["steps"]
    read, restored = steps
    assert read["input_tokens"] == restored["input_tokens"]
    assert read["cached_tokens"] < 80
    assert restored["cached_tokens"] > 200
    assert 0 < read["reading_seconds"] < read["seconds"]


@pytest.mark.parametrize("damage", ["a flipped byte", "cut in half", "empty"])
async def test_a_damaged_file_is_read_anew(gguf: Path, cache: Path, damage: str) -> None:
    first = await ask(gguf, "How many ships are there?")
    (kept,) = cache.iterdir()
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes({"a flipped byte": content, "cut in half": content[: len(content) // 2], "empty": b""}[damage])
    assert await ask(gguf, "How many ships are there?") == first
    (new,) = cache.iterdir()
    assert new.name == kept.name
    assert new.read_bytes() != content


async def test_a_file_that_llama_cpp_refuses_is_replaced(
    gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update that changes the format without changing the build that it names."""
    first = await ask(gguf, "How many ships are there?")
    (kept,) = cache.iterdir()
    files = PrefixFiles(cache, "")
    wrong = cache / "wrong"
    wrong.write_bytes(b"another format" * 1000)
    key = kept.name.partition(".")[0]
    kept.unlink()
    files.keep(wrong, key)
    assert await ask(gguf, "How many ships are there?") == first
    (new,) = cache.iterdir()
    assert new.name == kept.name


async def test_exact_mode_and_a_cache_that_cannot_be_written_keep_nothing(
    gguf: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = await ask(gguf, "How many ships are there?", exact=True)
    assert exact[2] == 0
    assert not cache.exists()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "file"))
    assert await ask(gguf, "How many ships are there?")


def test_a_key_depends_on_everything_and_old_files_make_room(tmp_path: Path) -> None:
    files = PrefixFiles(tmp_path, "model a", most_bytes=2500)
    assert files.key([1, 2]) == PrefixFiles(tmp_path, "model a").key([1, 2])
    assert len({files.key([1, 2]), files.key([12]), files.key([2, 1]), PrefixFiles(tmp_path, "b").key([1, 2])}) == 4
    names = []
    for number in range(4):
        saved = tmp_path / "new"
        saved.write_bytes(bytes([number]) * 1000)
        files.keep(saved, f"key{number}")
        (name,) = [path.name for path in tmp_path.glob(f"key{number}.*")]
        os.utime(tmp_path / name, (number, number))
        names.append(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == names[-2:]
    assert files.intact("key3") == names[3]
    assert files.intact("key0") is None


async def test_a_beginning_whose_reading_was_cancelled_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    async def slow_at_first(*_: object) -> Reading:
        begun.append(1)
        await asyncio.sleep(30 if len(begun) == 1 else 0)
        return Reading(90, 1.0)

    monkeypatch.setattr(Prefixes, "_read", slow_at_first)
    prefixes = Prefixes(Endpoint("http://127.0.0.1:9"), PrefixFiles(tmp_path, "model a"), 1)
    prompt = [SystemMessage(SYSTEM), HumanMessage("How many ships are there?")]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.gather(prefixes.ensure(prompt), prefixes.ensure(prompt))
    assert [await prefixes.ensure(prompt) for _ in range(2)] == [Reading(90, 1.0), Reading()]
    assert len(begun) == 2


async def test_a_beginning_whose_reading_was_cancelled_keeps_its_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_into: list[tuple[str, int]] = []
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def read(_: Prefixes, chat: Chat, slot: int, *__: object) -> Reading:
        if chat[0][1] == "A":
            begun.set()
            await may_end.wait()
        read_into.append((chat[0][1], slot))
        return Reading(90, 1.0)

    monkeypatch.setattr(Prefixes, "_read", read)
    prefixes = Prefixes(Endpoint("http://127.0.0.1:9"), PrefixFiles(tmp_path, "model a"), 2)
    first, second = ([SystemMessage(name), HumanMessage("q")] for name in "AB")
    cancelled = asyncio.create_task(prefixes.ensure(first))
    await begun.wait()
    await prefixes.ensure(second)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    may_end.set()
    await prefixes.ensure(first)
    assert read_into == [("B", 1), ("A", 0)]


def test_what_was_left_unfinished_makes_room_too(tmp_path: Path) -> None:
    left = tmp_path / "key.4711.tmp"
    left.write_bytes(bytes(2000))
    os.utime(left, (1, 1))
    saved = tmp_path / "new"
    saved.write_bytes(bytes(1000))
    PrefixFiles(tmp_path, "model a", most_bytes=2500).keep(saved, "key")
    assert [path.suffix for path in tmp_path.iterdir()] == [".kv"]
