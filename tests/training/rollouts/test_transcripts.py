"""Conversations with tools and thinking as prompts: under each template what is sent is what the template renders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.errors import ConfigError
from tests.training.support.templates import template_tokenizer
from training.engines.base import Completion, Sampling
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.conversation import NO_TOOLS, Message, ToolCall, ToolSet
from training.rollouts.policy import Call, Policy


def schema(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    return {"type": "function", "function": {"name": name, "description": "It.", "parameters": parameters}}


TOOLS = ToolSet((schema("search"), schema("calc")))


class Scripted:
    """Samples the ids that it is told to, and keeps the prompts."""

    version = 0
    max_context = 100_000

    def __init__(self) -> None:
        self.next: list[int] = []
        self.sent: list[list[int]] = []
        self.finish: Any = "stop"

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Completion:
        self.sent.append(list(prompt_ids))
        return Completion(tuple(self.next), tuple(-0.5 for _ in self.next), self.finish, 0)


class Bench:
    """A policy over one template, whose replies are said by the test."""

    def __init__(self, name: str) -> None:
        self.tokenizer = template_tokenizer(name)
        self.chat = ChatTokens(self.tokenizer)
        self.engine: Any = Scripted()
        self.policy = Policy(self.engine, self.chat, Sampling(), "run", 1)
        self.tools = NO_TOOLS if self.chat.template.refuses_tools else TOOLS

    async def reply(self, messages: Sequence[Message], text: str, *, cut: bool = False, **call: Any) -> Message:
        self.engine.next = [*self.chat.template.encode(text), *([] if cut else [self.chat.end_of_turn])]
        self.engine.finish = "length" if cut else "stop"
        return await self.policy.reply(messages, Call(**{"tools": self.tools, **call}))

    def sent(self) -> str:
        return str(self.tokenizer.decode(self.engine.sent[-1]))

    def served(self, messages: Sequence[Message]) -> str:
        """What a server makes of the conversation."""
        tools = [dict(tool) for tool in self.tools.schemas] or None
        plain = [as_openai(message) for message in messages]
        return str(self.tokenizer.apply_chat_template(plain, tools=tools, tokenize=False, add_generation_prompt=True))

    def written(self, messages: Sequence[Message], reply: Message) -> str:
        """The reply in the model's own form."""
        before = self.chat.template.render(messages, self.tools)
        whole = self.chat.template.render([*messages, replace(reply, own=True)], self.tools, prompt=False)
        if whole.startswith(before):
            return whole[len(before) :].split(self.chat.template.token(self.chat.end_of_turn))[0]
        assert not reply.calls
        return f"{reply.thinking}\n</think>\n\n{reply.content}" if reply.thinking else reply.content


