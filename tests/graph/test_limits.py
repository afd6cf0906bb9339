"""Whoever sends a context to a served graph runs no code, reads no file and is sent no key of the operator."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from graph import Context, build_graph
from graph.errors import ConfigError
from graph.models.spec import is_harmless
from tests.graph.conftest import Serve, double_tool, shout_tool

SHELL = "subprocess:getoutput"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tools": ["double", SHELL]}, "names 'subprocess:getoutput'.*AGENTFLOW_TRUST_CONTEXT.*tools here are double"),
        ({"tools": ["python"]}, "`tools` names 'python'"),
        ({"corpus": "/etc"}, "`corpus` names '/etc'.*leave it out"),
        ({"model": "m@http://evil.example/v1"}, "`model` names .*name `embedded`"),
        ({"planner": "embedded+/etc/passwd.gguf"}, "`planner` names"),
        ({"generator": "./folder"}, "`generator` names"),
    ],
)  # fmt: skip
async def test_an_untrusted_context_names_nothing_of_the_operators(
    serve: Serve, settings: dict[str, Any], words: str
) -> None:
    server = serve()
    graph = build_graph(tools=[double_tool], models=server.spec, trust_context=False)
    with pytest.raises(ConfigError, match=words):
        await graph.ainvoke({"question": "q"}, context=settings)  # type: ignore[arg-type]  # as JSON gives it
    assert not server.requests


async def test_an_untrusted_context_chooses_among_what_the_operator_named(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "town.txt").write_text("A town.")
    server = serve()
    graph = build_graph(
        tools=[double_tool, shout_tool, "local_search"], models=server.spec, corpus=tmp_path, trust_context=False
    )
    settings = Context(
        tools=("double", "local_search"), model=server.spec, planner="", corpus=str(tmp_path), ask_before=()
    )
    assert (await graph.ainvoke({"question": "q"}, context=settings))["answer"] == "42"
    assert "shout" not in str(server.asked("planner")[0].messages)


async def test_a_program_may_put_anything_into_its_own_context(serve: Serve) -> None:
    server = serve()
    context = Context(model=server.spec, tools=("tests.graph.conftest:double_tool",))
    assert (await build_graph().ainvoke({"question": "q"}, context=context))["answer"] == "42"


@pytest.mark.parametrize(
    "spec",
    ["embedded", "embedded:0.5b", "ollama:qwen3:4b", "openai:gpt-4o-mini", "together:meta/Llama", "google-genai:g"],
)
def test_bare_names_reach_nothing_of_the_operators(spec: str) -> None:
    assert is_harmless(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "http://evil.example/v1", "m@http://evil.example/v1", "vllm:m@https://evil.example", "openai:m@http://e/v1",
        "ollama:m@http://e/v1", "./planner", "planner.gguf", "embedded:/etc/model.gguf", "embedded:evil/repo:Q4",
        "embedded+./a.gguf", "openai:a+./a.gguf", "huggingface:evil/repo", "openai:../x", "openai:", "",
    ],
)  # fmt: skip
def test_addresses_files_and_repositories_are_no_bare_names(spec: str) -> None:
    assert not is_harmless(spec)


def test_every_setting_that_is_text_says_whether_it_names_something() -> None:
    """A new setting that holds free text must be marked with `names`, or be listed here as harmless."""
    texts = {field.name for field in fields(Context) if "str" in str(field.type)}
    assert {field.name for field in fields(Context) if field.metadata.get("names")} == texts - {"ask_before"}


async def test_the_operator_configures_the_served_graph_by_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graph.studio import served_graph

    server = serve()
    with pytest.raises(ConfigError, match=SHELL):
        await served_graph().ainvoke({"question": "q"}, context={"model": "embedded", "tools": [SHELL]})
    monkeypatch.setenv("AGENTFLOW_MODEL", server.spec)
    monkeypatch.setenv("AGENTFLOW_TOOLS", "tests.graph.conftest:double_tool, tests.graph.conftest:shout_tool")
    graph = served_graph()
    assert (await graph.ainvoke({"question": "q"}, context={"tools": ["double"]}))["answer"] == "42"
    with pytest.raises(ConfigError, match="tools here are double, shout"):
        await graph.ainvoke({"question": "q"}, context={"tools": [SHELL]})
    monkeypatch.setenv("AGENTFLOW_TRUST_CONTEXT", "1")
    context = {"tools": ["tests.graph.conftest:double_tool"]}
    assert (await served_graph().ainvoke({"question": "q"}, context=context))["answer"] == "42"
    monkeypatch.setenv("AGENTFLOW_TRUST_CONTEXT", "yes")
    with pytest.raises(ConfigError, match="must be 1 or 0"):
        served_graph()
