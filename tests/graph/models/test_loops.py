"""Replies that repeat themselves are cut off, and asked for once more in another way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from graph.models.calling import replies_of
from graph.models.embedded import EmbeddedChat
from graph.models.loops import REPETITION, ROUNDS, repeats, with_penalty
from graph.models.server_settings import ServerSettings


@given(st.text(max_size=400), st.text(min_size=1, max_size=160), st.integers(0, 40))
def test_only_a_phrase_that_fills_the_end_counts(before: str, phrase: str, more: int) -> None:
    looped = phrase * max(ROUNDS + more, 240 // len(phrase) + 1)
    assert repeats(before + looped) == any(character.isalpha() for character in phrase)
    assert repeats(before + looped + phrase[: len(phrase) // 2]) == repeats(before + looped)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the salt works of Pellow, " * (ROUNDS - 1),
        "no, " * 50 + "yes",
        "ha " * 60,
        "| --- " * 60,
        "0, " * 200,
        "\n".join(f"row {n}: the same words again and again" for n in range(100)),
        "The cat sat on the mat. " * 9 + "The dog did not.",
    ],
)
def test_what_is_no_loop(text: str) -> None:
    assert not repeats(text)


async def test_a_model_in_a_loop_is_cut_off_and_asked_once_more(gguf: Path) -> None:
    """A random model at temperature 0 repeats itself soon."""
    settings = ServerSettings(slots=1, context=2048)
    chat = EmbeddedChat(model=str(gguf), temperature=0.0, max_tokens=1500, settings=settings)
    streamed = [chunk async for chunk in chat.astream("Write.")]
    assert [chunk.response_metadata.get("finish_reason") for chunk in streamed].count(REPETITION) == 1
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in streamed if chunk.usage_metadata) < 1500

    replies = [reply async for reply, _ in replies_of(chat, [HumanMessage("Write.")], {})]
    assert len(replies) == 2
    first, second = replies
    assert first.text == "".join(str(chunk.text) for chunk in streamed)
    assert not repeats(str(second.text))


def test_only_what_was_cut_off_is_asked_for_again() -> None:
    chat = EmbeddedChat(model="0.5b", extra_body={"top_k": 1})
    assert with_penalty(chat, AIMessage("so", response_metadata={"finish_reason": "length"})) is None
    cut = AIMessage("so so so", response_metadata={"finish_reason": REPETITION})
    again = with_penalty(chat, cut)
    assert isinstance(again, EmbeddedChat)
    assert again.extra_body["top_k"] == 1
    assert again.extra_body["dry_multiplier"] > 0
    assert with_penalty(again, cut) is None