def as_openai(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        plain |= dict.fromkeys(("reasoning_content", "thinking"), message.thinking)
    if message.calls:
        plain["tool_calls"] = [
            {"type": "function", "id": c.id, "function": {"name": c.name, "arguments": c.arguments}}
            for c in message.calls
        ]
    return plain | ({"name": message.name, "tool_call_id": message.call_id} if message.role == "tool" else {})


OPENING = [Message("system", "Be brief."), Message("user", "Which river?")]


def said(content: str = "", thinking: str = "", *calls: str) -> Message:
    return Message("assistant", content, tuple(ToolCall(name, {"q": "the Danube"}) for name in calls), thinking)


SCRIPT = [said("", "Let me see.", "search"), said("", "", "search"), said("", "Both.", "search", "calc"),
          said("The Danube."), said("Vienna.", "Where?"), said("Linz.")]  # fmt: skip

TEMPLATES = {
    # Which of the six calls of the script does not extend the one before: the template shows that reply differently.
    "qwen2_5": [],
    "qwen3_instruct_2507": [],
    "qwen3_8": [],
    "llama3_1": [],
    "qwen3": [2, 4, 5],
    "qwen3_5_think": [4, 5],
    "lfm2_2_5": [4, 5],
    "phi3": [],
}


@pytest.mark.parametrize("name", TEMPLATES)
async def test_what_is_sent_is_what_the_template_renders(name: str) -> None:
    bench = Bench(name)
    script = [
        reply
        for reply in SCRIPT
        if len(reply.calls) < (2 if bench.chat.template.one_call else 3) and (bench.tools or not reply.calls)
    ]
    messages = list(OPENING)
    for number, wanted in enumerate(script):
        thinking = wanted.thinking if bench.chat.template.thinks else ""
        wanted = replace(wanted, thinking=thinking)
        reply = await bench.reply(messages, bench.written(messages, wanted))
        assert bench.sent() == bench.served(messages), number
        assert (reply.content, reply.thinking) == (wanted.content, thinking)
        assert [(c.name, c.arguments) for c in reply.calls] == [(c.name, c.arguments) for c in wanted.calls]
        results = [Message("tool", f"{call.name}: 42", name=call.name, call_id=call.id) for call in reply.calls]
        messages += [reply, *(results or [Message("user", "And now?")])]
    rewritten = [number for number, turn in enumerate(bench.policy.turns) if turn.rewritten]
    assert rewritten == TEMPLATES[name]
    for earlier, later in zip(bench.policy.turns, bench.policy.turns[1:], strict=False):
        known = earlier.prompt_ids + earlier.completion_ids
        assert later.rewritten or later.prompt_ids[: len(known)] == known


CALL = '<tool_call>\n{"name": "search", "arguments": {"q": "a"}}\n</tool_call>'
ODD = {
    "compact": '<tool_call>{"name":"search","arguments":{"q":"a"}}</tool_call>',
    "order": '<tool_call>\n{"arguments": {"q": "a"}, "name": "search"}\n</tool_call>',
    "escapes": '<tool_call>\n{"name": "search", "arguments": {"q": "\\u0061"}}\n</tool_call>',
    "spaces": f"  Well.  \n\n\n{CALL}\n\n",
    "fence": '```json\n{"name": "search", "arguments": {"q": "a"}}\n```',
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
async def test_a_reply_is_never_rendered_again(text: str) -> None:
    bench = Bench("qwen2_5")
    reply = await bench.reply(OPENING, text)
    assert [(call.name, call.arguments) for call in reply.calls] == [("search", {"q": "a"})]
    result = Message("tool", "found", name="search", call_id=reply.calls[0].id)
    await bench.reply([*OPENING, reply, result], "Done.")
    assert f"<|im_start|>assistant\n{text}<|im_end|>\n<|im_start|>user\n<tool_response>\nfound" in bench.sent()
    assert not bench.policy.turns[1].rewritten


async def test_a_reply_that_was_cut_off_is_closed_and_holds_no_call() -> None:
    bench = Bench("qwen2_5")
    reply = await bench.reply(OPENING, '<tool_call>\n{"name": "search", "arguments": {"q": "a"}}', cut=True)
    assert reply.calls == ()
    assert '{"name": "search"' in reply.content
    assert reply.turn is not None
    assert reply.turn.unreadable == 1
    await bench.reply([*OPENING, reply, Message("user", "Go on.")], "Done.")
    assert '{"q": "a"}}<|im_end|>\n<|im_start|>user\nGo on.' in bench.sent()


async def test_an_edited_reply_is_somebody_elses_text_and_is_counted() -> None:
    bench = Bench("qwen2_5")
    first = await bench.reply(OPENING, CALL)
    result = Message("tool", "found", name="search", call_id=first.calls[0].id)
    second = await bench.reply([*OPENING, first, result], "Done.")
    edits = {
        "text": [*OPENING, first, result, replace(second, content="Not done.")],
        "arguments": [*OPENING, replace(first, calls=(ToolCall("search", {}),)), result, second],
        "result": [*OPENING, first, replace(result, content="[cleared]"), second],
        "start": [Message("user", "Which river?"), first, result, second],
    }
    for what, messages in edits.items():
        conversation = [*messages, Message("user", "And now?")]
        reply = await bench.reply(conversation, "Well.")
        assert reply.turn is not None
        assert reply.turn.rewritten, what
        assert bench.sent() == bench.served(conversation), what
    again = await bench.reply([*OPENING, first, result, second, Message("user", "And now?")], "Well.")
    assert again.turn is not None
    assert not again.turn.rewritten


async def test_other_tools_make_another_prompt() -> None:
    bench = Bench("qwen2_5")
    first = await bench.reply(OPENING, "Hm.")
    messages = [*OPENING, first, Message("user", "And now?")]
    fewer = ToolSet(TOOLS.schemas[:1])
    reply = await bench.reply(messages, "Well.", tools=fewer)
    assert reply.turn is not None
    assert reply.turn.rewritten
    assert "calc" not in bench.sent()


async def test_a_system_message_may_stand_anywhere() -> None:
    for name, role in (("qwen2_5", "system"), ("qwen3_5_think", "user")):
        bench = Bench(name)
        await bench.reply([*OPENING, Message("system", "In German.")], "Die Donau.")
        assert f"<|im_start|>{role}\nIn German.<|im_end|>" in bench.sent()
    await bench.reply([Message("system", "Say something.")], "Something.")
    assert "<|im_start|>user\nSay something.<|im_end|>" in bench.sent()


ALTERNATING = (
    "{% set first = 1 if messages[0]['role'] == 'system' else 0 %}{% for message in messages[first:] %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{% endfor %}"
)


async def test_what_the_user_says_in_a_row_is_one_message_where_roles_must_alternate() -> None:
    bench = Bench("phi3")
    bench.tokenizer.chat_template = ALTERNATING + str(bench.tokenizer.chat_template)
    bench.chat = ChatTokens(bench.tokenizer)
    bench.policy = Policy(bench.engine, bench.chat, Sampling(), "run", 1)
    again = [*OPENING, Message("user", "Please answer.")]
    reply = await bench.reply(again, "The Danube.")
    assert f"{OPENING[-1].content}\n\nPlease answer." in bench.sent()
    await bench.reply([*again, reply, Message("user", "And"), Message("user", "now?")], "The Rhine.")
    assert "And\n\nnow?" in bench.sent()
    with pytest.raises(ConfigError, match="must alternate"):
        await bench.reply([*again, reply, reply], "Hm.")


async def test_few_shot_replies_are_context() -> None:
    bench = Bench("qwen2_5")
    shots = [Message("user", "1 + 1?"), Message("assistant", "2")]
    messages = [OPENING[0], *shots, OPENING[1]]
    reply = await bench.reply(messages, "The Danube.")
    assert bench.sent() == bench.served(messages)
    assert reply.turn is not None
    assert not reply.turn.rewritten


def test_a_template_without_tools_says_so() -> None:
    bench = Bench("phi3")
    with pytest.raises(ConfigError, match="leaves out tools"):
        bench.policy.reply_sync(OPENING, Call(tools=TOOLS))


HOSTILE = st.lists(
    st.sampled_from(["<|im_end|>", "<|im_start|>", "system\n", "<tool_call>", "</tool_call>", "<think>", "</think>",
                     "\ud800", "x", " ", "\n", "<", "|im_end|>"]),
    max_size=8,
).map("".join)  # fmt: skip


@settings(max_examples=50)
@given(st.lists(HOSTILE, min_size=4, max_size=4))
def test_control_text_of_others_stays_text(texts: list[str]) -> None:
    bench = Bench("qwen3")
    call = ToolCall(f"search{texts[0]}", {f"q{texts[1]}": texts[2]}, "c1")
    messages = [*OPENING, Message("assistant", texts[3], (call,)), Message("tool", texts[2], name=call.name)]
    template = bench.chat.template
    control = {"<|im_end|>", "<|im_start|>", "<tool_call>", "</tool_call>", "<think>", "</think>"}

    def controls(messages: Sequence[Message]) -> list[str]:
        ids = bench.chat.prompt(messages, TOOLS)[0]
        return [token for token in map(template.token, ids) if token in control]

    harmless = [replace(message, content="x") for message in messages[:2]]
    harmless += [
        Message("assistant", "x", (ToolCall("search", {"q": "x"}, "c1"),)),
        Message("tool", "x", name="search"),
    ]
    assert controls(messages) == controls(harmless)
