"""The chat model against real HTTP servers on the loopback interface that answer what a test tells them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManager, UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel, SecretStr

from graph.errors import ContextLengthExceeded, ModelRejected, ModelUnavailable
from graph.models.openai_compatible import OpenAICompatibleChat

KEY = "sk-very-secret-key"


@dataclass
class Reply:
    """What the server sends; `cut` promises more bytes than it sends, `delay` holds the reply back (seconds)."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    delay: float = 0.0


def completion(text: str = "hello", **extra: Any) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    choice |= extra.pop("choice", {})
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}
    return Reply({"model": "served", "choices": [choice], "usage": usage, **extra})


def events(*objects: Any, done: bool = True) -> Reply:
    lines = [f"data: {json.dumps(event)}\n\n" for event in objects]
    return Reply("".join(lines) + ("data: [DONE]\n\n" if done else ""), headers={"content-type": "text/event-stream"})


def piece(text: str, **extra: Any) -> dict[str, Any]:
    return {"model": "served", "choices": [{"index": 0, "delta": {"content": text}, **extra}]}


class Server:
    """Answers with its replies in turn, the last one again and again, and keeps what it was sent."""

    def __init__(self, *replies: Reply) -> None:
        self.replies, self.bodies, self.headers, self.paths = list(replies), [], [], []  # type: ignore[var-annotated]
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                served.answer(self, Reply({"data": [{"id": "good"}, {"id": "better"}]}))

            def do_POST(self) -> None:
                served.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                served.headers.append(dict(self.headers))
                served.paths.append(self.path)
                served.answer(self, served.replies.pop(0) if len(served.replies) > 1 else served.replies[0])

            def log_message(self, *args: Any) -> None:
                """Keep the test's output clean."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:
                """A client that hangs up early is part of the tests."""

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @staticmethod
    def answer(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        time.sleep(reply.delay)
        text = reply.body if isinstance(reply.body, str | bytes) else json.dumps(reply.body)
        body = text.encode() if isinstance(text, str) else text
        handler.send_response(reply.status)
        handler.send_header("content-length", str(len(body) + 100 * reply.cut))
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = reply.cut


Scripted = Callable[..., Server]


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    servers: list[Server] = []

    def start(*replies: Reply) -> Server:
        servers.append(Server(*replies))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def chat(server: Server, **fields: Any) -> OpenAICompatibleChat:
    return OpenAICompatibleChat(**{"model": "good", "base_url": server.url, **fields})


async def both_ways(model: OpenAICompatibleChat, **kwargs: Any) -> list[AIMessage]:
    """The reply through `ainvoke` and through `invoke`."""
    return [await model.ainvoke("q", **kwargs), await asyncio.to_thread(model.invoke, "q", **kwargs)]


async def test_a_reply_brings_text_usage_and_metadata(scripted: Scripted) -> None:
    server = scripted(completion())
    for reply in await both_ways(chat(server)):
        assert reply.content == "hello"
        assert reply.usage_metadata == {
            "input_tokens": 7,
            "output_tokens": 2,
            "total_tokens": 9,
            "input_token_details": {"cache_read": 5},
        }
        assert reply.response_metadata["finish_reason"] == "stop"
        assert reply.response_metadata["model_name"] == "served"
        assert "tokens" not in reply.additional_kwargs
    assert server.paths == ["/v1/chat/completions"] * 2


async def test_messages_become_the_chat_apis_roles(scripted: Scripted) -> None:
    server = scripted(completion())
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    call = {"name": "double", "args": {"n": 1}, "id": "c1"}
    prompt = [
        SystemMessage("rules"),
        HumanMessage([{"type": "text", "text": "look"}, image]),
        AIMessage("", tool_calls=[call]),
        ToolMessage("2", tool_call_id="c1"),
        AIMessage("done"),
    ]
    await chat(server).ainvoke(prompt)
    sent = server.bodies[0]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "assistant"]
    assert sent[1]["content"] == [{"type": "text", "text": "look"}, image]
    assert json.loads(sent[2]["tool_calls"][0]["function"]["arguments"]) == {"n": 1}
    assert sent[3] == {"role": "tool", "content": "2", "tool_call_id": "c1"}


async def test_a_calls_own_settings_win_and_none_is_not_sent(scripted: Scripted) -> None:
    server = scripted(completion())
    model = chat(server, temperature=0.7, max_tokens=50, extra_body={"cache_prompt": True, "top_k": 5})
    await model.ainvoke("q", temperature=0.0, seed=3, stop=["END"], max_tokens=None, extra_body={"top_k": 1}, top_p=1)
    body = server.bodies[0]
    assert body.pop("messages") == [{"role": "user", "content": "q"}]
    assert body == {
        "model": "good",
        "temperature": 0.0,
        "seed": 3,
        "stop": ["END"],
        "top_p": 1,
        "cache_prompt": True,
        "top_k": 1,
    }


async def test_token_ids_and_logprobs_are_kept(scripted: Scripted) -> None:
    logprobs = [{"token": "hel", "logprob": -0.5}, {"token": "lo", "logprob": -0.25}]
    extra = {"token_ids": [11, 12], "logprobs": {"content": logprobs}}
    server = scripted(completion(prompt_token_ids=[1, 2, 3], choice=extra))
    for reply in await both_ways(chat(server), return_token_ids=True, logprobs=True):
        assert reply.additional_kwargs["tokens"] == {
            "prompt_token_ids": [1, 2, 3],
            "token_ids": [11, 12],
            "logprobs": logprobs,
        }
    assert server.bodies[0]["return_token_ids"] is True


async def test_a_stream_adds_up_to_the_whole_reply(scripted: Scripted) -> None:
    first = {**piece("hel", token_ids=[11]), "prompt_token_ids": list(range(40_000))}
    last = piece("lo", token_ids=[12], finish_reason="stop")
    usage = {"model": "served", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    server = scripted(events(first, last, usage))
    model = chat(server)

    whole = None
    async for chunk in model.astream("q"):
        whole = chunk if whole is None else whole + chunk
    in_thread = await asyncio.to_thread(lambda: list(model.stream("q")))
    assert "".join(str(chunk.content) for chunk in in_thread) == "hello"
    assert whole is not None
    assert whole.content == "hello"
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["total_tokens"] == 9
    assert whole.response_metadata == {"finish_reason": "stop", "model_name": "served"}
    assert whole.additional_kwargs["tokens"] == {"prompt_token_ids": list(range(40_000)), "token_ids": [11, 12]}
    assert server.bodies[0]["stream_options"] == {"include_usage": True}


async def test_a_stream_left_early_ends_the_request(scripted: Scripted) -> None:
    model = chat(scripted(events(*(piece(str(n)) for n in range(100)))))
    async for chunk in model.astream("q"):
        assert chunk.content == "0"
        break
    assert next(iter(model.stream("q"))).content == "0"


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (Reply({"error": {"message": f"bad key {KEY}"}}, 401), ModelRejected, "refused the API key"),
        (Reply({"error": "The model `x` does not exist"}, 404), ModelRejected, "good, better"),
        (Reply({"error": {"message": "The model `x` does not exist."}}, 400), ModelRejected, "good, better"),
        (
            Reply({"error": {"message": "maximum context length is 8 tokens"}}, 400),
            ContextLengthExceeded,
            "maximum context length is 8",
        ),
        (Reply({"error": {"message": "top_p must be positive"}}, 400), ModelRejected, "top_p must be positive"),
        (Reply("oops", 500), ModelUnavailable, "oops"),
        (Reply({"detail": "slow down"}, 429, {"retry-after": "0.01"}), ModelUnavailable, "slow down"),
        (Reply('{"choices": [', cut=True), ModelUnavailable, "cut off"),
        (Reply('{"choices": ['), ModelUnavailable, "not whole JSON"),
        (Reply("[1]"), ModelUnavailable, "not a JSON object"),
        (Reply({"choices": []}), ModelUnavailable, "without a message"),
    ],
)
async def test_a_failure_is_one_sentence_of_the_right_kind(
    scripted: Scripted, reply: Reply, error: type[Exception], words: str
) -> None:
    server = scripted(reply)
    model = chat(server, api_key=SecretStr(KEY), max_retries=1)
    for call in (lambda: model.ainvoke("q"), lambda: asyncio.to_thread(model.invoke, "q")):
        with pytest.raises(error, match=words) as raised:
            await call()  # type: ignore[no-untyped-call]
        text = str(raised.value)
        assert server.url.removesuffix("/v1") in text
        assert KEY not in text
        assert "\n" not in text
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("first", [Reply("", 503), Reply("", 429), Reply("{", cut=True), Reply("half")])
async def test_what_passes_is_tried_again(scripted: Scripted, first: Reply) -> None:
    server = scripted(first, completion("at last"))
    assert (await chat(server).ainvoke("q")).content == "at last"
    assert len(server.bodies) == 2


async def test_what_will_not_pass_is_not_tried_again(scripted: Scripted) -> None:
    server = scripted(Reply({"error": "no"}, 400))
    with pytest.raises(ModelRejected):
        await chat(server, max_retries=5).ainvoke("q")
    assert len(server.bodies) == 1


async def test_retry_after_is_honoured_up_to_a_limit(scripted: Scripted) -> None:
    patient = scripted(Reply("", 429, {"retry-after": "1"}), completion())
    began = time.perf_counter()
    await chat(patient).ainvoke("q")
    assert time.perf_counter() - began >= 1.0

    endless = scripted(Reply("", 429, {"retry-after": "3600"}), completion())
    with pytest.raises(ModelUnavailable, match="429"):
        await chat(endless).ainvoke("q")


async def test_no_server_and_no_answer_in_time() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://user:password@127.0.0.1:{closed.getsockname()[1]}/v1"
        with pytest.raises(ModelUnavailable, match="connection refused") as refused:
            await OpenAICompatibleChat(model="m", base_url=url, max_retries=1).ainvoke("q")
        assert "password" not in str(refused.value)
        closed.listen()
        with pytest.raises(ModelUnavailable, match=r"did not answer within 0\.2 s"):
            await OpenAICompatibleChat(model="m", base_url=url, timeout=0.2).ainvoke("q")


async def test_a_host_without_an_address_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ModelUnavailable, match=r"reached \(name or service not known\)"):
        await OpenAICompatibleChat(model="m", base_url="http://no-such-host:1/v1", max_retries=0).ainvoke("q")


async def test_a_stream_that_breaks_raises(scripted: Scripted) -> None:
    broken = {
        "cut off": events(piece("half"), done=False),
        "out of memory": events(piece("half"), {"error": {"message": "out of memory", "code": 500}}),
        "not whole JSON": Reply('data: {"choi\n\n'),
    }
    for words, reply in broken.items():
        with pytest.raises(ModelUnavailable, match=words):
            async for _ in chat(scripted(reply), max_retries=0).astream("q"):
                pass
    overlong = events({"error": {"message": "exceeds the available context size", "code": 400}})
    with pytest.raises(ContextLengthExceeded):
        async for _ in chat(scripted(overlong)).astream("q"):
            pass


async def test_a_server_without_response_format_is_asked_without_it_from_then_on(scripted: Scripted) -> None:
    refusal = Reply({"error": {"message": "unknown field response_format"}}, 400)
    server = scripted(refusal, completion("1"), completion("2"))
    model = chat(server)
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
    replies = [await model.ainvoke("q", response_format=wanted) for _ in range(2)]
    assert [reply.content for reply in replies] == ["1", "2"]
    assert ["response_format" in body for body in server.bodies] == [True, False, False]

    streaming = chat(scripted(refusal, events(piece("1"))))
    assert [str(c.content) async for c in streaming.astream("q", response_format=wanted) if c.content] == ["1"]


async def test_structured_output(scripted: Scripted) -> None:
    class Person(BaseModel):
        name: str
        age: int

    server = scripted(completion('{"name": "Ada", "age": 36}'), completion("no JSON at all"))
    assert await chat(server).with_structured_output(Person).ainvoke("who?") == Person(name="Ada", age=36)
    sent = server.bodies[0]["response_format"]["json_schema"]
    assert sent["name"] == "Person"
    assert set(sent["schema"]["properties"]) == {"name", "age"}

    raw = await chat(server).with_structured_output(Person, include_raw=True).ainvoke("who?")
    assert isinstance(raw, dict)
    assert raw["raw"].content == "no JSON at all"
    assert raw["parsed"] is None
    assert raw["parsing_error"] is not None


async def test_check_finds_an_unknown_model_and_an_unnamed_one_is_asked_for(scripted: Scripted) -> None:
    server = scripted(completion())
    await chat(server).check()
    with pytest.raises(ModelRejected, match=r"'worse'.*good, better"):
        await chat(server, model="worse").check()
    with pytest.raises(ModelRejected, match=r"offers 2 models \(good, better\)"):
        await chat(server, model="").ainvoke("q")


def test_one_model_serves_many_event_loops_and_threads(scripted: Scripted) -> None:
    model = chat(scripted(completion(Reply.__name__)))

    async def several() -> set[str]:
        return {str(reply.content) for reply in await asyncio.gather(*(model.ainvoke("q") for _ in range(20)))}

    for _ in range(3):
        assert asyncio.run(several()) == {"Reply"}
    threads = [threading.Thread(target=model.invoke, args=("q",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_nothing_is_left_open_and_exit_is_quiet(scripted: Scripted) -> None:
    script = f"""
