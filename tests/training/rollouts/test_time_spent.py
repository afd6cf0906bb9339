"""Where the time of rollouts goes: every moment counts once, for our graph and for anybody's."""

from __future__ import annotations

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import StructuredTool
from langgraph.pregel import Pregel

from evals.task import Task
from tests.training.rollouts.test_collector import DIRECT, collector, direct_plan, number_tool, task
from tests.training.support.scripted_engine import ScriptedEngine
from tools.sandbox import Sandbox
from tools.spans import Span, SpanKind, note_span, recorded
from training.rollouts.agents import GraphAgent
from training.rollouts.factory import FactoryAgent
from training.rollouts.time_spent import time_figures, time_in_words, time_spent

KINDS: list[SpanKind] = ["model", "tools", "sandbox", "reward", "wait"]


def test_a_moment_counts_as_the_innermost_thing_and_as_waiting_first() -> None:
    spans = [
        Span("model", "planner", 1.0, 4.0),
        Span("wait", "engine", 1.0, 2.0),
        Span("tools", "python", 5.0, 9.0),
        Span("sandbox", "python", 6.0, 8.0),
        Span("wait", "sandbox", 5.0, 6.0),
    ]
    spent = time_spent(spans, 0.0, 10.0)
    assert spent == {
        "process": 3.0,
        "model": 2.0,
        "wait_engine": 1.0,
        "tools": 1.0,
        "sandbox": 2.0,
        "wait_sandbox": 1.0,
    }


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(-5, 25), st.integers(0, 20))), st.integers(1, 20))
def test_the_parts_of_a_run_sum_to_its_seconds(pieces: list[tuple[SpanKind, int, int]], ended: int) -> None:
    spans = [Span(kind, "x", began, began + length) for kind, began, length in pieces]
    spent = time_spent(spans, 0, ended)
    assert sum(spent.values()) == ended
    covered = {moment for span in spans for moment in range(int(span.began), int(span.ended))} & set(range(ended))
    assert spent.get("process", 0) == ended - len(covered)
    waits = [span for span in spans if span.kind == "wait"]
    assert spent.get("wait_x", 0) == sum(any(w.began <= m < w.ended for w in waits) for m in range(ended))


def test_figures_tell_means_the_slowest_and_what_the_step_had_to_take() -> None:
    spent = [{"model": 2.0, "process": 1.0}, {"model": 1.0, "tools": 2.0, "wait_engine": 5.0}, {}]
    figures = time_figures(spent)
    assert figures["rollout_seconds/model"] == 1.5
    assert figures["slowest_seconds/wait_engine"] == 5.0
    assert figures["ideal_seconds"] == 3.0
    words = time_in_words({**figures, "stretch": 8 / 3})
    assert words.startswith("a run 5.5 s (wait_engine 2.5, model 1.5, tools 1, process 0.5); the slowest 8 s (wait_eng")
    assert words.endswith("the step took 2.67 times as long as its longest models and tools")
    assert time_in_words({"reward": 1.0}) == ""
    assert time_figures([{}]) == {}


def test_spans_are_noted_where_a_record_is_open() -> None:
    note_span("model", "nobody", time.perf_counter())
    with recorded() as spans:
        note_span("model", "planner", 1.0, 2.0)
    note_span("model", "nobody", time.perf_counter())
    assert spans == [Span("model", "planner", 1.0, 2.0)]


class SlowEngine(ScriptedEngine):
    """Lets every completion wait for a place, and then takes as long again."""

    async def generate(self, prompt_ids, sampling, *, seed, run):  # type: ignore[no-untyped-def]  # as above
        await asyncio.sleep(0.04)
        drawn = await super().generate(prompt_ids, sampling, seed=seed, run=run)
        return type(drawn)(
            *[getattr(drawn, n) for n in ("token_ids", "logprobs", "finish_reason", "policy_version")], 0.02
        )


async def slow_double(number: str) -> str:
    """Double a number."""
    await asyncio.sleep(0.03)
    return str(2 * int(number))


async def test_our_graph_tells_model_tools_and_what_was_waited_for() -> None:
    tool = StructuredTool.from_function(coroutine=slow_double, name="double")
    made = await collector(SlowEngine(direct_plan), GraphAgent(DIRECT, tools=[tool]), concurrency=1).collect(
        0, [task(3)]
    )
    for number, rollout in enumerate(sorted(made, key=lambda each: sum(each.spent.values()))):
        spent = rollout.spent
        assert spent["wait_engine"] >= 0.0199
        assert spent["model"] >= 0.0199
        assert spent["tools"] >= 0.0299
        assert spent["process"] > 0
        assert spent.get("wait_place", 0.0) >= number * 0.0699  # one at a time, each after those before it


async def test_somebody_elses_graph_tells_them_too() -> None:
    def make(model: BaseChatModel) -> Pregel:  # type: ignore[type-arg]
        return create_agent(model, tools=[StructuredTool.from_function(coroutine=slow_double, name="double")])

    call = '<tool_call>\n{"name": "double", "arguments": {"number": "4"}}\n</tool_call>'
    engine = SlowEngine(lambda text, seed: "8" if "tool_response" in text else call, "qwen2_5")
    agent = FactoryAgent(make, name="mine")
    made = await collector(engine, agent).collect(0, [Task(id="t", question="What is twice 4?", answers=("8",))])
    assert [rollout.reward for rollout in made] == [1.0] * 4
    for rollout in made:
        assert rollout.spent["model"] >= 2 * 0.0199
        assert rollout.spent["wait_engine"] >= 2 * 0.0199
        assert rollout.spent["tools"] >= 0.0299


async def test_the_sandbox_tells_what_it_took_and_what_was_waited_for() -> None:
    sandbox = Sandbox(max_parallel=1)
    with recorded() as spans:
        await asyncio.gather(*(sandbox.arun("import time; time.sleep(0.05)") for _ in range(2)))
    taken = sorted(span.ended - span.began for span in spans if span.kind == "sandbox")
    waited = sorted(span.ended - span.began for span in spans if span.kind == "wait")
    assert len(taken) == len(waited) == 2
    assert taken[0] >= 0.05
    assert waited[1] >= 0.05


async def test_tries_that_failed_count_as_waiting() -> None:
    engine = ScriptedEngine(lambda text, seed: None)
    agent = GraphAgent(DIRECT, tools=[number_tool()])
    made = await collector(engine, agent, attempts=2, backoff=0.03).collect(0, [task(1)])
    assert all(rollout.spent["wait_try"] >= 0.0299 for rollout in made)
