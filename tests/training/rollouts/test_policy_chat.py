"""The policy as the chat model of agents that were written for any other model."""

from __future__ import annotations

import asyncio
import operator
import random
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ClearToolUsesEdit, ContextEditingMiddleware, SummarizationMiddleware
from langchain.agents.structured_output import ProviderStrategy, StructuredOutputValidationError, ToolStrategy
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from pydantic import BaseModel
from typing_extensions import TypedDict

from evals.task import Task
from graph.errors import ConfigError
from tests.training.support.scripted_engine import ScriptedEngine
from training.engines.base import Sampling
from training.rollouts.places import Places
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Rollout
from training.update.assemble import rows_of

TEMPLATE = "qwen2_5"


def policy_of(reply: Callable[[str, int], str | None], **sampling: Any) -> tuple[PolicyChat, Any]:
    engine = ScriptedEngine(reply, TEMPLATE)
    return PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(**sampling), run="r", seed=0), engine


def in_turn(*replies: str) -> Callable[[str, int], str]:
    """One reply after another, whatever is asked."""
    left = iter(replies)
    return lambda text, seed: next(left)


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def look(place: str) -> str:
    """Look a place up."""
    return f"{place} lies on the Danube."


TOOLS = [add, look]


def rows(policy: PolicyChat) -> list[Any]:
    rollout = Rollout("r", Task("t", "q", ()), 0, 0, 0, turns=tuple(policy.turns), reward=1.0)
    ones = [1.0] * len(rollout.turns)
    return rows_of(rollout, ones, ones)


def seen(engine: Any) -> str:
    return str(engine.chat.template.decode(engine.sent[-1][0], special=True))


async def ask(agent: Any, question: str = "Where is Vienna?", **config: Any) -> dict[str, Any]:
    result: dict[str, Any] = await agent.ainvoke({"messages": [HumanMessage(question)]}, config)
    return result


async def test_an_agent_with_tools_is_one_transcript() -> None:
    policy, engine = policy_of(
        in_turn(
            "I add and look." + call("add", '{"a": 1,"b": 2}') + "\n" + call("look", '{"place": "Vienna"}'),
            '```json\n{"name": "add", "parameters": {"a": 3, "b": 4}}\n```',
            "On the Danube; 7.",
        )
    )
    state = await ask(create_agent(policy, TOOLS, system_prompt="Be brief."))
    results = [message.text for message in state["messages"] if isinstance(message, ToolMessage)]
    assert results == ["3", "Vienna lies on the Danube.", "7"]
    assert state["messages"][-1].text == "On the Danube; 7."
    assert [turn.rewritten for turn in policy.turns] == [False, False, False]
    assert [turn.unreadable for turn in policy.turns] == [0, 0, 0]
    [row] = rows(policy)
    assert len(row.terms) == sum(len(turn.completion_ids) for turn in policy.turns)
    assert '"name": "add", "description": "Add two numbers."' in seen(engine)
    assert "<tool_response>\n3\n</tool_response>\n<tool_response>\nVienna lies" in seen(engine)
    ids = [each["id"] for message in state["messages"] if isinstance(message, AIMessage) for each in message.tool_calls]
    assert len(set(ids)) == 3


async def test_a_call_that_cannot_be_read_stays_text_and_does_not_end_the_agent_silently() -> None:
    broken = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": }}\n</tool_call>'
    good = call("look", '{"place": "Linz"}')
    policy, _ = policy_of(in_turn(broken + good, call("sing", "{}"), broken))
    state = await ask(create_agent(policy, TOOLS))
    replies = [message for message in state["messages"] if isinstance(message, AIMessage)]
    assert [len(reply.tool_calls) for reply in replies] == [1, 1, 0]
    assert '"b": }}' in replies[0].text
    assert replies[2].text == broken
    assert not any(reply.invalid_tool_calls for reply in replies)
    assert [turn.unreadable for turn in policy.turns] == [1, 0, 1]
    assert "sing is not a valid tool" in str(state["messages"][-2].content)


async def test_callbacks_usage_streaming_and_both_ways_to_call() -> None:
    policy, _ = policy_of(lambda text, seed: call("add", '{"a": 1, "b": 2}') if "tool_response" not in text else "3")
    usage = UsageMetadataCallbackHandler()
    agent = create_agent(policy, TOOLS)
    state = await asyncio.to_thread(agent.invoke, {"messages": [HumanMessage("1 + 2?")]}, {"callbacks": [usage]})
    assert state["messages"][-1].text == "3"
    assert usage.usage_metadata["policy"]["output_tokens"] == sum(len(turn.completion_ids) for turn in policy.turns)
    texts = [chunk async for chunk, _ in agent.astream({"messages": ["1 + 2?"]}, stream_mode="messages")]
    assert [chunk.text for chunk in texts if isinstance(chunk, AIMessage)][-1] == "3"
    assert [chunk.text async for chunk in policy.astream("Hi")] == [call("add", '{"a": 1, "b": 2}')]
    assert policy.get_num_tokens_from_messages([HumanMessage("Hi")]) == len(policy.policy.sampled[-1].turn.prompt_ids)


