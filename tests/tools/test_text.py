from __future__ import annotations

import json
import os
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.text import TextStream, well_formed, well_formed_value, with_text_keys


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("café 😀", "café 😀"),
        ("half \ud83d", "half \ufffd"),
        ("\ude00 half", "\ufffd half"),
        ("\ud83d\ude00", "😀"),
        ("\ud83d\udc80", "💀"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("caf\udce9.txt", "caf\ufffd.txt"),
        ("caf\udcc3\udca9.txt", "café.txt"),
        ("a\0b", "a\ufffdb"),
    ],
)
def test_what_is_no_character_is_replaced(text: str, mended: str) -> None:
    assert well_formed(text) == mended
    assert well_formed_value({text: [text, (text, 1, None)]}) == {mended: [mended, (mended, 1, None)]}


def test_keys_become_texts() -> None:
    day = date(2024, 1, 2)
    assert with_text_keys([{day: (day, {1: "a", "b": None})}]) == [{"2024-01-02": (day, {"1": "a", "b": None})}]


@given(st.text(st.characters(exclude_categories=())))
def test_every_text_can_be_stored_and_sent(text: str) -> None:
    mended = well_formed(text)
    mended.encode("utf-8")
    assert "\0" not in mended
    assert well_formed(mended) == mended


@given(st.text())
def test_good_text_is_left_alone(text: str) -> None:
    text = text.replace("\0", "")
    assert well_formed(text) == text
    assert well_formed(json.loads(json.dumps(text))) == text


@given(st.binary())
def test_undecoded_bytes_become_what_utf8_makes_of_them(data: bytes) -> None:
    expected = data.decode("utf-8", "replace").replace("\0", "\ufffd")
    assert well_formed(data.decode("utf-8", "surrogateescape")) == expected
    assert well_formed(os.fsdecode(data)) == expected


@given(st.text(st.characters(exclude_categories=())), st.lists(st.integers(0, 5), max_size=30))
def test_pieces_add_up_to_the_whole(text: str, sizes: list[int]) -> None:
    stream, said, at = TextStream(), "", 0
    for size in [*sizes, len(text)]:
        said += stream.feed(text[at : at + size])
        at += size
    said += stream.end()
    said.encode("utf-8")
    halves = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert said == well_formed(halves)


@given(st.text(), st.integers(1, 4))
def test_bytes_in_pieces_add_up_to_their_characters(text: str, size: int) -> None:
    data = text.replace("\0", "").encode()
    stream = TextStream()
    pieces = [data[at : at + size].decode("utf-8", "surrogateescape") for at in range(0, len(data), size)]
    assert "".join(map(stream.feed, pieces)) + stream.end() == text.replace("\0", "")
