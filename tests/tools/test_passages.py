from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.bm25 import terms
from tools.passages import (
    Passage,
    best_sentences,
    format_passages,
    rank_passages,
    split_passages,
    split_sentences,
)

prose = st.text(st.sampled_from("ab cé.?!\n\tÜ漢。…\"') "), max_size=400) | st.text(max_size=200)


def squeeze(text: str) -> str:
    return "".join(text.split())


@given(prose, st.integers(1, 120))
def test_splitting_loses_nothing_and_keeps_the_limit(text: str, limit: int) -> None:
    passages = split_passages(text, limit)
    assert squeeze("".join(passages)) == squeeze(text)
    assert all(0 < len(passage) <= limit and passage == passage.strip() for passage in passages)


@given(prose)
def test_sentences_lose_nothing(text: str) -> None:
    assert squeeze("".join(split_sentences(text))) == squeeze(text)


@given(st.lists(st.lists(st.sampled_from(["alpha", "beta", "gamma"]), min_size=1, max_size=9), min_size=1, max_size=6))
def test_words_stay_whole_when_they_fit(paragraphs: list[list[str]]) -> None:
    text = "\n\n".join(" ".join(words) for words in paragraphs)
    assert " ".join(split_passages(text, 12)).split() == text.split()


def test_splitting_prefers_paragraphs_then_sentences() -> None:
    text = "One is short.\n\nTwo is a longer paragraph. It has a second sentence.\n\nThree."
    assert split_passages(text, 30) == [
        "One is short.",
        "Two is a longer paragraph.",
        "It has a second sentence.",
        "Three.",
    ]
    assert split_passages(text, 1000) == [text.replace("\n\n", "\n")]


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        split_passages("text", 0)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Dr. J. R. Smith lived c. 1243 in York. He died there.", 2),
        ("Is it so? Yes! Good.", 3),
        ("東京は首都です。大阪は都市です。", 2),
        ("version 2.5 of e.g. this", 1),
    ],
)
def test_sentences_end_where_a_reader_says(text: str, count: int) -> None:
    assert len(split_sentences(text)) == count


def test_terms_fold_what_readers_take_for_the_same() -> None:
    assert terms("Alû") == terms("alu")
    assert terms("Bach's sonatas") == terms("bach sonata")
    assert "4" in terms("season 4")
    assert terms("the of and") == []
    assert terms("東京都") == ["東", "京", "都"]


@given(st.lists(st.sampled_from(["river", "bridge", "stone", "tower"]), min_size=1, max_size=5), st.integers(1, 5))
def test_ranking_is_sorted_bounded_and_only_matches(words: list[str], k: int) -> None:
    passages = [Passage(f"T{i}", f"{word} {'filler ' * i}", "s") for i, word in enumerate(words)]
    ranked = rank_passages("river bridge", passages, k)
    assert len(ranked) <= k
    assert [hit.score for hit in ranked] == sorted((hit.score for hit in ranked), reverse=True)
    assert all(hit.text.split()[0] in ("river", "bridge") for hit in ranked)
    assert len(ranked) == min(k, sum(word in ("river", "bridge") for word in words))


def test_ranking_nothing_finds_nothing() -> None:
    assert rank_passages("anything", [], 3) == []
    assert rank_passages("anything", [Passage("", "the of", "")], 3) == []
    assert rank_passages("", [Passage("Title", "text", "")], 3) == []


def test_the_title_counts_more_than_the_text() -> None:
    passages = [Passage("Rivers", "London and Paris lie on them.", ""), Passage("Paris", "A city on the Seine.", "")]
    assert rank_passages("Paris", passages, 1)[0].title == "Paris"


FILLER = "Nothing of note is said here at all. "


def test_a_long_passage_keeps_the_sentence_that_answers() -> None:
    text = FILLER * 30 + "The bridge was opened in 1894 by the Prince of Wales. " + FILLER * 30
    result = format_passages([Passage("Tower Bridge", text, "https://example.org/tb")], "Tower Bridge opened", 300)
    assert "opened in 1894" in result
    assert result.startswith("[1] Tower Bridge (https://example.org/tb)\n")
    assert "…" in result


@given(st.lists(prose, min_size=1, max_size=5), st.integers(700, 2000))
def test_results_keep_to_their_size_and_number_every_passage(texts: list[str], limit: int) -> None:
    result = format_passages([Passage(f"T{i}", text, "src") for i, text in enumerate(texts)], "漢 a b", limit)
    assert len(result) <= limit
    assert all(f"[{number}] T{number - 1} (src)\n" in result for number in range(1, len(texts) + 1))


@given(prose, st.integers(20, 100))
def test_shortened_text_fits(text: str, limit: int) -> None:
    assert len(best_sentences(text, {"漢": 1.0, "c": 0.5}, limit)) <= limit


def test_a_single_endless_sentence_is_cut_around_the_query() -> None:
    text = "word " * 200 + "needle " + "word " * 200
    short = best_sentences(text, {"needl": 1.0}, 120)
    assert "needle" in short
    assert short.startswith("…")
    assert short.endswith("…")


def test_short_passages_leave_their_room_to_long_ones() -> None:
    passages = [Passage("A", "Short.", ""), Passage("B", FILLER * 40, "")]
    result = format_passages(passages, "note", 600)
    assert 500 < len(result) <= 600
