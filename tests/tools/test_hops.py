"""The second hop: what the first passages add to a question finds the next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.local_search import LocalIndex
from tools.passages import Passage

TEXTS = {
    "Port Ellery": "A harbour town on the coast, founded in 1683 by the shipwright Agnes Corvell.",
    "Agnes Corvell": "She was born in Lisken and built 43 ships.",
    "Lisken": "A village of 1,260 inhabitants in the hills.",
    "Hollin": "A harbour town on the south coast, founded by fishermen, with 26 boats.",
    "Oakhythe": "A town on the coast where weavers founded a guild.",
    "Nora Fisk": "A painter. Her daughter with Ole Brand is an actress.",
    "Wedding of the year": "A painter was married on the harbour; the guests came from a town near the coast.",
    "Tilda Brand": "The actress Tilda is the child of Ole Brand; nobody else in her family was on the stage.",
    "Fisk (ship)": "A ship of the harbour.",
}


def index(texts: dict[str, str]) -> LocalIndex:
    return LocalIndex.build([Passage(title, text, f"{title}.txt") for title, text in texts.items()])


def found(query: str, k: int = 2) -> list[str]:
    return [passage.title for passage in index(TEXTS).search(query, k)]


def test_a_title_that_the_first_passage_mentions_comes_next() -> None:
    assert found("In which village was the founder of the harbour town Port Ellery born?") == [
        "Port Ellery",
        "Agnes Corvell",
    ]
    assert "Lisken" in found("In which village was the founder of the harbour town Port Ellery born?", 3)


def test_a_name_that_the_first_passage_adds_comes_next_with_the_words_it_lacks() -> None:
    assert found("Which child of Nora Fisk, the painter, was on the stage?")[:2] == ["Nora Fisk", "Tilda Brand"]


def test_what_the_question_names_comes_first() -> None:
    assert set(found("Is Hollin larger than Port Ellery, the harbour town?")) == {"Hollin", "Port Ellery"}
    assert found("Lisken inhabitants", 1) == ["Lisken"]


@pytest.mark.parametrize("query", ["", "?", "zebra", "the of and"])
def test_a_query_without_a_match_has_no_second_hop(query: str) -> None:
    assert found(query) == []


def test_of_a_long_text_one_passage_gains() -> None:
    texts = {"Start": "The Start leads to Long Text.", "Other": "Something starts here."}
    passages = [Passage(title, text, "") for title, text in texts.items()]
    passages += [Passage("Long Text", f"Part {n} of it", "") for n in range(9)]
    titles = [passage.title for passage in LocalIndex.build(passages).search("Where does the Start lead?", 9)]
    assert titles.count("Long Text") == 1


LETTERS = st.text(st.sampled_from("Aa Bb\n.,(é秘X1-'"), max_size=30)


@given(st.lists(st.tuples(LETTERS, LETTERS), min_size=1, max_size=6), LETTERS, st.integers(1, 8))
def test_any_corpus_and_query_work_and_repeat(texts: list[tuple[str, str]], query: str, k: int) -> None:
    built = LocalIndex.build([Passage(title, text, str(n)) for n, (title, text) in enumerate(texts)])
    hits = built.search(query, k)
    assert len({hit.source for hit in hits}) == len(hits) <= k
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(hit.score > 0 for hit in hits)
    assert built.search(query, k) == hits
