"""The chat a run starts from: speakers, texts, attachments, instructions.

Front ends send chats in many forms. All content of a message is either passed on or refused with a clear sentence,
never dropped silently: text in several blocks, images and files, system and developer messages, results of other
tools.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    convert_to_messages,
)
from langgraph.graph.message import add_messages
from langgraph.types import Command

from graph.errors import DataError
from tools.text import well_formed, well_formed_value

Speaker = Literal["user", "assistant", "instructions", "tool"]
Kind = Literal["picture", "sound", "video", "PDF file", "file", "text"]

_ROLES: Mapping[str, Speaker] = {
    "user": "user", "human": "user", "assistant": "assistant", "ai": "assistant", "system": "instructions",
    "developer": "instructions",
}  # fmt: skip
_KINDS: Mapping[str, Kind] = {"image": "picture", "audio": "sound", "video": "video", "text-plain": "text"}
_SOURCES = ("base64", "url", "file_id")


@dataclass(frozen=True)
class Attachment:
    """A part of a message that is not text."""

    kind: Kind
    block: Mapping[str, Any]
    """A standard content block of LangChain; text files are text blocks."""


def well_formed_prompt(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The prompt with well-formed texts; descriptions from tools and applications may not be well formed."""
    prompt = list(messages)
    for place, message in enumerate(prompt):
        if (content := well_formed_value(message.content)) != message.content:
            prompt[place] = message.model_copy(update={"content": content})
    return prompt


def add_chat(left: Any, right: Any) -> list[AnyMessage]:
    """LangGraph's `add_messages`, with well-formed messages."""
    return [well_formed_message(message) for message in cast("list[AnyMessage]", add_messages(left, right))]


def well_formed_message(message: AnyMessage) -> AnyMessage:
    """The message with invalid characters replaced; the same object if there are none."""
    fields = ("content", "additional_kwargs", "name", "tool_calls", "artifact")
    values = {name: value for name in fields if (value := getattr(message, name, None))}
    changed = {name: new for name, value in values.items() if (new := well_formed_value(value)) != value}
    return message.model_copy(update=changed) if changed else message


def well_formed_input(value: Any) -> Any:
    """The input or resume value of a graph with well-formed texts, before a checkpointer stores it."""
    if isinstance(value, BaseMessage):
        return well_formed_message(cast("AnyMessage", value))
    if isinstance(value, Command):
        changed = {name: well_formed_input(getattr(value, name)) for name in ("resume", "update")}
        return dataclasses.replace(value, **changed)
    if isinstance(value, dict):
        return {well_formed_value(key): well_formed_input(part) for key, part in value.items()}
    return [well_formed_input(part) for part in value] if isinstance(value, list) else well_formed_value(value)


def with_question_last(given: Any) -> Any:
    """The input of a graph with its question as the newest message, where it holds a question and messages.

    Later nobody could tell the question from that of an earlier run of the thread. A question that stands in the
    messages already is left alone: whoever gives a run's state back gives its question, too.
    """
    if not isinstance(given, dict) or not given.get("messages") or not isinstance(given.get("question"), str):
        return given
    question = given["question"].strip()
    messages = given["messages"] if isinstance(given["messages"], list) else [given["messages"]]
    try:
        said = [text_of(message) for message in convert_to_messages(messages) if is_from_user(message)]
    except (ValueError, NotImplementedError):  # no messages; LangGraph says so
        return given
    if not question or question in said:
        return given
    return {**given, "messages": [*messages, HumanMessage(question)]}


def is_from_user(message: BaseMessage) -> bool:
    """Whether the user wrote a message."""
    return speaker_of(message) == "user"


def speaker_of(message: BaseMessage) -> Speaker:
    """The speaker of a message."""
    if isinstance(message, ChatMessage):
        return _ROLES.get(message.role.lower(), "user")
    if isinstance(message, HumanMessage):
        return "user"
    if isinstance(message, AIMessage):
        return "assistant"
    return "instructions" if isinstance(message, SystemMessage) else "tool"


def text_of(message: BaseMessage) -> str:
    """The text of a message; a user's text blocks are joined as paragraphs, an assistant's directly."""
    if isinstance(message.content, str):
        return well_formed(message.content).strip()
    is_result = speaker_of(message) == "tool"
    texts = [
        str(block.get("text") or "") if block.get("type") == "text" else json.dumps(block, default=str)
        for block in _blocks(message)
        if block.get("type") == "text" or (is_result and block.get("type") not in (*_KINDS, "file"))
    ]
    return well_formed(("" if isinstance(message, AIMessage) else "\n\n").join(filter(None, texts))).strip()


