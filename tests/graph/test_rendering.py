"""What a prompt shows of a chat."""

from __future__ import annotations

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from evals.speed.fake_server import ChatReply, ChatRequest
from graph import Context, build_graph
from graph.rendering import conversation_text
from tests.graph.conftest import Serve, double_tool

DOCUMENT = "Minutes of the board. " + "lorem ipsum " * 150 + "The budget is 48,210 euros. " + "dolor sit " * 150
CHAT: list[AnyMessage] = [
    HumanMessage("My name is Ada."),
    AIMessage("Hello, Ada."),
    HumanMessage(DOCUMENT),
    AIMessage("I read it."),
]


async def test_a_chat_is_known_whole(serve: Serve) -> None:
    server = serve()
    small_talk: list[AnyMessage] = [HumanMessage("Fine?"), AIMessage("Fine.")] * 4
    question = "What is the budget, and what is my name?"
    graph = build_graph(tools=[double_tool], models=server.spec)
    await graph.ainvoke({"messages": [*CHAT, *small_talk, HumanMessage(question)]})
    for role in ("analyst", "planner", "executor", "verifier", "generator"):
        asked = " ".join(str(message["content"]) for message in server.asked(role)[0].messages)
        assert DOCUMENT.strip() in asked, role
        assert "My name is Ada." in asked, role


def test_the_newest_messages_are_whole_and_what_is_cut_is_marked() -> None:
    text = conversation_text([*CHAT, HumanMessage("q")], "q", 1000)
    assert text.startswith("Conversation so far:\n[… 2 earlier messages left out …]\nUser: Minutes of the board.")
    assert " characters left out …]\n" in text
    assert text.endswith("dolor sit\nAssistant: I read it.\n\n")
    assert 900 < len(text) < 1200
    assert conversation_text(CHAT, "q", 100) == (
        "Conversation so far:\n[… 3 earlier messages left out …]\nAssistant: I read it.\n\n"
    )


async def test_the_answer_shows_less_of_a_chat_that_does_not_fit(serve: Serve) -> None:
    def crowded(request: ChatRequest) -> str | ChatReply:
        if sum(len(str(message["content"])) for message in request.messages) > 3000:
            return ChatReply("maximum context length is 1000 tokens", status=400)
        return "Answer: 42"

    server = serve(planner=ChatReply("maximum context length is 1000 tokens", status=400), generator=crowded)
    graph = build_graph(tools=[double_tool], models=server.spec)
    state = await graph.ainvoke({"messages": [*CHAT, HumanMessage("q")]}, context=Context(analyse=False))
    assert (state["answer"], state["ended_by"]) == ("42", "context")
