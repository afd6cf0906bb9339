"""Whatever a tool returns becomes a text that says what it is."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import ToolMessage
from pydantic import BaseModel, Field, RootModel, SecretStr
from pydantic.v1 import BaseModel as OldModel

from tools.results import as_text

DAY = date(2024, 1, 2)


@dataclasses.dataclass
class Part:
    number: int
    since: date = DAY
    inner: Part | None = None
    key: str = dataclasses.field(default="hidden", repr=False)


class Model(BaseModel):
    number: int = Field(alias="No")
    price: Decimal
    password: SecretStr = SecretStr("hidden")


class Raw(BaseModel):
    raw: bytes = b"\xff\xfe"


class Old(OldModel):
    number: int


class Colour(Enum):
    RED = "red"


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Plain:
    def __init__(self) -> None:
        self.number, self._hidden = 1, 2


Pair = collections.namedtuple("Pair", "left right")


def counting() -> Iterator[Any]:
    yield 1
    yield {"day": DAY}


PART = '{"number": 1, "since": "2024-01-02", "inner": null}'
IMAGE = {"type": "image", "base64": "AA", "mime_type": "image/png"}
CIRCLE: dict[str, Any] = {}
CIRCLE["me"] = CIRCLE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("as it is", "as it is"),
        (True, "true"),
        (3, "3"),
        (math.nan, "NaN"),
        (Decimal("1.10"), "1.10"),
        (Fraction(1, 3), "1/3"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a/b"), "/a/b"),
        (datetime(2024, 1, 2, 3, 4, tzinfo=UTC), "2024-01-02T03:04:00+00:00"),
        (Colour.RED, "red"),
        ({DAY: 1, (1, DAY): 2}, '{"2024-01-02": 1, "1, 2024-01-02": 2}'),
        ({np.int64(3): 3, None: 4, Colour.RED: 5}, '{"3": 3, "null": 4, "red": 5}'),
        ({1: "a", "1": "b"}, '[[1, "a"], ["1", "b"]]'),
        ({"a": None, "b": Decimal("1.10")}, '{"a": null, "b": "1.10"}'),
        (Part(1, DAY, Part(2, DAY)), f'{{"number": 1, "since": "2024-01-02", "inner": {PART.replace("1", "2", 1)}}}'),
        ([Part(1)], f"[{PART}]"),
        (Model(No=1, price=Decimal("1.10")), '{"No": 1, "price": "1.10", "password": "**********"}'),
        ([Raw()], '[{"raw": "[binary data of 2 bytes, not shown]"}]'),
        (RootModel[list[int]]([1]), "[1]"),
        (Old(number=1), '{"number": 1}'),
        (Pair(1, "b"), '{"left": 1, "right": "b"}'),
        (SimpleNamespace(a=1), '{"a": 1}'),
        (Plain(), '{"number": 1}'),
        ({3, 1, 2}, "[1, 2, 3]"),
        (frozenset(), "[]"),
        (collections.deque([1]), "[1]"),
        ({"a": 1}.values(), "[1]"),
        (range(3), "[0, 1, 2]"),
        (counting(), '[1, {"day": "2024-01-02"}]'),
        (b"text", "text"),
        (b"caf\xe9, 42", "caf\ufffd, 42"),
        (b"\x89PNG\0\0", "[PNG image of 6 bytes, not shown]"),
        (b"\0\xff", "[binary data of 2 bytes, not shown]"),
        (CIRCLE, '{"me": "[the same dict again]"}'),
        (ValueError("bad"), "ValueError: bad"),
        ([Mute()], '["[object of the class Mute, which cannot be shown: RuntimeError]"]'),
        (object(), "[object of the class object]"),
        ([10**5000], '["[a whole number of about 5,000 digits]"]'),
        (np.float32(1.5), "1.5"),
        (np.array([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]"),
        ({"mean": np.float64(2.0), "ok": np.bool_(True)}, '{"mean": 2.0, "ok": true}'),
        (np.datetime64("2024-01-02"), "2024-01-02"),
        (ToolMessage("said", tool_call_id="1"), "said"),
        ([{"type": "text", "text": "a"}, "b", IMAGE], "a\nb\n[image (image/png), not shown]"),
        ([{"type": "file", "url": "file:///a", "id": "1"}], "[file at file:///a, not shown]"),
        ([{"type": "file", "url": "file:///a", "size": 1}], '[{"type": "file", "url": "file:///a", "size": 1}]'),
        ([{"text": "a", "score": 1}], '[{"text": "a", "score": 1}]'),
        ([{"type": "file", "name": "a.txt"}], '[{"type": "file", "name": "a.txt"}]'),
        (["a", "b"], '["a", "b"]'),
    ],
)
def test_values(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_tables_are_whole() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"n": range(100), "word": ["x"] * 100})
    assert as_text(frame).splitlines()[:2] == ["n,word", "0,x"]
    assert len(as_text(frame).splitlines()) == 101
    assert as_text({"table": frame.head(1)}) == '{"table": [{"n": 0, "word": "x"}]}'
    assert as_text(pandas.Series([1], index=["a"], name="v")) == ",v\na,1"
    assert as_text(pandas.Timestamp("2024-01-02")) == "2024-01-02T00:00:00"


def test_pictures_are_named() -> None:
    image = pytest.importorskip("PIL.Image").new("RGB", (3, 4))
    assert as_text(image) == "[image of 3 x 4 pixels, not shown]"
    assert as_text([image, 1]) == '["[image of 3 x 4 pixels, not shown]", 1]'


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (itertools.count(), "what comes after is left out"),
        (list(range(10**6)), "more left out"),
        (dict.fromkeys(range(10**5)), "more left out"),
        (np.zeros((1000, 1000)), "an array of the shape (1000, 1000), too large"),
    ],
)
def test_what_has_no_end_is_cut(value: Any, words: str) -> None:
    text = as_text(value)
    assert words in text
    assert len(text) < 400_000


def test_what_is_nested_without_end_is_cut() -> None:
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    assert "nested too deep to be shown" in as_text(value)


def test_an_iterator_that_fails_fails_the_call() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        as_text(failing())


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.dates()
KEYS = st.text() | st.integers() | st.dates() | st.tuples(st.integers(), st.text()) | st.none() | st.booleans()
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner) | st.tuples(inner) | st.builds(Part, inner, inner),
    max_leaves=10,
)


@given(ANYTHING)
def test_anything_has_a_text_and_the_same_one_each_time(value: Any) -> None:
    text = as_text(value)
    assert as_text(value) == text
    if isinstance(value, list | dict | tuple) and value:
        json.loads(text)


@given(st.dictionaries(st.text(), st.lists(st.integers() | st.text() | st.booleans() | st.none())))
def test_json_stays_json(value: Any) -> None:
    assert json.loads(as_text(value)) == value
