"""Servers that keep to the chat API by and large: errors inside 200, odd streams, thinking, web pages."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk

from graph.errors import ContextLengthExceeded, ModelRejected, ModelUnavailable
from graph.models.events import EventReader, Unreadable, read_json
from graph.models.failures import failure, seconds_to_wait, status_in, words_of
from graph.models.openai_compatible import OpenAICompatibleChat
from graph.models.replies import StreamedReply, message_of
from tests.graph.models.test_openai_compatible import Reply, Scripted, chat, completion, events, piece, scripted

__all__ = ["scripted"]


async def stream(model: OpenAICompatibleChat) -> AIMessageChunk:
    whole: AIMessageChunk | None = None
    async for chunk in model.astream("q"):
        assert isinstance(chunk, AIMessageChunk)
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


PASSING = {"error": {"message": "the provider died", "code": 502}}
ERRORS = [
    (PASSING, ModelUnavailable, "the provider died"),
    ({"error": {"message": "per day", "code": "rate_limit_exceeded"}}, ModelUnavailable, "quota is used up"),
    ({"error": "no such thing"}, ModelUnavailable, "no such thing"),
    ({"object": "error", "message": "top_p is wrong", "type": "BadRequestError", "code": 400}, ModelRejected, "top_p"),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ModelUnavailable, "Overloaded"),
    ({"error": {"code": 400, "message": "maximum context length is 8"}}, ContextLengthExceeded, "is 8"),
    ({"error": {"message": "model `x` not found", "type": "invalid_request_error"}}, ModelRejected, "does not know"),
    ({"errors": [{"message": "no funds", "code": 1}]}, ModelUnavailable, "no funds"),
    ({"detail": [{"loc": ["body"], "msg": "field required"}]}, ModelUnavailable, "field required"),
    ({"choices": [{"message": {"content": ""}, "finish_reason": "error", "error": PASSING["error"]}]}, ModelUnavailable,
     "the provider died"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "words"), ERRORS)
async def test_an_error_inside_a_success_is_an_error(
    scripted: Scripted, body: dict[str, Any], kind: type[Exception], words: str
) -> None:
    for reply in (Reply(body), events(body), events(piece("half"), body)):
        server = scripted(reply)
        with pytest.raises(kind, match=words):
            await stream(chat(server, max_retries=0)) if reply.headers else await chat(server, max_retries=0).ainvoke(
                "q"
            )


async def test_a_passing_error_inside_a_success_is_tried_again(scripted: Scripted) -> None:
    assert (await chat(scripted(Reply(PASSING), completion("fine"))).ainvoke("q")).content == "fine"
    fine = events(piece("fine"), piece("", finish_reason="stop"))
    assert (await stream(chat(scripted(events(PASSING), fine)))).content == "fine"


async def test_errors_are_of_public_classes(scripted: Scripted) -> None:
    with pytest.raises(ModelUnavailable) as raised:
        await chat(scripted(Reply("", 503)), max_retries=0).ainvoke("q")
    assert type(raised.value) is ModelUnavailable


HELLO = [piece("hel"), piece("lo"), piece("", finish_reason="stop")]
LINES = [f"data: {json.dumps(event)}" for event in HELLO]
STREAMS: dict[str, str] = {
    "no end mark": "\n\n".join(LINES) + "\n\n",
    "no empty line after the last": "\n\n".join(LINES),
    "empty data lines": "data: \n\ndata:\n\n" + "\n\n".join(LINES) + "\n\ndata: [DONE]\n\n",
    "comments": ": keep-alive\n\n" + "\n: ping\n\n".join(LINES) + "\n\ndata: [DONE]\n\n",
    "other fields": "id: 1\nretry: 5\nevent: message\n" + "\n\nid: 2\n".join(LINES) + "\n\ndata: [DONE]\n\n",
    "CRLF": "\r\n\r\n".join(LINES) + "\r\n\r\ndata: [DONE]\r\n\r\n",
    "no blank after the colon": "\n\n".join(LINES).replace("data: ", "data:") + "\n\ndata:[DONE]\n\n",
    "no empty lines": "\n".join(LINES) + "\ndata: [DONE]\n",
    "events over several lines": "\n\n".join(
        "\n".join(f"data: {line}" for line in json.dumps(event, indent=1).splitlines()) for event in HELLO
    )
    + "\n\ndata: [DONE]\n\n",
    "words between": "data: OK\n\n" + "\n\ndata: ping\n\n".join(LINES) + "\n\ndata: [DONE]\n\n",
    "JSON lines": "\n".join(json.dumps(event) for event in HELLO) + "\n",
    "a byte order mark": "\ufeff" + "\n\n".join(LINES) + "\n\ndata: [DONE]\n\n",
    "no reason to finish": "\n\n".join(LINES[:2]) + "\n\ndata: [DONE]\n\n",
    "the reason twice": "\n\n".join([*LINES, LINES[-1]]) + "\n\ndata: [DONE]\n\n",
    "odd events": "\n\n".join(
        ['data: {"choices": []}', 'data: {"choices": null}', 'data: {"choices": [{"delta": null}]}', *LINES,
         'data: {"choices": [{"delta": {"role": "assistant", "content": null}}]}']
    ) + "\n\ndata: [DONE]\n\n",
}  # fmt: skip


@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS)
async def test_streams_as_servers_write_them_are_read_whole(scripted: Scripted, body: str) -> None:
    whole = await stream(chat(scripted(Reply(body, headers={"content-type": "text/event-stream"})), max_retries=0))
    assert whole.content == "hello"
    assert whole.response_metadata["finish_reason"] in ("stop", None)
    assert whole.response_metadata["model_name"] == "served"


async def test_a_server_that_cannot_stream_or_always_does(scripted: Scripted) -> None:
    whole = completion("hello")
    assert (await stream(chat(scripted(whole)))).content == "hello"
    whole.headers["content-type"] = "application/json"
    assert (await stream(chat(scripted(whole)))).content == "hello"
    assert (await chat(scripted(events(*HELLO))).ainvoke("q")).content == "hello"


async def test_a_stream_that_was_cut_is_an_error(scripted: Scripted) -> None:
    for body in ("\n\n".join(LINES[:2]), "", ": nothing\n\n", LINES[0][:-5] + "\n\n", "data: [DONE]\n\n"):
        with pytest.raises(ModelUnavailable) as caught:
            await stream(chat(scripted(Reply(body)), max_retries=0))
        assert type(caught.value) is ModelUnavailable, "users see errors of graph.errors only"


async def test_usage_is_counted_once_however_often_it_is_sent(scripted: Scripted) -> None:
    def used(written: int) -> dict[str, Any]:
        return {"usage": {"prompt_tokens": 5, "completion_tokens": written}}

    growing = [{**event, **used(n)} for n, event in enumerate(HELLO)]
    for sent in (growing, [*HELLO, {"choices": [], **used(2)}], [*growing, {"choices": [], "usage": None}]):
        usage = (await stream(chat(scripted(events(*sent))))).usage_metadata
        assert usage is not None
        assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (5, 2, 7)


@given(st.text(), st.lists(st.integers(1, 40), max_size=20), st.booleans())
def test_a_character_may_be_cut_anywhere(text: str, cuts: list[int], escaped: bool) -> None:
    """Pieces end where tokens do, which may be inside a character: raw bytes or halves of an escape."""
    text = text.encode("utf-8", "replace").decode().replace("\0", "")
    units = json.dumps(text)[1:-1] if escaped else ""
    raw = text.encode()
    pieces, at = [], 0
    if escaped:
        symbols = [json.dumps(c)[1:-1] for c in text]
        halves = [half for s in symbols for half in ([s[:6], s[6:]] if len(s) == 12 else [s])]
        pieces = [f'"{half}"'.encode() for half in halves]
        assert "".join(halves) == units
    else:
        for cut in [*cuts, len(raw)]:
            part = raw[at : at + cut]
            pieces.append(b'"' + b"".join(_quoted(part)) + b'"')
            at += cut
    reply = StreamedReply(tools_asked=False)
    said = ""
    for content in pieces:
        event = read_json(b'{"choices": [{"delta": {"content": ' + content + b"}}]}", mend=False)
        said += str(chunk.content) if (chunk := reply.chunk(event)) is not None else ""
    assert said + str(reply.last_chunk().content) == text


def _quoted(part: bytes) -> list[bytes]:
    escapes = {ord('"'): b'\\"', ord("\\"): b"\\\\", 127: b"\x7f"}
    return [escapes.get(byte, b"\\u%04x" % byte if byte < 32 else bytes([byte])) for byte in part]


@pytest.mark.parametrize(
    ("said", "text", "thinking"),
    [
        ({"content": "x", "reasoning": "hm"}, "x", "hm"),
        ({"content": "x", "reasoning_content": "hm", "reasoning": "hm"}, "x", "hm"),
        ({"content": None, "reasoning_content": "hm"}, "", "hm"),
        ({"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "x"}]}, "x", "hm"),
        ({"content": None, "refusal": "I cannot."}, "I cannot.", None),
        ({"reasoning": {"effort": "low"}, "content": "x"}, "x", None),
    ],
)  # fmt: skip
def test_text_and_thinking_are_found_where_servers_put_them(
    said: dict[str, Any], text: str, thinking: str | None
) -> None:
    message = message_of({"choices": [{"message": said}]}, tools_asked=False)
    assert message is not None
    assert (message.content, message.additional_kwargs.get("reasoning_content")) == (text, thinking)
    streamed = StreamedReply(tools_asked=False)
    chunk = streamed.chunk({"choices": [{"delta": said}]})
    assert chunk is not None
    assert (chunk.content, chunk.additional_kwargs.get("reasoning_content")) == (text, thinking)


async def test_calls_that_a_server_has_cut_out_of_a_reply_are_put_back(scripted: Scripted) -> None:
    calls = [{"id": None, "type": "function", "function": {"name": "double", "arguments": '{"number": 21}'}}]
    whole = completion(choice={"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"})
    pieces = events(
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "double", "arguments": '{"num'}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": 'ber": 21}'}}]}}]},
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    )
    for message in (await chat(scripted(whole)).ainvoke("q"), await stream(chat(scripted(pieces)))):
        assert message.content == '<tool_call>\n{"name": "double", "arguments": {"number": 21}}\n</tool_call>'
    asked = {"tools": [{"type": "function", "function": {"name": "double", "parameters": {}}}]}
    for reply in (whole, pieces):
        model = chat(scripted(reply), extra_body=asked)
        message = await stream(model) if reply is pieces else await model.ainvoke("q")
        assert [(call["name"], call["args"]) for call in message.tool_calls] == [("double", {"number": 21})]


PAGE = "<!DOCTYPE html>\n<html><head><title>502 Bad\n Gateway &amp; more</title></head><body><p>nginx</p></body></html>"


@pytest.mark.parametrize("status", [200, 404, 502])
async def test_a_web_page_is_told_by_its_title(scripted: Scripted, status: int) -> None:
    server = scripted(Reply(PAGE, status, headers={"content-type": "text/html"}))
    for call in (chat(server, max_retries=0).ainvoke("q"), stream(chat(server, max_retries=0))):
        with pytest.raises(ModelUnavailable if status == 502 else ModelRejected) as raised:
            await call
        assert "a web page, '502 Bad Gateway & more'" in str(raised.value)
        assert "<" not in str(raised.value)
        assert "nginx" not in str(raised.value)


def test_a_page_without_a_title_and_a_reply_that_is_no_page() -> None:
    assert words_of(b"<html><body></body></html>") == "a web page without a title"
    assert words_of(b"<html><h1>Not <b>found</b></h1></html>") == "a web page, 'Not found'"
    assert words_of(b"a < b is wrong") == "a < b is wrong"


async def test_compressed_replies_are_read(scripted: Scripted) -> None:
    body = gzip.compress(json.dumps(completion("packed").body).encode())
    for headers in ({"content-encoding": "gzip"}, {}):
        server = scripted(Reply(body, headers=headers))
        assert (await chat(server, max_retries=0).ainvoke("q")).content == "packed"


async def test_bytes_that_are_no_utf8_are_replaced(scripted: Scripted) -> None:
    for said, content in ((b"caf\xe9", "caf\ufffd"), (b"hi \\ud83d", "hi \ufffd"), (b"\\ud83d\\ude00", "😀")):
        body = b'{"choices": [{"message": {"content": "' + said + b'"}, "finish_reason": "stop"}]}'
        assert (await chat(scripted(Reply(body)), max_retries=0).ainvoke("q")).content == content
        body = b'data: {"choices": [{"delta": {"content": "' + said + b'"}, "finish_reason": "stop"}]}\n\n'
        assert (await stream(chat(scripted(Reply(body)), max_retries=0))).content == content


async def test_what_is_no_character_in_a_prompt_is_replaced(scripted: Scripted) -> None:
    server = scripted(completion())
    await chat(server).ainvoke("caf\udce9?")
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "caf\ufffd?"}]


@pytest.mark.parametrize(
    ("header", "milliseconds", "seconds"),
    [("2", None, 2), ("1.5", None, 1.5), (None, "250", 0.25), ("soon", None, 0), (None, None, 0), ("nan", None, 0),
     ("-3", None, 0), ("Wed, 21 Oct 2015 07:28:00 GMT", None, 0)],
)  # fmt: skip
def test_retry_after_in_all_its_forms(header: str | None, milliseconds: str | None, seconds: float) -> None:
    assert seconds_to_wait(header, milliseconds) == seconds


def test_retry_after_a_date() -> None:
    assert seconds_to_wait("Fri, 31 Dec 2999 23:59:59 GMT") > 1e9


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["choices", "delta", "message", "content", "text", "error", "usage", "tool_calls", "function",
                         "finish_reason", "reasoning", "code", "prompt_tokens", "logprobs", "type", "arguments"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["choices", "usage", "error", "model", "timings"]), _JSON, max_size=4))
def test_no_reply_breaks_the_readers(reply: dict[str, Any]) -> None:
    message = message_of(reply, tools_asked=False)
    assert message is None or isinstance(message, AIMessage)
    streamed = StreamedReply(tools_asked=False)
    streamed.chunk(reply)
    streamed.last_chunk()
    assert isinstance(str(failure("It", status_in(reply), reply)), str)


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_no_line_breaks_the_reader_of_events(lines: list[bytes]) -> None:
    reader = EventReader()
    for line in [*lines, b""]:
        try:
            event = reader.feed(line)
        except Unreadable:
            continue
        assert event is None or isinstance(event, dict)