def texts_of(message: BaseMessage) -> list[str]:
    """The text of a message and of its attached text files."""
    files = [part.block["text"] for part in attachments_of(message) if part.kind == "text"]
    return [text_of(message), *files]


def newest_of(messages: Sequence[BaseMessage]) -> BaseMessage | None:
    """The last message that is not an instruction."""
    return next((message for message in reversed(messages) if speaker_of(message) != "instructions"), None)


def instructions_in(messages: Iterable[BaseMessage]) -> str:
    """The texts of a chat's system and developer messages, in order."""
    texts = (text_of(message) for message in messages if speaker_of(message) == "instructions")
    return "\n\n".join(dict.fromkeys(filter(None, texts)))


def attachments_in(messages: Iterable[BaseMessage]) -> list[Attachment]:
    """The attachments of a chat, in order.

    Raises:
        DataError: a message contains something that cannot be passed to a model.
    """
    return [attachment for message in messages for attachment in attachments_of(message)]


def attachments_of(message: BaseMessage) -> list[Attachment]:
    """The attachments of one message. Raises the errors of `attachments_in`."""
    attachments = []
    for block in _blocks(message):
        kind = str(block.get("type"))
        if kind == "text" or (kind not in (*_KINDS, "file") and speaker_of(message) != "user"):
            continue  # results of other tools are text, and an assistant's thinking is private
        attachments.append(_attachment(block))
    return attachments


def with_attachments(messages: Sequence[BaseMessage], attachments: Sequence[Attachment]) -> list[BaseMessage]:
    """The prompt with the attachments added to its first user message."""
    prompt = list(messages)
    place = next((place for place, message in enumerate(prompt) if isinstance(message, HumanMessage)), None)
    if place is not None and attachments:
        blocks: list[str | dict[Any, Any]] = [{"type": "text", "text": str(prompt[place].text)}]
        blocks += [dict(attachment.block) for attachment in attachments]
        prompt[place] = prompt[place].model_copy(update={"content": blocks})
    return prompt


def _attachment(block: Mapping[str, Any]) -> Attachment:
    kind = str(block.get("type"))
    if kind == "text-plain":
        name = block.get("filename") or block.get("title") or (block.get("extras") or {}).get("filename")
        if not isinstance(block.get("text"), str):
            raise DataError("A message holds a text file without its text: put the text into the message.")
        head = f"\n\nAttached file{f' {name}' if name else ''}:\n"
        return Attachment("text", {"type": "text", "text": well_formed(head + block["text"])})
    if kind in (*_KINDS, "file") and not any(block.get(source) for source in _SOURCES):
        raise DataError(f"A message holds a part without content ({kind}): give its `base64` or its `url`.")
    if kind == "file":
        return Attachment("PDF file" if "pdf" in str(block.get("mime_type")) else "file", block)
    if kind not in _KINDS:
        inner = block.get("value")
        type_name = (
            inner.get("type", "without a type") if kind == "non_standard" and isinstance(inner, Mapping) else kind
        )
        raise DataError(
            f"A message holds a part that no model can be given ({type_name}); send text, pictures, sounds, videos or "
            "files."
        )
    return Attachment(_KINDS[kind], block)


def _blocks(message: BaseMessage) -> list[Mapping[str, Any]]:
    """The content as LangChain's standard blocks, without their random ids; none of a plain text."""
    content = message.content
    if isinstance(content, str):
        return []
    blocks: list[Mapping[str, Any]] = []
    for part in content:
        try:
            standard = message.model_copy(update={"content": [_standard(part)]}).content_blocks
        except (ValueError, TypeError, KeyError, AttributeError):  # LangChain cannot parse it
            standard = [{"type": "non_standard", "value": cast("dict[str, Any]", part)}]
        blocks += [{key: value for key, value in block.items() if key != "id"} for block in standard]
    return blocks


def _standard(part: Any) -> Any:
    """Convert other formats of a part into one that LangChain supports."""
    if not isinstance(part, dict):
        return part
    kind, url = part.get("type"), part.get("image_url")
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": part.get("text", "")}
    if kind in ("image_url", "input_image", None) and url:
        return {"type": "image_url", "image_url": {"url": url} if isinstance(url, str) else url}
    if kind == "input_file":
        return {"type": "file", "file": {key: value for key, value in part.items() if key != "type"}}
    mime = str(part.get("mime_type") or "")
    if kind == "media" and isinstance(part.get("data"), str):
        group = mime.partition("/")[0]
        return {"type": group if group in _KINDS else "file", "base64": part["data"], "mime_type": mime}
    if kind == "file" and mime.startswith("text/") and isinstance(part.get("text"), str):
        return {**part, "type": "text-plain"}
    return part
