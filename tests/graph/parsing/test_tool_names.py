"""The exact name decides; what two tools could be called names none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.parsing import match_tool, parse_plan

TOOLS = ("python", "wikipedia_search", "web_search")
CONFUSABLE = [
    ("查天气", "查股价"),
    ("погода", "курс"),
    ("get-user", "get_user"),
    ("Search", "search"),
    ("c", "c++", "c#"),
    ("a_b", "a.b", "ab"),
    ("météo", "meteo"),
    ("🔍", "🗑️"),
    ("हिंदी", "हिदी"),
    ("delete", "delete_all"),
    ("ask!", "ask?"),
]


@pytest.mark.parametrize("names", CONFUSABLE)
@pytest.mark.parametrize(
    "form", ["{}", "`{}`", '"{}"', "**{}**", "({})", "{} (to look it up)", "use {}", "{}\nIt helps."]
)
def test_tools_that_would_be_confused_are_told_apart_by_their_exact_names(names: tuple[str, ...], form: str) -> None:
    for name in names:
        assert match_tool(form.format(name), names) == name
        assert parse_plan(f"Sub-Goal: x\nTool Name: {form.format(name)}", names)["tool_name"] == name


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True))
def test_an_exact_name_is_never_taken_for_another(names: list[str]) -> None:
    for name in names:
        assert match_tool(name, names) == name


@given(st.lists(st.text(alphabet="aAbB-_.", min_size=1, max_size=4), min_size=2, max_size=5, unique=True), st.data())
def test_what_two_tools_could_be_called_names_none(names: list[str], data: st.DataObject) -> None:
    written = data.draw(st.text(alphabet="aAbB-_.", min_size=1, max_size=4))
    plain = written.strip("-_.").casefold()
    bearers = [name for name in names if re.sub("[-_.]", "", name.casefold()) == re.sub("[-_.]", "", plain)]
    found = match_tool(written, names)
    assert found is None or found in bearers
    if len(bearers) > 1 and not any(name in written for name in names):
        assert found is None


@pytest.mark.parametrize(
    ("text", "names", "tool"),
    [
        ("`Python` (to compute)", TOOLS, "python"),
        ("the Python tool.", TOOLS, "python"),
        ("python_tool", TOOLS, "python"),
        ("use Web-Search please", TOOLS, "web_search"),
        ("WebSearch", TOOLS, "web_search"),
        ("ＰＹＴＨＯＮ", TOOLS, "python"),
        ("I would search with web_search", TOOLS, "web_search"),
        ("web search pro", ("web_search", "web_search_pro"), "web_search_pro"),
        ("Python: compute it, web_search comes later", TOOLS, "python"),
        ("get_weather(city='Rome')", ("get_weather",), "get_weather"),
        ("查订单（查询）", ("查订单", "删订单"), "查订单"),
        ("C++", ("c", "c++"), "c++"),
        ("2. python", TOOLS, "python"),
        ("- **python**", TOOLS, "python"),
        ("functions.python", TOOLS, "python"),
        # What names no tool, or two:
        ("either python or web_search", TOOLS, None),
        ("python or web_search", TOOLS, None),
        ("python, then web_search", TOOLS, None),
        ("web search", ("web", "search"), None),
        ("SEARCH", ("Search", "search"), None),
        ("getuser", ("get-user", "get_user"), None),
        ("delete order", ("order", "cancel"), None),
        ("删订单", ("订单",), None),
        ("get_user_admin", ("get_user",), None),
        ("python-repl", TOOLS, None),
        ("hindi", ("हिंदी",), None),
        ("", TOOLS, None),
        ("***", TOOLS, None),
    ],
)
def test_a_name_is_read_through_its_decoration_and_never_guessed(
    text: str, names: tuple[str, ...], tool: str | None
) -> None:
    assert match_tool(text, names) == tool
