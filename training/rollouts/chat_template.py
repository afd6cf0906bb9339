"""A tokenizer's chat template: conversations as text and token ids, and what the template can and cannot express.

Foreign text (results, questions, edited history, tool schemas) is neutralised before it is rendered: control tokens
are spelled so that they stay text, and a web page cannot end a turn or forge a call. What the policy wrote keeps its
own marks, but cannot hold a special token either.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations
from typing import Any

from jinja2 import TemplateError

from graph.errors import ConfigError
from training.rollouts.conversation import NO_TOOLS, Message, ToolCall, ToolSet

MARKS = ("Alpha one.", "Bravo two.", "Charlie three.", "Delta four.")
"""Texts of the conversations that a template is tried with."""

_Relaxation = Callable[[Sequence[Message]], Sequence[Message]]

PROBE_TOOL = "probe_tool"
PROBE = ToolSet(
    (
        {
            "type": "function",
            "function": {
                "name": PROBE_TOOL,
                "description": "Probe.",
                "parameters": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
            },
        },
    )
)


class ChatTemplate:
    """Renders conversations for one tokenizer.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.

    Raises:
        ConfigError: the template is missing, or takes no system message.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError("The model's tokenizer has no chat template; train an instruction-tuned model.")
        self.tokenizer = tokenizer
        self._text = str(tokenizer.chat_template)
        self.special = frozenset(tokenizer.all_special_tokens)
        """Tokens that a text is never to hold."""
        control = self.special | {token for token in tokenizer.get_added_vocab() if token.strip()}
        self._control = sorted(control, key=len, reverse=True)
        self._special = sorted(self.special, key=len, reverse=True)
        self._arguments_as_text = False
        self._relaxations: list[_Relaxation] = []
        self._thinking_in_content = False
        try:
            self._rendered([Message("system", MARKS[0]), Message("user", MARKS[1])], NO_TOOLS, prompt=True)
        except TemplateError as error:
            raise ConfigError(
                f"The model's chat template cannot hold a conversation that opens with a system message: {error}."
            ) from error
        reply = Message("assistant", MARKS[3], thinking=MARKS[2])
        apart = MARKS[2] in self.render([Message("user", MARKS[1]), reply], prompt=False)
        self._thinking_in_content = not apart and "</think>" in self._text
        self.thinks = apart or any(word in self._text for word in ("</think>", "reasoning", "thinking"))
        """Whether the template treats thinking apart from the content."""

    # Texts

    def render(self, messages: Sequence[Message], tools: ToolSet = NO_TOOLS, *, prompt: bool = True) -> str:
        """The conversation as the template writes it; with `prompt` up to where the next reply begins.

        Raises:
            ConfigError: the template cannot express such a conversation.
        """
        try:
            return self._rendered(messages, tools, prompt)
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise ConfigError(
                f"The model's chat template cannot hold a conversation of these messages: {roles}. It says: {error}."
            ) from error

    def _rendered(self, messages: Sequence[Message], tools: ToolSet, prompt: bool) -> str:
        """With what the template was found to need, or else with the fewest relaxations that help."""
        refusal: TemplateError | None = None
        tried: list[Sequence[Message]] = []
        for more in chain.from_iterable(combinations(_RELAXATIONS, n) for n in range(len(_RELAXATIONS) + 1)):
            chosen = [each for each in _RELAXATIONS if each in self._relaxations or each in more]
            relaxed: Sequence[Message] = list(messages)
            for relax in chosen:
                relaxed = relax(relaxed)
            if relaxed in tried:
                continue
            tried.append(relaxed)
            try:
                text = self._applied(relaxed, tools, prompt)
            except TemplateError as error:
                refusal = refusal or error
            else:
                self._relaxations = chosen
                return text
        assert refusal is not None
        raise refusal

    def _applied(self, messages: Sequence[Message], tools: ToolSet, prompt: bool) -> str:
        turns = [self._plain(message) for message in messages]
        schemas = [self._neutral_values(schema) for schema in tools.schemas] or None
        try:
            text = self.tokenizer.apply_chat_template(
                turns, tools=schemas, tokenize=False, add_generation_prompt=prompt
            )
        except TypeError:
            if self._arguments_as_text or not any(message.calls for message in messages):
                raise
            self._arguments_as_text = True  # a template that joins the arguments to its text (DeepSeek V3)
            return self._applied(messages, tools, prompt)
        return str(text)

    def _plain(self, message: Message) -> dict[str, Any]:
        neutral = self.own_text if message.own else self.neutral
        plain: dict[str, Any] = {"role": message.role, "content": neutral(message.content)}
        if message.thinking:
            plain |= dict.fromkeys(("reasoning_content", "thinking"), neutral(message.thinking))
            if self._thinking_in_content:
                plain["content"] = f"<think>\n{neutral(message.thinking)}\n</think>\n\n{plain['content']}"
        if message.role == "tool":
            plain |= {"name": self.neutral(message.name), "tool_call_id": self.neutral(message.call_id)}
        if message.calls:
            plain["tool_calls"] = [self._plain_call(call) for call in message.calls]
        return plain

    def _plain_call(self, call: ToolCall) -> dict[str, Any]:
        arguments = self._neutral_values(call.arguments)
        if self._arguments_as_text:
            arguments = json.dumps(arguments, ensure_ascii=False)
        function = {"name": self.neutral(call.name), "arguments": arguments}
        return {"type": "function", "id": self.neutral(call.id), "function": function}

    def _neutral_values(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.neutral(value)
        if isinstance(value, Mapping):
            return {self.neutral(str(key)): self._neutral_values(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._neutral_values(item) for item in value]
        return value

    def neutral(self, text: str) -> str:
        """Foreign text, with control tokens spelled so that they stay text."""
        return _spelled(text, self._control)

    def own_text(self, text: str) -> str:
        """The policy's text, which keeps the marks of its format but no special token."""
        return _spelled(text, self._special)

    # Token ids

    def encode(self, text: str) -> list[int]:
        """The ids of a text, control tokens included, nothing added."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of ids; with `special` all tokens are shown."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=not special))

    def token(self, id_: int) -> str:
        """The text of one token as the vocabulary has it."""
        return str(self.tokenizer.convert_ids_to_tokens(id_))

    def first_control(self, text: str) -> int | None:
        """The first control token in a rendered text."""
        return next((id_ for id_ in self.encode(text) if self.token(id_) in self._control), None)

    # What the template can hold

    @functools.cached_property
    def opens_reply(self) -> str:
        """The generation prompt: what the template puts before a reply."""
        messages = [Message("system", MARKS[0]), Message("user", MARKS[1])]
        with_it = self.render(messages)
        return with_it[common_length(with_it, self.render(messages, prompt=False)) :]

    @functools.cached_property
    def one_call(self) -> bool:
        """Whether a reply can hold only one call."""
        calls = tuple(ToolCall(f"probe_{n}", {}, f"c0000000{n}") for n in range(2))
        messages = [Message("user", MARKS[0]), Message("assistant", calls=calls)]
        try:
            text = self._rendered(messages, NO_TOOLS, prompt=False)
        except TemplateError:
            return True
        return _one_call_each in self._relaxations or "probe_1" not in text

    @functools.cached_property
    def refuses_tools(self) -> str:
        """Why the template cannot be used with tools; empty if it can."""
        question = Message("user", MARKS[0])
        call = Message("assistant", calls=(ToolCall(PROBE_TOOL, {"key": MARKS[1]}, "c00000000"),))
        result = Message("tool", MARKS[2], name=PROBE_TOOL, call_id="c00000000")
        try:
            offered = self.render([question], PROBE)
            used = self.render([question, call, result], PROBE)
        except ConfigError as error:
            return str(error)
        shown = {
            "tools that are offered": PROBE_TOOL in offered,
            "calls": used.count(PROBE_TOOL) > offered.count(PROBE_TOOL) and MARKS[1] in used,
            "results": MARKS[2] in used,
        }
        missing = next((what for what, is_shown in shown.items() if not is_shown), None)
        return f"The model's chat template leaves out {missing}." if missing else ""


# What is changed in a conversation, in this order, for a template that raises an error at it.


def _system_first(messages: Sequence[Message]) -> Sequence[Message]:
    """A system message may only come first (Qwen3.5): later ones are the user's."""
    return [
        Message("user", message.content) if message.role == "system" and place else message
        for place, message in enumerate(messages)
    ]


def _one_call_each(messages: Sequence[Message]) -> Sequence[Message]:
    """A message may hold one call (Llama 3.1): several are told one after the other."""
    single: list[Message] = []
    for message in messages:
        single.append(replace(message, calls=message.calls[:1]))
        single += [Message("assistant", calls=(call,)) for call in message.calls[1:]]
    return single


def _thinking_or_content(messages: Sequence[Message]) -> Sequence[Message]:
    """Beside a call there may be thinking or content (gpt-oss): the content is told as thinking."""
    return [
        replace(message, content="", thinking=f"{message.thinking}\n\n{message.content}")
        if message.calls and message.content and message.thinking
        else message
        for message in messages
    ]


def _some_user(messages: Sequence[Message]) -> Sequence[Message]:
    """The user must have said something (Qwen3.5): the last system message is theirs."""
    if any(message.role == "user" for message in messages):
        return messages
    last = max((place for place, message in enumerate(messages) if message.role == "system"), default=None)
    return [Message("user", message.content) if place == last else message for place, message in enumerate(messages)]


def _joined(messages: Sequence[Message]) -> Sequence[Message]:
    """User and assistant must take turns (Llama 2, Mistral, Gemma): what the user says in a row is one message."""
    told: list[Message] = []
    for message in messages:
        if told and message.role == told[-1].role == "user":
            told[-1] = replace(told[-1], content=f"{told[-1].content}\n\n{message.content}")
        else:
            told.append(message)
    return told


_RELAXATIONS: tuple[_Relaxation, ...] = (_system_first, _one_call_each, _thinking_or_content, _some_user, _joined)


def common_length(one: str, other: str) -> int:
    """Length of the common prefix of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _spelled(text: str, tokens: Sequence[str]) -> str:
    if not text.isascii():  # half a surrogate pair has no tokens
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for token in tokens:
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
