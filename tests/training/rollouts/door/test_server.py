"""What agents meet at the door: OpenAI's own client, raw requests of all kinds, keys and the end of a rollout."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.errors import ConfigError, ModelUnavailable
from tests.training.support.door import Opened, opened, user
from tests.training.support.scripted_engine import ScriptedEngine
from training.rollouts.door.requests import Refused, read_request
from training.rollouts.door.server import Address, Door

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "The sum.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    },
}


def adds(text: str, seed: int) -> str:
    """Calls a tool in a form that no renderer would write, and then says the result."""
    if "<tool_response>" in text:
        return "It is\\u0020 7. "
    return 'Let me see.\n<tool_call>\n{"arguments":  {"b": 4, "a":3},"name":"add"}\n</tool_call>'


async def test_the_openai_client_calls_a_tool_and_goes_on() -> None:
    openai = pytest.importorskip("openai", reason="needs the OpenAI client")
    async with opened(adds) as door:
        client = openai.AsyncOpenAI(base_url=door.url, api_key=door.session.key, max_retries=0)
        messages: list[Any] = [{"role": "developer", "content": "Be brief."}, *user("What is 3 + 4?")]
        first = await client.chat.completions.create(model="any", messages=messages, tools=[ADD], temperature=0.2)
        said = first.choices[0]
        assert (said.finish_reason, said.message.content) == ("tool_calls", "Let me see.")
        [call] = said.message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 3, "b": 4})
        messages += [said.message, {"role": "tool", "tool_call_id": call.id, "content": "7"}]
        second = await client.chat.completions.create(model="any", messages=messages, tools=[ADD])
        assert (second.choices[0].finish_reason, second.choices[0].message.content) == ("stop", "It is\\u0020 7. ")
        assert [model.id async for model in client.models.list()] == ["policy"]
        sent, turns = [ids for ids, _ in door.engine.sent], door.policy.turns
    assert [list(turn.prompt_ids) for turn in turns] == sent
    assert [turn.rewritten for turn in turns] == [False, False]
    assert sent[1][: len(sent[0]) + len(turns[0].completion_ids)] == [*sent[0], *turns[0].completion_ids]
    usage = second.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(sent[1]), len(turns[1].completion_ids))


@pytest.mark.parametrize(
    ("edit", "rewritten"),
    [
        (lambda said: said, False),
        (lambda said: {**said, "content": None}, True),
        (lambda said: {**said, "content": f" {said['content']}\n"}, True),
        (lambda said: {"role": "assistant", "content": said["content"]}, True),
        (lambda said: {"role": "assistant", "content": "Something else."}, False),
    ],
)
async def test_a_reply_that_comes_back_edited_counts_as_rewritten(edit: Any, rewritten: bool) -> None:
    async with opened(adds) as door:
        body: dict[str, Any] = {"messages": user("What is 3 + 4?"), "tools": [ADD]}
        said = (await door.post(body)).json()["choices"][0]["message"]
        more = [edit(said), {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "7"}]
        await door.post({**body, "messages": [*body["messages"], *more]})
        first, second = door.policy.turns
    assert second.rewritten == rewritten
    extends = second.prompt_ids[: len(first.prompt_ids) + len(first.completion_ids)] == (
        first.prompt_ids + first.completion_ids
    )
    assert extends == (edit(said) is said)


async def test_a_stream_is_the_whole_reply_in_pieces() -> None:
    openai = pytest.importorskip("openai", reason="needs the OpenAI client")
    async with opened(adds) as door:
        client = openai.AsyncOpenAI(base_url=door.url, api_key=door.session.key, max_retries=0)
        asked: dict[str, Any] = {"model": "policy", "messages": user("What is 3 + 4?"), "tools": [ADD]}
        async with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
            streamed = await stream.get_final_completion()
        whole = await client.chat.completions.create(**asked)
    one, other = streamed.choices[0], whole.choices[0]
    assert one.finish_reason == other.finish_reason == "tool_calls"
    assert one.message.content == other.message.content
    assert [call.function.name for call in one.message.tool_calls] == ["add"]
    assert one.message.tool_calls[0].function.arguments == other.message.tool_calls[0].function.arguments
    assert streamed.usage.total_tokens == whole.usage.total_tokens
    assert len(door.policy.turns) == 2, "the same question twice is two calls"


async def test_a_stream_ends_as_clients_expect() -> None:
    async with opened(lambda text, seed: "Seven.") as door:
        response = await door.post({"messages": user("?"), "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, last = response.text.strip().split("\n\n")
    assert last == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "Seven."
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "stop"]
    assert not any("usage" in chunk for chunk in chunks), "nobody asked for it"


async def test_parallel_calls_are_a_turn_each_with_seeds_of_their_own() -> None:
    async with opened(lambda text, seed: f"Draft {seed}.") as door:
        replies = await asyncio.gather(*(door.post({"messages": user("Draft!")}) for _ in range(6)))
    texts = {reply.json()["choices"][0]["message"]["content"] for reply in replies}
    assert len(texts) == len(door.policy.turns) == 6
    assert len({seed for _, seed in door.engine.sent}) == 6
    assert len({tuple(ids) for ids, _ in door.engine.sent}) == 1


async def test_stop_and_a_shorter_limit() -> None:
    async with opened(lambda text, seed: "one two three four five six", max_tokens=16) as door:
        stopped = (await door.post({"messages": user("?"), "stop": " three"})).json()["choices"][0]
        short = (await door.post({"messages": user("?"), "max_tokens": 2})).json()
        long = (await door.post({"messages": user("?"), "max_completion_tokens": 4000})).json()
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("one two", "stop")
    assert (short["usage"]["completion_tokens"], short["choices"][0]["finish_reason"]) == (2, "length")
    assert long["usage"]["completion_tokens"] == 16
    assert [len(turn.completion_ids) for turn in door.policy.turns][1] == 2


async def test_tool_choice_none_and_one_call_at_a_time() -> None:
    call = '{"name": "add", "arguments": {}}'
    async with opened(lambda text, seed: f"{call}\n{call}") as door:
        asked = {"messages": user("?"), "tools": [ADD]}
        two = (await door.post(asked)).json()["choices"][0]["message"]
        one = (await door.post({**asked, "parallel_tool_calls": False})).json()["choices"][0]["message"]
        none = (await door.post({**asked, "tool_choice": "none"})).json()["choices"][0]
    assert (len(two["tool_calls"]), two["content"]) == (2, None)
    assert len({call["id"] for call in two["tool_calls"]}) == 2
    assert len(one["tool_calls"]) == 1
    assert (none["finish_reason"], none["message"].get("tool_calls")) == ("stop", None)


async def test_roles_by_the_models_name_and_by_the_path() -> None:
    async with opened(lambda text, seed: "Yes.", roles=("planner", "solver")) as door:
        assert [model["id"] for model in (await door.get("/models")).json()["data"]] == ["planner", "solver"]
        assert (await door.post({"messages": user("1"), "model": "solver"})).json()["model"] == "solver"
        path = door.url.replace("/v1", "/planner/v1") + "/chat/completions"
        async with httpx.AsyncClient(trust_env=False, headers=door.headers) as client:
            assert (await client.post(path, json={"messages": user("2"), "model": "gpt-x"})).status_code == 200
            wrong = await client.post(path.replace("planner", "critic"), json={"messages": user("3")})
        unknown = await door.post({"messages": user("4"), "model": "gpt-x"})
    assert [turn.role for turn in door.policy.turns] == ["solver", "planner"]
    assert {unknown.status_code, wrong.status_code} == {404}
    assert unknown.json()["error"]["code"] == "model_not_found"
    assert "planner, solver" in unknown.json()["error"]["message"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"n": 2}, "one reply"),
        ({"logprobs": True}, "stay with the trainer"),
        ({"logit_bias": {"5": 1}}, "unconstrained"),
        ({"response_format": {"type": "json_object"}}, "ask for the form in the prompt"),
        ({"functions": [{"name": "f"}]}, "Use `tools`"),
        ({"modalities": ["text", "audio"]}, "text alone"),
        ({"reasoning_effort": "high"}, "knows no such parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "pictures"),
        ({"messages": [{"role": "assistant", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "[1]"}}]}]}, "no JSON object"),
    ],
)  # fmt: skip
async def test_what_the_policy_does_not_do_is_refused_with_the_reason(more: dict[str, Any], words: str) -> None:
    async with opened(lambda text, seed: "Yes.") as door:
        response = await door.post({"messages": user("?"), **more})
        assert response.status_code == 400
        error = response.json()["error"]
        assert words in error["message"]
        assert error["type"] == "invalid_request_error"
        assert not door.policy.turns
        assert [str(refusal) for refusal in door.session.refusals] == [error["message"]]


async def test_what_asks_for_nothing_is_no_obstacle() -> None:
    harmless = {"n": 1, "logprobs": False, "response_format": {"type": "text"}, "logit_bias": {}, "functions": None,
                "temperature": 0.0, "top_p": 0.5, "seed": 3, "user": "me", "tools": [], "stop": None}  # fmt: skip
    parts = [{"role": "user", "content": [{"type": "text", "text": "Que"}, {"type": "text", "text": "stion"}]}]
    old = {"role": "assistant", "content": None, "refusal": None, "audio": None, "function_call": None,
           "tool_calls": None, "annotations": [], "reasoning_content": "hm"}  # fmt: skip
    async with opened(lambda text, seed: "Yes.") as door:
        body = json.dumps({"messages": [*parts, old, *user("\ud800?")], **harmless})
        response = await door.post(content=body.encode())
    assert response.status_code == 200, response.text
    assert "Question" in door.engine.chat.text(door.engine.sent[0][0])


@pytest.mark.parametrize(
    "request_",
    [
        {"content": b"{"},
        {"content": b'"x"'},
        {"content": b"\xff\xfe"},
        {"content": b"[" * 100_000},
        {"content": b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}"},
        {"content": json.dumps({"messages": [{"role": "user", "content": "x"}], "x": 10**4000}).encode()},
        {"path": "/embeddings", "json": {"input": "x"}},
        {"path": "/responses", "json": {"input": "x"}},
        {"path": "/completions", "json": {"prompt": "x"}},
        {"path": "/../../v1/chat/completions/", "json": None},
    ],
)
async def test_hostile_requests_get_an_error_in_openais_form(request_: dict[str, Any]) -> None:
    async with opened(lambda text, seed: "Yes.") as door:
        response = await door.post(**({"body": request_.pop("json", None)} | request_))
        assert response.status_code in (400, 410)
        assert response.json()["error"]["message"]
        assert (await door.post({"messages": user("?")})).status_code == 200, "the door stands"


async def test_a_request_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.rollouts.door.server.LONGEST_REQUEST", 1000)
    async with opened(lambda text, seed: "Yes.") as door:
        response = await door.post({"messages": user("x" * 2000)})
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


async def test_a_key_opens_one_rollout_and_none_after_its_end() -> None:
    door = Door(Address("127.0.0.1", 0))
    engine = ScriptedEngine(lambda text, seed: "Yes.", "qwen2_5")
    body = {"messages": user("?")}
    async with opened(engine, door=door, run="0/a/0") as one:
        async with opened(engine, door=door, run="0/a/1") as other:
            for headers in (other.headers, {}, {"Authorization": "Bearer"}, {"Authorization": "Basic x"},
                            {"Authorization": b"Bearer \xff\xe9"}):  # fmt: skip
                response = await one.post(body, headers=headers)
                assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
            assert (await other.post(body)).status_code == 200
        assert (await other.post(body)).status_code == 410
        assert (await one.post(body)).status_code == 200
        assert (await other.post(body, headers=one.headers)).status_code == 410
    assert [len(each.policy.turns) for each in (one, other)] == [1, 1]
    assert one.session.name not in str(door._sessions)


class Slow(ScriptedEngine):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(lambda text, seed: "Yes.", "qwen2_5")
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def generate(self, *arguments: Any, **named: Any) -> Any:
        self.asked.set()
        await self.may_answer.wait()
        return await super().generate(*arguments, **named)


async def test_the_end_of_a_rollout_ends_its_calls() -> None:
    engine = Slow()
    async with opened(engine) as door:
        asked = asyncio.ensure_future(door.post({"messages": user("?")}))
        await engine.asked.wait()
        door.session.close()
        response = await asked
    engine.may_answer.set()
    assert (response.status_code, response.json()["error"]["code"]) == (410, "rollout_ended")
    assert not door.policy.turns
    assert not engine.sent


async def test_a_client_that_hangs_up_is_not_sampled_for() -> None:
    engine = Slow()
    async with opened(engine) as door:
        asked = asyncio.ensure_future(door.post({"messages": user("?")}))
        await engine.asked.wait()
        asked.cancel()
        async with asyncio.timeout(10):
            while door.session._under_way:
                await asyncio.sleep(0.01)
        engine.may_answer.set()
        assert (await door.post({"messages": user("?")})).status_code == 200
    assert len(door.policy.turns) == 1
    [(_, seed)] = engine.sent
    async with opened(lambda text, seed: "Yes.") as other:
        await other.post({"messages": user("?")})
    assert other.engine.sent[0][1] == seed, "the call that failed and was made again is the same call"


async def test_calls_beyond_the_limit_are_refused() -> None:
    async with opened(lambda text, seed: "Yes.", most_calls=2) as door:
        statuses = [(await door.post({"messages": user("?")})).status_code for _ in range(3)]
    assert statuses == [200, 200, 400]
    assert door.session.refusals[-1].code == "too_many_calls"


async def test_a_prompt_that_is_too_long_is_refused_and_a_dead_engine_fails_the_run() -> None:
    async with opened(lambda text, seed: "Yes." if "again" in text else None) as door:
        door.engine.max_context = 200
        long = await door.post({"messages": user("x" * 3000)})
        assert long.json()["error"]["code"] == "context_length_exceeded"
        assert not door.session.failure.done()
        assert (await door.post({"messages": user("once")})).status_code == 503
        assert isinstance(door.session.failure.result(), ModelUnavailable)


@pytest.fixture
async def listener() -> AsyncIterator[Opened]:
    async with opened(lambda text, seed: "Yes.") as door:
        yield door


async def test_it_listens_where_it_is_told_and_nowhere_else(listener: Opened) -> None:
    assert listener.url.startswith("http://127.0.0.1:")
    port = int(listener.url.split(":")[2].split("/")[0])
    with pytest.raises(ConfigError, match="agent_listen"):
        Address("127.0.0.1", port).bound()
    with pytest.raises(ConfigError, match="agent_listen"):
        Address("203.0.113.7", 0).bound()
    assert Address.of("[::1]:80") == Address("::1", 80)
    assert Address.of("127.0.0.1") == Address("127.0.0.1", 0)
    for wrong in ("", "host:port", "host:99999", "a/b", "http://x"):
        with pytest.raises(ConfigError, match="HOST"):
            Address.of(wrong)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["role", "content", "tool_calls", "function", "name", "arguments", "id", "type", "text", "x"]
    ), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
NAMES = st.sampled_from(["messages", "model", "tools", "tool_choice", "stop", "max_tokens", "stream", "n", "x"])


@given(st.dictionaries(NAMES, JSON), st.lists(JSON, max_size=3))
def test_any_json_is_read_or_refused(body: dict[str, Any], messages: list[Any]) -> None:
    for plain in (body, {**body, "messages": messages}, {**body, "messages": [{"role": "user", "content": "x"}]}):
        with suppress(Refused):  # and nothing else is raised
            assert read_request(json.dumps(plain).encode()).messages
