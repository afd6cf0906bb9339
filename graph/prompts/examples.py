"""Example exchanges in a prompt: small models learn a form of reply from them better than from its description."""

from __future__ import annotations

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage

_MARK = "example"


def example_request(text: str) -> AnyMessage:
    """A request that was never made."""
    return HumanMessage(text, additional_kwargs={_MARK: True})


def example_reply(text: str) -> AnyMessage:
    """The reply to it."""
    return AIMessage(text, additional_kwargs={_MARK: True})


def is_example(message: BaseMessage) -> bool:
    """Whether a message is part of an example, and therefore the same in all prompts of its kind."""
    return _MARK in message.additional_kwargs