async def test_stop_ends_the_reply_at_the_token_that_completes_it() -> None:
    policy, engine = policy_of(lambda text, seed: "Thought: look.\nObservation: it is blue.\nAnswer: blue")
    reply = await policy.ainvoke("Sky?", stop=["Observation:"])
    assert reply.text == "Thought: look.\n"
    [turn] = policy.turns
    assert engine.chat.text(turn.completion_ids).endswith("Observation:")
    assert turn.finish_reason == "stop"
    assert len(turn.logprobs) == len(turn.completion_ids)
    await policy.ainvoke([HumanMessage("Sky?"), reply, HumanMessage("Observation: it is grey.")])
    assert policy.turns[1].prompt_ids[: len(turn.prompt_ids + turn.completion_ids)] == (
        turn.prompt_ids + turn.completion_ids
    )


async def test_tool_choice_none_and_single_calls() -> None:
    both = call("add", '{"a": 1, "b": 2}') + call("look", '{"place": "Linz"}')
    policy, _ = policy_of(lambda text, seed: both)
    assert (await policy.bind_tools(TOOLS, tool_choice="none").ainvoke("Hi")).tool_calls == []
    single = await policy.bind_tools(TOOLS, parallel_tool_calls=False).ainvoke("Hi")
    assert [each["name"] for each in single.tool_calls] == ["add"]
    assert "Linz" in single.text
    assert policy.turns[1].unreadable == 1
    with pytest.raises(ConfigError, match="provider's servers"):
        policy.bind_tools([{"type": "web_search_preview"}])


async def test_content_is_text_or_refused_with_the_reason() -> None:
    policy, engine = policy_of(lambda text, seed: "Yes.")
    blocks: list[Any] = [{"type": "text", "text": "Is it "}, {"type": "text", "text": "blue?"}]
    await policy.ainvoke([SystemMessage(blocks), HumanMessage(blocks), AIMessage("Yes."), HumanMessage("Sure?")])
    assert seen(engine).count("Is it blue?") == 2
    picture: list[Any] = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    with pytest.raises(ConfigError, match=r"image_url.*pictures"):
        await policy.ainvoke([HumanMessage(picture)])


class Place(BaseModel):
    """A place and its river."""

    place: str
    river: str


@pytest.mark.parametrize("keeps", [True, False])
async def test_structured_output_by_tool(keeps: bool) -> None:
    right = call("Place", '{"place": "Vienna", "river": "Danube"}')
    policy, _ = policy_of(in_turn(call("Place", '{"place": 1}'), right) if keeps else lambda text, seed: "The Danube.")
    state = await ask(create_agent(policy, TOOLS, response_format=ToolStrategy(Place)))
    assert state.get("structured_response") == (Place(place="Vienna", river="Danube") if keeps else None)
    assert len(policy.turns) == (2 if keeps else 1)


async def test_structured_output_by_provider_is_not_forced() -> None:
    policy, _ = policy_of(in_turn('{"place": "Vienna", "river": "Danube"}', "The Danube."))
    agent = create_agent(policy, [], response_format=ProviderStrategy(Place))
    assert (await ask(agent))["structured_response"].river == "Danube"
    with pytest.raises(StructuredOutputValidationError):
        await ask(agent)


async def test_with_structured_output() -> None:
    policy, _ = policy_of(in_turn('{"name": "Place", "arguments": {"place": "Linz", "river": "Danube"}}', "Linz."))
    model = policy.with_structured_output(Place)
    assert await model.ainvoke("Where?") == Place(place="Linz", river="Danube")
    assert await model.ainvoke("Where?") is None


async def test_a_history_that_is_summarised_opens_rows_of_its_own() -> None:
    def reply(text: str, seed: int) -> str:
        if "summar" in text.lower().split("<|im_start|>user")[-1]:
            return "They looked up places."
        count = text.count("<tool_response>")
        return call("look", f'{{"place": "Place {len(text)}"}}') if count < 4 else "Done."

    policy, engine = policy_of(reply)
    middleware = SummarizationMiddleware(policy, trigger=("messages", 6), keep=("messages", 4))
    agent = create_agent(policy, TOOLS, middleware=[middleware])
    with pytest.raises(GraphRecursionError):
        await ask(agent, recursion_limit=60)
    kinds = ["summary" if "looked up" in engine.chat.text(turn.completion_ids) else "call" for turn in policy.turns]
    assert kinds.count("summary") >= 2
    assert any(turn.rewritten for turn in policy.turns)
    made = rows(policy)
    assert len(made) < len(policy.turns)
    assert sum(len(row.terms) for row in made) == sum(len(turn.completion_ids) for turn in policy.turns)


async def test_results_that_are_cleared_for_one_request() -> None:
    policy, engine = policy_of(
        lambda text, seed: call("look", f'{{"place": "{"x" * 200}"}}') if text.count("tool_response>") < 10 else "Done."
    )
    edit = ClearToolUsesEdit(trigger=150, keep=1, clear_tool_inputs=True)
    agent = create_agent(policy, TOOLS, middleware=[ContextEditingMiddleware(edits=[edit])])
    state = await ask(agent)
    assert state["messages"][-1].text == "Done."
    assert "[cleared]" in seen(engine)
    assert policy.turns[-1].rewritten
    assert not policy.turns[1].rewritten


