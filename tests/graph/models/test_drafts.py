"""Tokens that llama.cpp guesses and checks together: real llama.cpp with a tiny random model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from graph.errors import ConfigError
from graph.models.embedded import EmbeddedChat
from graph.models.server_settings import ServerSettings

SCHEMA = {
    "title": "verdict",
    "type": "object",
    "properties": {"reason": {"type": "string", "maxLength": 20}, "next": {"enum": ["stop", "continue"]}},
    "required": ["reason", "next"],
    "additionalProperties": False,
}
PROMPTS = ["a b a b a b a b", "Rule 7: count the ships. Rule 8: count the"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "cache"))


async def replies(gguf: Path, draft: int, **settings: Any) -> list[AIMessage]:
    server = ServerSettings(slots=2, context=1024, threads=1, draft=draft, **settings)
    chat = EmbeddedChat(model=str(gguf), settings=server, temperature=0.0, max_tokens=40)
    form = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA, "strict": True}}
    asked: list[dict[str, Any]] = [{}, {"response_format": form}, {"temperature": 1.0, "seed": 3}]
    return [await chat.ainvoke(prompt, **kind) for prompt in PROMPTS for kind in asked]


def guessed(messages: list[AIMessage]) -> int:
    """How many tokens were guessed right."""
    return sum(message.response_metadata["timings"].get("draft_n_accepted", 0) for message in messages)


async def test_right_guesses_are_used_and_wrong_ones_are_not(gguf: Path) -> None:
    plain, drafted = await replies(gguf, 0), await replies(gguf, 3)
    assert [message.text for message in drafted] == [message.text for message in plain]
    assert guessed(plain) == 0
    assert guessed(drafted) > 10
    assert guessed(await replies(gguf, 3, exact=True)) == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_log_probabilities_need_tokens_that_are_not_guessed(gguf: Path, stream: bool) -> None:
    drafting = EmbeddedChat(model=str(gguf), settings=ServerSettings(draft=3))
    with pytest.raises(ConfigError, match="leave out AGENTFLOW_EMBEDDED_DRAFT"):
        await (anext(drafting.astream("a", logprobs=True)) if stream else drafting.ainvoke("a", logprobs=True))
