from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool, ToolException, tool

from tools.card import ToolCard, card_of, time_limit_of
from tools.generalist import make_generalist
from tools.registry import BUILT_IN, load_tool


@tool
def shout(text: str) -> str:
    """Makes a text loud."""
    return text.upper()


def make_shout() -> BaseTool:
    return shout


def model_saying(*texts: str) -> GenericFakeChatModel:
    replies: Iterator[AIMessage] = iter([AIMessage(text) for text in texts])
    return GenericFakeChatModel(messages=replies)


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_tools.py").write_text(
        "from langchain_core.tools import tool\n"
        "@tool\n"
        "def shout(text: str) -> str:\n"
        "    'Makes a text loud.'\n"
        "    return text.upper()\n"
        "def make() :\n"
        "    return shout\n"
        "def plain(text: str) -> str:\n"
        "    'Makes a text loud.'\n"
        "    return text.upper()\n"
        "def wordless(text: str) -> str:\n"
        "    return text\n"
        "number = 5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_every_built_in_tool_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.local_search.cache_home", lambda: tmp_path)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"title": "T", "text": "x"}\n')
    for name in BUILT_IN:
        made = load_tool(name, corpus=corpus, model=model_saying("x"))
        assert made.name == name
        assert made.args_schema is not None
        assert made.args
        assert time_limit_of(made) > 0
        card = (made.metadata or {}).get("card")
        assert isinstance(card, ToolCard)
        assert card.input
        assert card.examples
        assert card.limitations
        assert card.best_practices
        # Cards stand in a small model's prompt: some 60 to 110 tokens with the description, at 4 characters a token.
        words = [made.description, card.input, *card.limitations, *card.best_practices]
        words += [example.input for example in card.examples]
        if name != "python":
            assert sum(map(len, words)) < 440, name


def test_an_unknown_tool_names_the_known_and_the_near() -> None:
    with pytest.raises(ValueError, match=r"Did you mean wikipedia_search.*python, wikipedia_search") as caught:
        load_tool("wikipedia")
    assert "package.module:attribute" in str(caught.value)


def test_what_a_tool_lacks_is_said() -> None:
    with pytest.raises(ValueError, match="--corpus FILE"):
        load_tool("local_search")
    with pytest.raises(ValueError, match="needs a model"):
        load_tool("generalist")


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("attribute", ["shout", "make", "plain"])
def test_anybodys_tool_is_loaded_by_import_path(attribute: str) -> None:
    made = load_tool(f"my_own_tools:{attribute}")
    assert made.invoke({"text": "hey"}) == "HEY"
    assert card_of(made).input == "text"


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_such_module_at_all:x", "cannot be imported"),
        ("my_own_tools:missing", "has no 'missing'"),
        ("my_own_tools:", "Write package.module:attribute"),
        ("my_own_tools:number", "is an int"),
        ("my_own_tools:wordless", "has no docstring"),
        (":x", "Write package.module:attribute"),
    ],
)
def test_a_bad_import_path_is_explained(spec: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_tool(spec)


async def test_the_generalist_asks_its_model() -> None:
    made = make_generalist(model_saying("Paris.", " Rome. "))
    assert made.invoke({"question": "Capital of France?"}) == "Paris."
    assert await made.ainvoke({"question": "Capital of Italy?"}) == "Rome."


def test_a_generalist_without_words_is_a_failure_and_a_long_one_is_cut() -> None:
    with pytest.raises(ToolException, match="no answer"):
        make_generalist(model_saying("  ")).invoke({"question": "?"})
    answer = make_generalist(model_saying("word " * 1000), max_chars=100).invoke({"question": "?"})
    assert len(answer) <= 100
    assert answer.endswith("word …")


def test_importing_the_package_is_cheap_and_complete() -> None:
    code = (
        "import sys, tools\n"
        "heavy = {'httpx', 'pydantic', 'bm25s', 'numpy', 'ddgs', 'trafilatura', 'mcp', 'langchain_core'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "import tools.registry\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "tools.make_wikipedia_search(); tools.make_read_url(); tools.make_web_search()\n"
        "assert not {'bm25s', 'numpy', 'ddgs', 'trafilatura', 'mcp'} & set(sys.modules)\n"
        "assert all(getattr(tools, name) for name in tools.__all__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