import asyncio
from graph.models.openai_compatible import OpenAICompatibleChat
model = OpenAICompatibleChat(model="m", base_url={scripted(completion()).url!r})
async def main():
    await asyncio.gather(*(model.ainvoke("q") for _ in range(3)))
asyncio.run(main())
asyncio.run(main())
model.invoke("q")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_child_can_call(scripted: Scripted) -> None:
    model = chat(scripted(completion()))
    model.invoke("q")
    child = os.fork()
    if child == 0:
        os._exit(0 if model.invoke("q").content == "hello" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_traces_name_provider_and_model(scripted: Scripted) -> None:
    model = chat(scripted(completion()), temperature=0.3)
    params = model._get_ls_params()
    assert (params["ls_provider"], params["ls_model_name"], params["ls_temperature"]) == (
        "openai-compatible",
        "good",
        0.3,
    )
    assert KEY not in repr(chat(scripted(completion()), api_key=SecretStr(KEY)))


async def test_a_call_that_nobody_hears_is_answered_as_any_other(scripted: Scripted) -> None:
    server = scripted(completion("Good day."))
    model = chat(server)
    unheard = await model.ainvoke([HumanMessage("Hello")], {"callbacks": AsyncCallbackManager([])}, seed=3)
    meter = UsageMetadataCallbackHandler()
    heard = await model.ainvoke([HumanMessage("Hello")], {"callbacks": [meter]}, seed=3)
    assert unheard.model_copy(update={"id": None}) == heard.model_copy(update={"id": None})
    assert unheard.id
    assert meter.usage_metadata
    assert server.bodies[0] == server.bodies[1]
