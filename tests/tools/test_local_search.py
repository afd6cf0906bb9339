from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import ToolException

from tools.bm25 import Bm25
from tools.corpus import fingerprint, read_corpus
from tools.local_search import LocalIndex, make_local_search
from tools.passages import Passage

ENTRIES: list[dict[str, Any]] = [
    {"id": 1, "title": "Alû", "text": "Alû is a vengeful spirit in a mythology of long ago."},
    {"id": "b", "title": "Łódź", "text": "Łódź is a city in Poland. 東京 is not."},
    {"id": 3, "title": "Season 4", "text": "The fourth season of the series began in autumn."},
]


def write_jsonl(path: Path, entries: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", ENTRIES)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the indexes that were built, not read from the cache."""
    sizes: list[int] = []
    build = Bm25.build

    def counted(documents: Any) -> Bm25:
        sizes.append(len(documents))
        return build(documents)

    monkeypatch.setattr(Bm25, "build", staticmethod(counted))
    return sizes


@pytest.mark.parametrize(
    ("query", "title"), [("ALU spirit", "Alû"), ("łódź", "Łódź"), ("東京", "Łódź"), ("series season 4", "Season 4")]
)
def test_it_finds_what_a_reader_would(corpus: Path, tmp_path: Path, query: str, title: str) -> None:
    hits = LocalIndex.open(corpus, cache_dir=tmp_path / "cache").search(query, k=3)
    assert hits[0].title == title
    assert hits[0].score > 0


def test_the_source_names_file_and_id(corpus: Path, tmp_path: Path) -> None:
    index = LocalIndex.open(corpus, cache_dir=tmp_path / "cache")
    assert [hit.source for hit in index.search("Poland")] == ["corpus.jsonl#b"]
    assert index.search("zzyzx") == []
    assert index.search("the of") == []


def test_the_index_is_read_back_not_built_again(corpus: Path, tmp_path: Path, builds: list[int]) -> None:
    cache = tmp_path / "cache"
    first = LocalIndex.open(corpus, cache_dir=cache).search("spirit city season", 3)
    moved = corpus.rename(tmp_path / "moved.jsonl")
    second = LocalIndex.open(moved, cache_dir=cache).search("spirit city season", 3)
    assert [(hit.title, hit.score) for hit in first] == [(hit.title, hit.score) for hit in second]
    assert builds == [3]
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []


def test_a_changed_corpus_gets_a_new_index(corpus: Path, tmp_path: Path, builds: list[int]) -> None:
    cache = tmp_path / "cache"
    LocalIndex.open(corpus, cache_dir=cache)
    write_jsonl(corpus, [*ENTRIES, {"title": "New", "text": "A llama arrived."}])
    assert LocalIndex.open(corpus, cache_dir=cache).search("llama")[0].title == "New"
    assert builds == [3, 4]


@pytest.mark.parametrize("damage", ["halve", "empty", "remove"])
def test_a_damaged_index_is_built_again(corpus: Path, tmp_path: Path, builds: list[int], damage: str) -> None:
    cache = tmp_path / "cache"
    LocalIndex.open(corpus, cache_dir=cache)
    (home,) = cache.iterdir()
    for file in home.iterdir():
        if damage != "remove":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 if damage == "halve" else 0])
        elif file.name.startswith("data"):
            file.unlink()
    for _ in range(2):
        assert LocalIndex.open(corpus, cache_dir=cache).search("spirit")[0].title == "Alû"
    assert builds == [3, 3]


