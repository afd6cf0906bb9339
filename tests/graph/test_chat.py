"""Chats as front ends send them: nothing in a message is left out in silence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from evals.speed.fake_server import FakeModelServer
from graph import Context, build_graph
from graph.chat import attachments_in, attachments_of, instructions_in, text_of
from graph.errors import DataError
from graph.models.embedded import EmbeddedChat
from tests.graph.conftest import Serve

PICTURE = {"type": "image", "base64": "iVBORw0=", "mime_type": "image/png"}
SENT = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}}
FORMS = [
    PICTURE,
    SENT,
    {"type": "image_url", "image_url": SENT["image_url"]["url"]},  # type: ignore[index]
    {"type": "input_image", "image_url": SENT["image_url"]["url"]},  # type: ignore[index]
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}},
    {"type": "image", "source_type": "base64", "data": "iVBORw0=", "mime_type": "image/png"},
    {"type": "media", "data": "iVBORw0=", "mime_type": "image/png"},
]
ASKING = ("analyst", "planner", "executor", "verifier", "generator")


async def ask(server: FakeModelServer, tools: list[BaseTool], messages: Any, **state: Any) -> dict[str, Any]:
    graph = build_graph(tools=tools)
    given: Any = {"messages": messages, **state}
    return dict(await graph.ainvoke(given, context=Context(model=server.spec)))


def users(server: FakeModelServer, role: str) -> Any:
    """What a role's first message of a user holds."""
    return next(m["content"] for m in server.asked(role)[0].messages if m["role"] == "user")


@pytest.mark.parametrize("form", FORMS)
async def test_a_picture_beside_the_text_reaches_every_model(
    serve: Serve, tools: list[BaseTool], form: dict[str, Any]
) -> None:
    server = serve()
    state = await ask(server, tools, [HumanMessage([{"type": "text", "text": "How many dots?"}, form])])
    assert (state["question"], state["answer"]) == ("How many dots?", "42")
    for role in ASKING:
        text, picture = users(server, role)
        assert picture == SENT
        assert text["type"] == "text"
    assert "Question: How many dots?" in users(server, "planner")[0]["text"]


async def test_files_sounds_and_videos_are_passed_on(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    content: list[str | dict[Any, Any]] = [
        "What do they say?",
        {"type": "file", "base64": "JVBER", "mime_type": "application/pdf", "filename": "a.pdf"},
        {"type": "audio", "base64": "UklG", "mime_type": "audio/wav"},
        {"type": "video", "url": "https://example.org/v.mp4"},
        {"type": "text-plain", "text": "The sum is 1742.", "mime_type": "text/plain", "filename": "notes.txt"},
    ]
    await ask(server, tools, [HumanMessage(content)])
    _, *came = users(server, "planner")
    assert came == [
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBER", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://example.org/v.mp4"}},
        {"type": "text", "text": "\n\nAttached file notes.txt:\nThe sum is 1742."},
    ]


