"""What a reply says: thinking, content and tool calls, read from its tokens.

First by the model's own format, through the response templates of transformers (the tokenizer's own, or TRL's for the
templates that it knows); then, where that finds no call, by the forgiving reading of `tool_calls`. Decoding is never
constrained, so a reply may be anything: what cannot be read stays text and is counted, and nothing raises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from transformers.utils.chat_parsing import ResponseParser
from transformers.utils.chat_parsing.response_templates import ResponseTemplate, load_response_template

from training.rollouts.chat_template import ChatTemplate
from training.rollouts.conversation import NO_TOOLS, ToolCall, ToolSet
from training.rollouts.tool_calls import find_calls, plain_arguments, unreadable_calls

_TAIL = 64
"""Tokens of the prompt's end that can hold the beginning of a reply, e.g. an opened `<think>`."""

_THINKING = ("reasoning_content", "thinking")


@dataclass(frozen=True)
class Reply:
    """A parsed reply."""

    content: str
    thinking: str = ""
    calls: tuple[ToolCall, ...] = ()
    unreadable: int = 0
    """Calls that could not be read, or were not to be made; they stand in the content."""


class ReplyFormat:
    """Reads the replies of one model.

    Args:
        template: its chat template.
        end_of_turn: text of the token that ends a reply.
    """

    def __init__(self, template: ChatTemplate, end_of_turn: str) -> None:
        self._template = template
        spec = _response_template(template.tokenizer) or _plain_spec(template, end_of_turn)
        left_out = () if template.thinks else _THINKING
        fields = {name: field for name, field in spec["fields"].items() if name not in left_out}
        without_calls = {name: field for name, field in fields.items() if name != "tool_calls"}
        self._spec = load_response_template({**spec, "fields": fields})
        self._without_calls = load_response_template({**spec, "fields": without_calls})

    def read(
        self,
        completion: Sequence[int],
        *,
        prompt: Sequence[int] = (),
        tools: ToolSet = NO_TOOLS,
        cut_off: bool = False,
        most_calls: int | None = None,
    ) -> Reply:
        """What a completion says.

        Args:
            completion: sampled ids.
            prompt: what they follow; its end may have begun the reply.
            tools: the tools that were offered; without any, nothing is a call.
            cut_off: whether the reply ended at the limit of its length: then nothing in it is a call.
            most_calls: calls of one reply; those beyond become text.
        """
        text = self._template.decode(completion, special=True)
        start = self._template.decode(list(prompt)[-_TAIL:], special=True)
        reply = None
        if tools and not cut_off and "tool_calls" in self._spec.fields:
            reply = self._by_format(text, start, tools)
        if reply is None:
            thinking, content = self._without_call(text, start, self._template.decode(completion))
            calls, left = find_calls(content, tools.names) if tools and not cut_off else ([], content)
            reply = Reply(left, thinking, tuple(calls), self._unreadable(left, tools) if tools else 0)
        return reply if most_calls is None else _limited(reply, most_calls)

    def _by_format(self, text: str, start: str, tools: ToolSet) -> Reply | None:
        """Reads by the model's own format; None if it finds no call, or a broken one."""
        try:
            thinking, content, found = self._regions(self._spec, text, start, tools)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        calls = [_checked(call) for call in found]
        whole = [call for call in calls if call is not None]
        if not whole or len(whole) < len(calls):
            return None
        return Reply(content, thinking, tuple(whole), self._unreadable(content, tools))

    def _without_call(self, text: str, start: str, plain: str) -> tuple[str, str]:
        """Thinking and content. What has no thinking is left as it is, spaces included."""
        try:
            thinking, content, _ = self._regions(self._without_calls, text, start, NO_TOOLS)
        except (ValueError, TypeError, KeyError, RecursionError):
            return "", plain
        framed = 0 < len(content) < len(plain.strip())  # by marks that say which part is the content
        return (thinking, content) if thinking or framed else ("", plain)

    def _regions(
        self, spec: ResponseTemplate, text: str, start: str, tools: ToolSet
    ) -> tuple[str, str, Sequence[object]]:
        """Thinking, all of the content, and the calls as the format has them."""
        begun = start if spec.start_anchor_re.search(start) else ""
        parser = ResponseParser(spec, prefix=begun, tools=[dict(tool) for tool in tools.schemas])
        events = [*parser.initial_events, *parser.feed(text)]
        message, last = parser.finalize()
        parts: dict[str, list[str]] = {}
        for event in (*events, *last):
            if event["type"] == "region_close" and isinstance(event["value"], str):
                parts.setdefault(event["field"], []).append(self._plain(event["value"]))
        thinking = [part for name in _THINKING for part in parts.get(name, ())]
        calls = message.get("tool_calls") or []
        return "\n".join(thinking), "\n".join(filter(None, parts.get("content", ()))), calls

    def _plain(self, text: str) -> str:
        for token in self._template.special:
            text = text.replace(token, "")
        return text

    def _unreadable(self, content: str, tools: ToolSet) -> int:
        field = self._spec.fields.get("tool_calls")
        opened = 0 if field is None or field.open_re is None else len(field.open_re.findall(content))
        return max(opened, unreadable_calls(content, tools.names))


def _checked(call: object) -> ToolCall | None:
    """A call of transformers' reading, or None if it is junk: a name that is missing, a list for arguments."""
    function = call.get("function", call) if isinstance(call, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str) or not name.strip():
        return None
    given = function.get("arguments", function.get("parameters"))
    arguments = plain_arguments(given)
    id_ = call.get("id") if isinstance(call, Mapping) else None
    return None if arguments is None else ToolCall(name.strip(), arguments, id_ if isinstance(id_, str) else "")


def _limited(reply: Reply, most: int) -> Reply:
    """The first calls; the others as text."""
    more = [json.dumps({"name": call.name, "arguments": call.arguments}) for call in reply.calls[most:]]
    if not more:
        return reply
    content = "\n".join(filter(None, (reply.content, *more)))
    return replace(reply, content=content, calls=reply.calls[:most], unreadable=reply.unreadable + len(more))


def _response_template(tokenizer: Any) -> dict[str, Any] | None:
    known: dict[str, Any] | None = getattr(tokenizer, "response_template", None)
    if known is not None:
        return known
    from trl.chat_template_utils import add_response_schema

    holder = SimpleNamespace(chat_template=tokenizer.chat_template)  # the tokenizer itself is saved with checkpoints
    try:
        add_response_schema(holder)
    except ValueError:
        return None
    found: dict[str, Any] = holder.response_template
    return found


def _plain_spec(template: ChatTemplate, end_of_turn: str) -> dict[str, Any]:
    """For a template that nobody knows: thinking where the template speaks of it, and content."""
    fields: dict[str, Any] = {"content": {"close": end_of_turn, "content": "text"}}
    if "</think>" in str(template.tokenizer.chat_template):
        fields["reasoning_content"] = {"open": "<think>", "close_pattern": r"</think>\s*", "content": "text"}
    anchor = template.opens_reply.split("<think>")[0] or end_of_turn
    return {"defaults": {"role": "assistant"}, "start_anchor": anchor, "fields": fields}