def test_without_a_cache_it_still_works(corpus: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert LocalIndex.open(corpus, cache_dir=blocked / "cache").search("spirit")[0].title == "Alû"


def test_a_folder_is_a_corpus(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "deep" / "garden.md").write_text("intro\n\n# The Garden\n\nRoses grow by the wall.\n", encoding="utf-8")
    (folder / "boat_trip.txt").write_bytes("\ufeffWir fuhren über den See.".encode())
    (folder / ".git" / "x.md").write_text("Roses hidden", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    index = LocalIndex.open(folder, cache_dir=tmp_path / "cache")
    assert [(hit.title, hit.source) for hit in index.search("roses")] == [("The Garden", "deep/garden.md")]
    assert [(hit.title, hit.text) for hit in index.search("see fuhren")] == [("boat trip", "Wir fuhren über den See.")]
    before = fingerprint(folder)
    (folder / "boat_trip.txt").rename(folder / "trip.txt")
    assert fingerprint(folder) != before


def test_files_of_other_kinds_are_told_in_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.md", "b.html", "c.PDF", "d.html", ".hidden.pdf"):
        (tmp_path / name).write_text("A text.")
    read_corpus(tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: 3 files of other kinds were left out (.html, .pdf)."
    ]
    caplog.clear()
    for name in ("b.html", "c.PDF", "d.html"):
        (tmp_path / name).unlink()
    read_corpus(tmp_path)
    assert not caplog.records


def test_a_text_alone_is_a_corpus(tmp_path: Path) -> None:
    text = tmp_path / "handbook.md"
    text.write_text("# The Garden\n\nRoses grow by the wall.\n", encoding="utf-8")
    index = LocalIndex.open(text, cache_dir=tmp_path / "cache")
    assert [(hit.title, hit.source) for hit in index.search("roses")] == [("The Garden", "handbook.md")]
    lines = write_jsonl(tmp_path / "lines.txt", ENTRIES)  # the same content as JSONL is another corpus
    assert fingerprint(lines) != fingerprint(lines.rename(tmp_path / "lines.jsonl"))


def test_long_texts_are_cut_into_passages(tmp_path: Path) -> None:
    text = "Filler sentence number one. " * 200 + "\n\nThe needle is here.\n\n" + "More filler follows now. " * 200
    passages = read_corpus(write_jsonl(tmp_path / "c.jsonl", [{"id": 9, "title": "Long", "text": text}]))
    assert len(passages) > 5
    assert {passage.source for passage in passages} == {"c.jsonl#9"}
    assert "needle" in LocalIndex.build(passages).search("needle", 1)[0].text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{oops", "at column 2)"),
        ("[1]", "a JSON list, not an object"),
        ('{"title": "T"}', 'no "text"'),
        ('{"text": "  "}', 'no "text"'),
        ('{"text": 5}', 'no "text"'),
        ('{"text": "x", "title": 5}', '"title" is an int'),
        ('{"text": "x", "id": [1]}', '"id" is a list'),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "fine"}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 3") as caught:
        read_corpus(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "Write one object a line" in str(caught.value)


def test_other_bad_corpora_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no corpus at"):
        read_corpus(tmp_path / "missing.jsonl")
    with pytest.raises(ValueError, match="no corpus at"):
        make_local_search(tmp_path / "missing.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="holds no text"):
        read_corpus(tmp_path / "empty.jsonl")
    (tmp_path / "signs.jsonl").write_text('{"id": "the", "text": "of ... !"}\n')
    with pytest.raises(ValueError, match="no words to search for"):
        LocalIndex.open(tmp_path / "signs.jsonl", cache_dir=tmp_path / "cache")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"no text file.*\.md"):
        read_corpus(tmp_path / "folder")
    (tmp_path / "handbook.pdf").write_bytes(b"%PDF-1.7 \xff")
    with pytest.raises(ValueError, match=r"handbook\.pdf can be neither JSONL nor text: .*\.md"):
        read_corpus(tmp_path / "handbook.pdf")


def test_what_is_no_character_in_a_corpus_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"text": "M\xfcnchen"}\n{"text": "half \\ud83d", "title": "a\\u0000b"}\n')
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"caf\xe9")
    passages = [*read_corpus(path), *read_corpus(folder)]
    assert [passage.text for passage in passages] == ["M\ufffdnchen", "half \ufffd", "caf\ufffd"]
    assert passages[1].title == "a\ufffdb"
    assert passages[2].source == "caf\ufffd.txt"
    assert "latin.jsonl, line 1: not UTF-8" in caplog.text
    fingerprint(folder)
    make_local_search(folder, cache_dir=tmp_path / "cache").invoke({"query": "caf\udce9"})


async def test_the_tool_answers_without_blocking(corpus: Path, tmp_path: Path, no_blocking: None) -> None:
    tool = await asyncio.to_thread(make_local_search, corpus, cache_dir=tmp_path / "cache")
    results = await asyncio.gather(*(tool.ainvoke({"query": "spirit"}) for _ in range(4)))
    assert set(results) == {
        "[1] Alû (corpus.jsonl#1)\nAlû is a vengeful spirit in a mythology of long ago.",
    }
    assert tool.invoke({"query": "spirit"}) == results[0]


def test_a_bad_corpus_is_reported_before_any_question(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("oops\n")
    with pytest.raises(ValueError, match="line 1"):
        make_local_search(tmp_path / "bad.jsonl")


def test_the_tool_says_when_it_finds_nothing(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolException, match="Use other words"):
        make_local_search(corpus, cache_dir=tmp_path / "cache").invoke({"query": "zzyzx"})
    with pytest.raises(ValueError, match="at least 1"):
        make_local_search(corpus, k=0, cache_dir=tmp_path / "cache")


def test_ten_thousand_passages_take_seconds_then_milliseconds() -> None:
    words = [f"word{i}" for i in range(5000)]
    passages = [
        Passage(f"Title {i}", " ".join(words[(i * 37 + j * j) % 5000] for j in range(70)), "s") for i in range(10_000)
    ]
    start = time.process_time()
    index = LocalIndex.build(passages)
    built = time.process_time()
    for i in range(50):
        assert index.search(f"title {i} word{i}", 5)
    # CPU time: what the work itself takes, however busy the machine is.
    assert built - start < 30
    assert (time.process_time() - built) / 50 < 0.05


@pytest.mark.parametrize(("wanted", "shown"), [("", 2), ("1", 1), ("3", 3)])
def test_the_environment_says_how_many_passages_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, shown: int
) -> None:
    monkeypatch.setenv("AGENTFLOW_PASSAGES", wanted)
    corpus = tmp_path / "towns.jsonl"
    corpus.write_text("".join(json.dumps({"title": f"Town {n}", "text": f"A town of {n}."}) + "\n" for n in range(4)))
    result = make_local_search(corpus, cache_dir=tmp_path / "cache").invoke({"query": "town"})
    assert result.count("Town ") == shown
    monkeypatch.setenv("AGENTFLOW_PASSAGES", "some")
    with pytest.raises(ValueError, match="AGENTFLOW_PASSAGES is 'some'"):
        make_local_search(corpus, cache_dir=tmp_path / "cache")