async def test_a_picture_of_an_earlier_message_is_still_shown(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    chat = [HumanMessage(["Look at this", PICTURE]), AIMessage("A cat."), HumanMessage("Which colour has it?")]
    await ask(server, tools, chat)
    text, picture = users(server, "planner")
    assert picture == SENT
    assert "User: Look at this [picture]\nAssistant: A cat." in text["text"]


async def test_a_model_that_cannot_see_refuses_a_picture_in_a_sentence(tools: list[BaseTool]) -> None:
    graph = build_graph(tools=tools, models=EmbeddedChat())
    for kind, block in {
        "picture": PICTURE,
        "sound": {"type": "audio", "base64": "UklG", "mime_type": "audio/wav"},
    }.items():
        with pytest.raises(DataError, match=f"The chat holds a {kind}, which the model of the analyst"):
            await graph.ainvoke({"messages": [HumanMessage(["What is it?", block])]})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([PICTURE], "a picture and no question"),
        (["q", {"type": "hologram", "data": 1}], "hologram"),
        (["q", {"type": "image"}], "without content"),
        (["q", {}], "no model can be given"),
        ("", "There is no question"),
        ("  \n ", "There is no question"),
        ([], "There is no question"),
    ],
)
async def test_what_cannot_be_asked_is_refused_in_a_sentence(
    serve: Serve, tools: list[BaseTool], content: Any, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        await ask(serve(), tools, [HumanMessage(content)])


@pytest.mark.parametrize("messages", [[], [AIMessage("Hello, what can I do?")], [SystemMessage("Be brief.")]])
async def test_a_chat_without_a_question_is_refused(serve: Serve, tools: list[BaseTool], messages: Any) -> None:
    with pytest.raises(DataError, match="There is no question"):
        await ask(serve(), tools, messages)


@pytest.mark.parametrize(
    "told",
    [
        SystemMessage("Answer in French."),
        {"role": "system", "content": "Answer in French."},
        {"role": "developer", "content": [{"type": "text", "text": "Answer in French."}]},
        ("system", "Answer in French."),
        ChatMessage(role="developer", content="Answer in French."),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2, 3])
async def test_system_and_developer_messages_are_told_to_every_role(
    serve: Serve, tools: list[BaseTool], told: Any, place: int
) -> None:
    server = serve()
    chat: list[Any] = [("user", "Hello"), ("assistant", "Hi"), ("user", "What is 2 x 21?")]
    chat.insert(place, told)
    state = await ask(server, tools, chat)
    assert state["question"] == "What is 2 x 21?"
    for role in ASKING:
        assert server.asked(role)[0].messages[0]["content"].endswith("Answer in French.")
    assert "French" not in users(server, "planner")


async def test_instructions_of_the_application_and_of_the_chat_add_up(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    graph = build_graph(tools=tools, models=server.spec, instructions="Be polite.")
    chat: list[AnyMessage] = [SystemMessage("Be brief."), SystemMessage("Be brief."), HumanMessage("q")]
    await graph.ainvoke({"messages": chat})
    assert server.asked("planner")[0].messages[0]["content"].endswith("Be polite.\n\nBe brief.")


QUESTIONS: dict[str, tuple[Any, str]] = {
    "several texts": ([HumanMessage(["The table: 1 2 3", {"type": "text", "text": "What is the sum?"}])],
                      "The table: 1 2 3\n\nWhat is the sum?"),
    "a dictionary": ([{"role": "user", "content": "q"}], "q"),
    "a pair": ([("human", "q")], "q"),
    "a text": (["q"], "q"),
    "one message": (HumanMessage("q"), "q"),
    "a role of one's own": ([ChatMessage(role="user", content="q")], "q"),
    "blanks around it": ([HumanMessage("  q\n")], "q"),
    "text of another API": ([HumanMessage([{"type": "input_text", "text": "q"}])], "q"),
    "an answer without content": ([("user", "a"), {"role": "assistant", "content": None}, ("user", "q")], "q"),
    "a tool that was called before": (
        [("user", "a"), AIMessage("", tool_calls=[{"name": "clock", "args": {}, "id": "1"}]),
         ToolMessage("noon", tool_call_id="1", name="clock"), AIMessage("It is noon."), ("user", "q")], "q"),
}  # fmt: skip


@pytest.mark.parametrize(("messages", "question"), QUESTIONS.values(), ids=QUESTIONS)
async def test_questions_in_all_forms(serve: Serve, tools: list[BaseTool], messages: Any, question: str) -> None:
    server = serve()
    state = await ask(server, tools, messages)
    assert (state["question"], state["answer"]) == (question, "42")
    prompt = users(server, "planner")
    assert prompt.count(f"Question: {question}") == 1
    assert f"User: {question}" not in prompt, "the question is no part of the conversation before it"


async def test_results_of_other_tools_are_part_of_the_conversation(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    await ask(server, tools, QUESTIONS["a tool that was called before"][0])
    assert "Assistant: [calls clock]\nResult of clock: noon\nAssistant: It is noon." in users(server, "planner")


async def test_the_thinking_of_earlier_answers_is_no_part_of_the_conversation(
    serve: Serve, tools: list[BaseTool]
) -> None:
    server = serve()
    await ask(server, tools, [("user", "a"), ("assistant", "<think>a or b?</think>It is b."), ("user", "q")])
    assert "Assistant: It is b.\n" in users(server, "planner")


async def test_a_question_beside_a_chat_is_what_is_asked(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    state = await ask(server, tools, [HumanMessage("I have 21 apples.")], question="How many are twice as many?")
    assert state["question"] == "How many are twice as many?"
    assert [str(message.text) for message in state["messages"]] == ["I have 21 apples.", state["question"], "42"]
    assert "User: I have 21 apples." in users(server, "planner")


async def test_a_question_is_asked_again_about_a_new_message(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    graph = build_graph(tools=tools, models=server.spec, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    for text in ("I have 21 apples.", "Now I have 30."):
        asked: Any = {"question": "How many are twice as many?", "messages": [("user", text)]}
        state = await graph.ainvoke(asked, config)
        assert state["question"] == "How many are twice as many?"
    assert [str(message.text) for message in state["messages"][-3:]] == ["Now I have 30.", state["question"], "42"]
    state = await graph.ainvoke({"messages": [HumanMessage("Why?")]}, config)
    assert state["question"] == "Why?", "what was asked before is no new question"
    whole: Any = {**state, "messages": [*state["messages"], HumanMessage("And then?")]}
    again = await build_graph(tools=tools, models=server.spec).ainvoke(whole)
    assert again["question"] == "And then?", "nor is it where the whole state is given back"
    assert len(server.asked("analyst")) == 4, "nor is its analysis the next one's"


@pytest.mark.parametrize("checkpointer", [None, True])
async def test_in_a_larger_graph_a_new_message_comes_before_the_last_question(
    serve: Serve, tools: list[BaseTool], checkpointer: Any
) -> None:
    class Shared(MessagesState):
        question: str

    larger = StateGraph(Shared)
    larger.add_node("agent", build_graph(tools=tools, models=serve().spec, checkpointer=checkpointer))
    larger.add_edge(START, "agent")
    graph = larger.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    inputs: list[Any] = [
        {"messages": [("user", "one?")]},
        {"messages": [("user", "two?")]},
        {"question": "three?"},
        {"question": "four?", "messages": [("user", "It is late.")]},
        {"messages": [("user", "five?")]},
    ]
    for one in inputs:
        state = await graph.ainvoke(one, config)
    said = [message.text for message in state["messages"] if isinstance(message, HumanMessage)]
    assert said == ["one?", "two?", "three?", "It is late.", "four?", "five?"]
    assert state["question"] == "five?"


async def test_a_new_question_leaves_the_messages_of_a_trimmed_chat_alone(serve: Serve, tools: list[BaseTool]) -> None:
    graph = build_graph(tools=tools, models=serve().spec, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    for question in ("one?", "two?"):
        state = await graph.ainvoke({"question": question}, config)
    await graph.aupdate_state(config, {"messages": [RemoveMessage(str(old.id)) for old in state["messages"][:2]]})
    state = await graph.ainvoke({"question": "three?"}, config)
    assert [message.text for message in state["messages"]] == ["two?", "42", "three?", "42"]


async def test_a_question_that_is_no_text_is_refused(serve: Serve, tools: list[BaseTool]) -> None:
    with pytest.raises(DataError, match="give it as a text"):
        await ask(serve(), tools, [], question=42)


async def test_an_instruction_that_is_added_at_a_pause_starts_no_new_run(serve: Serve, tools: list[BaseTool]) -> None:
    server = serve()
    graph = build_graph(tools=tools, models=server.spec, checkpointer=InMemorySaver(), interrupt_after=["verifier"])
    config: Any = {"configurable": {"thread_id": "1"}}
    server = serve(verifier=json.dumps({"reason": "r", "result": "accept", "next": "continue"}))
    context = Context(model=server.spec, max_turns=2)
    await graph.ainvoke({"question": "q"}, config, context=context)
    await graph.aupdate_state(config, {"messages": [SystemMessage("Be brief.")]})
    await graph.ainvoke(None, config, context=context)
    state = (await graph.aget_state(config)).values
    assert len(state["memory"]) == 2, "the run went on"
    assert server.asked("planner")[1].messages[0]["content"].endswith("Be brief.")


_BLOCKS = st.dictionaries(
    st.sampled_from(["type", "text", "url", "base64", "image_url", "source", "file", "mime_type", "data", "value"]),
    st.sampled_from(
        ["text", "image", "image_url", "file", "audio", "video", "media", "input_image", "document", "x", ""]
    )
    | st.dictionaries(st.sampled_from(["url", "type", "data", "file_id"]), st.text(max_size=3), max_size=3)
    | st.none(),
    max_size=5,
)
_CONTENT = st.text(max_size=10) | st.lists(st.text(max_size=5) | _BLOCKS, max_size=4)


@given(st.sampled_from([HumanMessage, AIMessage, SystemMessage]), _CONTENT)
def test_no_message_breaks_the_readers(kind: type[BaseMessage], content: Any) -> None:
    message = kind(content)
    assert isinstance(text_of(message), str)
    assert isinstance(instructions_in([message]), str)
    try:
        came = attachments_in([message])
    except DataError:
        return
    for one in came:
        json.dumps(dict(one.block))


@given(_CONTENT)
def test_nothing_of_a_users_message_is_left_out_in_silence(content: Any) -> None:
    message: AnyMessage = HumanMessage(content)
    try:
        came = attachments_of(message)
    except DataError:
        return
    parts = [content] if isinstance(content, str) else content
    texts = [part for part in parts if isinstance(part, str)]
    assert all(text.strip() in text_of(message) for text in texts if "\0" not in text)
    others = [part for part in parts if isinstance(part, dict)]
    assert len(came) + sum(_is_text(part) for part in others) >= len(others)


def _is_text(part: dict[str, Any]) -> bool:
    return part.get("type") in ("text", "input_text", "output_text") or "text" in part