class Branches(TypedDict, total=False):
    question: str
    delays: list[float]
    delay: float
    messages: Annotated[list[AnyMessage], operator.add]


def branching(model: Any, *, nested: bool, sync: bool) -> Any:
    async def answer(state: Branches) -> Any:
        await asyncio.sleep(state["delay"])
        return {"messages": [await model.ainvoke([HumanMessage("The same question.")])]}

    def answer_sync(state: Branches) -> Any:
        return {"messages": [model.invoke([HumanMessage("The same question.")])]}

    def spread(state: Branches) -> list[Send]:
        return [Send("branch", {"delay": delay}) for delay in state["delays"]]

    node: Any = answer_sync if sync else answer
    if nested:
        inner = StateGraph(Branches, output_schema=Answers)
        inner.add_node("answer", node)
        inner.add_edge(START, "answer")
        node = inner.compile()
    outer = StateGraph(Branches)
    outer.add_node("branch", node)
    outer.add_conditional_edges(START, spread, ["branch"])
    outer.add_edge("branch", END)
    return outer.compile()


class Answers(TypedDict):
    messages: Annotated[list[AnyMessage], operator.add]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("sync", [False, True])
async def test_parallel_branches_are_drawn_apart_and_in_the_same_way_whichever_is_faster(
    nested: bool, sync: bool
) -> None:
    async def run(delays: Sequence[float]) -> list[tuple[int, ...]]:
        policy, engine = policy_of(lambda text, seed: f"Reply {seed}")
        graph = branching(policy, nested=nested, sync=sync)
        await graph.ainvoke({"delays": delays}, {"callbacks": [Places()]})
        assert len({tuple(prompt) for prompt, _ in engine.sent}) == 1
        return [turn.completion_ids for turn in policy.turns]

    slow_first = await run([0.1, 0.05, 0.0])
    slow_last = await run([0.0, 0.05, 0.1])
    assert len(set(slow_first)) == 3
    assert slow_first == slow_last


async def test_a_plain_node_reaches_the_engine_on_the_loop_of_the_run() -> None:
    homes: set[asyncio.AbstractEventLoop] = set()

    class Bound(ScriptedEngine):
        async def generate(self, *args: Any, **kwargs: Any) -> Any:
            homes.add(asyncio.get_running_loop())
            return await super().generate(*args, **kwargs)

    engine = Bound(lambda text, seed: "Yes.", TEMPLATE)
    policy = PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(), run="r", seed=0)
    await asyncio.to_thread(policy.invoke, "Hi")
    await asyncio.to_thread(lambda: asyncio.run(policy.ainvoke("Hi")))
    assert homes == {asyncio.get_running_loop()}
    with pytest.raises(ConfigError, match="await model"):
        policy.invoke("Hi")


async def test_a_retry_is_drawn_anew() -> None:
    policy, engine = policy_of(lambda text, seed: f"Reply {seed}")
    await policy.ainvoke("Hi")
    await policy.ainvoke("Hi")
    first, second = (seed for _, seed in engine.sent)
    assert first != second


async def test_of_two_replies_that_say_the_same_the_one_that_travelled_is_extended() -> None:
    policy, engine = policy_of(lambda text, seed: "planner")
    tokens = engine.chat.template.encode("planner")
    spelled = [engine.chat.template.encode(letter)[0] for letter in "planner"]
    assert tokens != spelled
    draws = iter([spelled, tokens, tokens])
    generate = engine.generate

    async def other_tokens(*args: Any, **kwargs: Any) -> Any:
        drawn = await generate(*args, **kwargs)
        ids = (*next(draws), engine.chat.end_of_turn)
        return type(drawn)(ids, (-0.5,) * len(ids), "stop", 0)

    engine.generate = other_tokens
    one, other = await policy.ainvoke("Hi"), await policy.ainvoke("Hi")
    assert one.text == other.text
    await policy.ainvoke([HumanMessage("Hi"), one, HumanMessage("Sure?")])
    assert policy.turns[2].prompt_ids[: len(policy.turns[0].prompt_ids) + len(spelled)][-len(spelled) :] == tuple(
        spelled
    )


async def test_a_reply_that_is_given_again_word_for_word_stays_in_its_transcript() -> None:
    again = '<tool_call>\n{"arguments": {"b": 2,   "a": 1}, "name": "add"}\n</tool_call>'  # not as a template writes it
    policy, _ = policy_of(in_turn(again, again, again, "done"))
    await ask(create_agent(policy, TOOLS))
    assert len({turn.completion_ids for turn in policy.turns[:3]}) == 1
    assert not any(turn.rewritten for turn in policy.turns)
    assert len(rows(policy)) == 1


def test_random_is_not_asked() -> None:
    """Seeds come from the run alone."""
    random.seed(0)
    before = random.getstate()
    policy, _ = policy_of(lambda text, seed: "Yes.")
    policy.invoke("Hi")
    assert random.getstate() == before
