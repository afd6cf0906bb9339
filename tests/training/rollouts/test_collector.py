"""Rollouts of the real graph: captured to the token, bound to their runs, complete in spite of failures around them."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.tools import StructuredTool, ToolException

from evals.speed.fake_server import ChatReply, ChatRequest, FakeModelServer
from evals.task import Task
from graph import Context
from graph.errors import ConfigError, DataError, ModelRejected, ModelUnavailable
from graph.models.spec import make_model
from tests.graph.conftest import calls_text, double_tool, verdict_text
from tests.training.support.scripted_engine import ScriptedEngine
from tools.errors import ToolUnavailable
from training.engines.base import Sampling
from training.rollouts.agents import GraphAgent
from training.rollouts.collector import Collector, CollectorSettings
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Rollout, failures_by_kind
from training.rollouts.rewards import make_reward
from training.rollouts.store import RolloutStore, read_rollouts


def task(number: int) -> Task:
    return Task(id=f"t{number}", question=f"What is twice {number}?", answers=(str(2 * number),))


def asked(text: str) -> int:
    return int(text.split("twice ")[1].split("?")[0])


def direct_plan(text: str, seed: int) -> str:
    """Doubles what is asked for; one seed in four goes wrong."""
    return f"Tool: double\nInput: {asked(text) + (seed % 4 == 0)}"


DIRECT = Context(direct_arguments=True, verify="rules", answer="last_result", analyse=False, max_turns=1)


def number_tool() -> StructuredTool:
    def double(number: str) -> str:
        """Double a number."""
        return str(2 * int(number))

    return StructuredTool.from_function(double, name="double")


def collector(
    engine: ScriptedEngine,
    agent: GraphAgent,
    store: RolloutStore | None = None,
    reward: str = "scorer",
    **settings: Any,
) -> Collector:
    def make_policy(run: str, seed: int) -> PolicyChat:
        return PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(), run=run, seed=seed)

    chosen = CollectorSettings(**{"group_size": 4, "backoff": 0.0, **settings})
    return Collector(agent, engine, make_policy, make_reward(reward), chosen, store=store)


async def test_rollouts_carry_their_own_turns_and_rewards(tmp_path: Path) -> None:
    engine = ScriptedEngine(direct_plan)
    store = RolloutStore(tmp_path)
    seen: list[str] = []
    made = await collector(engine, GraphAgent(DIRECT, tools=[number_tool()]), store).collect(
        3, [task(n) for n in range(10, 20)], on_rollout=lambda rollout: seen.append(rollout.id)
    )
    assert [rollout.id for rollout in made] == [f"3/t{n}/{i}" for n in range(10, 20) for i in range(4)]
    for rollout in made:
        [turn] = rollout.turns
        prompt = engine.chat.text(turn.prompt_ids)
        written = engine.chat.text(turn.completion_ids)
        assert asked(prompt) == asked(rollout.task.question)
        right = written == f"Tool: double\nInput: {asked(prompt)}"
        assert rollout.reward == rollout.rewards["outcome"] == float(right)
        assert rollout.memory[0]["reply"] == written
    assert {rollout.reward for rollout in made} == {0.0, 1.0}
    assert sorted(seen) == sorted(rollout.id for rollout in made)
    assert sorted(read_rollouts(tmp_path), key=lambda rollout: made.index(rollout)) == made


@pytest.mark.parametrize("concurrency", [None, 3])
async def test_every_run_is_admitted_while_it_runs(concurrency: int | None) -> None:
    admitted = 0
    seen: list[int] = []

    class Counting(ScriptedEngine):
        @asynccontextmanager
        async def admit(self) -> AsyncIterator[None]:
            nonlocal admitted
            admitted += 1
            yield
            admitted -= 1

    def reply(text: str, seed: int) -> str:
        seen.append(admitted)
        return direct_plan(text, seed)

    tasks = [task(n) for n in range(3)]
    await collector(Counting(reply), GraphAgent(DIRECT, tools=[number_tool()]), concurrency=concurrency).collect(
        0, tasks
    )
    assert max(seen) == (concurrency or 12)
    assert min(seen) >= 1
    assert admitted == 0


async def test_later_turns_extend_the_very_tokens_of_earlier_ones() -> None:
    def uncanonical(text: str, seed: int) -> str:
        return f"Tool: double\nInput: {text.count('Turns left')}"

    engine = ScriptedEngine(uncanonical)
    context = Context(direct_arguments=True, verify="rules", answer="last_result", analyse=False, max_turns=3)
    [first, *_] = await collector(engine, GraphAgent(context, tools=[number_tool()])).collect(0, [task(5)])
    assert len(first.turns) == 3
    for before, after in zip(first.turns, first.turns[1:], strict=False):
        known = before.prompt_ids + before.completion_ids
        assert after.prompt_ids[: len(known)] == known


async def test_a_group_shares_one_analysis() -> None:
    with FakeModelServer(lambda request: f"Analysis number {random.random()}.") as server:
        context = Context(model=server.spec, direct_arguments=True, verify="rules", answer="last_result", max_turns=1)
        engine = ScriptedEngine(direct_plan)
        made = await collector(engine, GraphAgent(context, tools=[number_tool()])).collect(0, [task(1), task(2)])
        assert len(server.requests) == 2
    by_task = {(rollout.task.id, rollout.analysis) for rollout in made}
    assert len(by_task) == 2
    for rollout in made:
        assert rollout.analysis in engine.chat.text(rollout.turns[0].prompt_ids)


@pytest.fixture
def unreliable() -> Iterator[FakeModelServer]:
    """Analyst, executor and verifier of a server that fails in 30 % of all calls, in every way a server can."""
    chance = random.Random(7)
    failures: list[ChatReply] = [
        ChatReply("overloaded", status=500),
        ChatReply("gone", status=503),
        ChatReply("whatever", cut=True),
        ChatReply("x", raw=b'{"choices": [{"mess'),
        ChatReply("", raw=b""),
        ChatReply("too late", delay=30.0),
    ]

    def reply(request: ChatRequest) -> str | ChatReply:
        if chance.random() < 0.3:
            return chance.choice(failures)
        prompt = str(request.messages[-1]["content"])
        if request.role == "executor":
            return calls_text({"number": int(prompt.split("double ")[1].split()[0])})
        return f"It is about {asked(prompt)}." if request.role == "analyst" else verdict_text()

    with FakeModelServer(reply) as server:
        yield server


async def test_with_30_percent_of_all_calls_failing_nothing_is_lost_or_mixed_up(
    unreliable: FakeModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(spec: str, **settings: Any) -> Any:
        return make_model(spec, **{**settings, "timeout": 2.0})

    monkeypatch.setattr("graph.models.roles.make_model", impatient)  # a server that hangs is given up after two seconds
    chance = random.Random(8)

    async def flaky(number: int) -> str:
        """Double a number."""
        if chance.random() < 0.3:
            match chance.randrange(5):
                case 0:
                    raise ToolException("out of order")
                case 1:
                    raise ToolUnavailable("no route to the service")
                case 2:
                    json.loads('{"answer": ')
                case 3:
                    await asyncio.sleep(60)
                case _:
                    return ""
        return str(2 * number)

    def plan(text: str, seed: int) -> str | None:
        if chance.random() < 0.3:
            return None
        wrong = seed % 5 == 0
        return f"Justification: j\nContext: c\nSub-Goal: double {asked(text) + wrong} now\nTool Name: double"

    engine = ScriptedEngine(plan)
    context = Context(model=unreliable.spec, answer="last_result", max_turns=3, max_seconds=60)
    tool = StructuredTool.from_function(coroutine=flaky, name="double", metadata={"time_limit": 2.0})
    store = RolloutStore(tmp_path)
    tasks = [task(n) for n in range(100, 150)]
    made = await collector(engine, GraphAgent(context, tools=[tool]), store, attempts=4).collect(0, tasks)
    assert len(made) == len(list(read_rollouts(tmp_path))) == 200
    finished = [rollout for rollout in made if rollout.failure is None]
    assert sum(failures_by_kind(made).values()) == 200 - len(finished)
    assert set(failures_by_kind(made)) <= {"unavailable"}
    assert len(finished) > 100
    called = [call for rollout in finished for turn in rollout.memory for call in turn["calls"]]
    assert len({call["error"]["kind"] for call in called if call["error"]}) >= 3
    for rollout in finished:
        number = asked(rollout.task.question)
        assert all(asked(engine.chat.text(turn.prompt_ids)) == number for turn in rollout.turns)
        assert rollout.analysis == f"It is about {number}."
        results = [
            call["result"]
            for turn in rollout.memory
            if turn["verdict"]["accepted"]
            for call in turn["calls"]
            if not call["error"]
        ]
        assert rollout.answer == (results[-1] if results else "")
        assert rollout.reward == float(rollout.answer == str(2 * number))
        assert len(rollout.turns) >= len(rollout.memory)
    assert Counter(rollout.reward for rollout in finished)[1.0] > 50


async def test_a_run_that_the_policy_left_without_a_reply_is_tried_again() -> None:
    class Restarting(ScriptedEngine):
        """Its server was just killed: the first calls wait for the next one."""

        async def generate(self, prompt_ids: Any, sampling: Any, *, seed: int, run: str) -> Any:
            if run not in self.waited:
                self.waited.add(run)
                await asyncio.sleep(60)
            return await super().generate(prompt_ids, sampling, seed=seed, run=run)

        waited: ClassVar[set[str]] = set()

    agent = GraphAgent(replace(DIRECT, max_seconds=1.0), tools=[number_tool()])
    rollouts = await collector(Restarting(direct_plan), agent, group_size=2).collect(0, [task(1)])
    assert [(rollout.attempts, len(rollout.turns), rollout.failure) for rollout in rollouts] == [(2, 1, None)] * 2

    rollouts = await collector(Restarting(direct_plan), agent, group_size=2, attempts=1).collect(1, [task(1)])
    assert failures_by_kind(rollouts) == {"unavailable": 2}
    assert "did not reply within the run's time" in str(rollouts[0].failure)


async def test_a_dead_policy_server_is_a_failure_and_no_reward() -> None:
    made = await collector(ScriptedEngine(lambda text, seed: None), GraphAgent(DIRECT, tools=[number_tool()])).collect(
        0, [task(1)]
    )
    assert failures_by_kind(made) == {"unavailable": 4}
    assert all(rollout.reward is None and rollout.attempts == 3 for rollout in made)


@pytest.mark.parametrize("guessed", [False, True])
async def test_a_service_that_is_down_is_no_reward_unless_the_answer_was_right_all_the_same(guessed: bool) -> None:
    def double(number: str) -> str:
        """Double a number."""
        if guessed and int(number) > 0:
            return str(2 * int(number))
        raise ToolUnavailable("no route to the service")

    def plan(text: str, seed: int) -> str:
        return f"Tool: double\nInput: {1 if 'Turns left: 1' in text else 0}"

    tool = StructuredTool.from_function(double, name="double", handle_tool_error=False)
    agent = GraphAgent(replace(DIRECT, max_turns=2), tools=[tool])
    made = await collector(ScriptedEngine(plan), agent).collect(0, [task(1)])
    if guessed:
        assert all(rollout.reward == 1.0 for rollout in made)
    else:
        assert failures_by_kind(made) == {"unavailable": 4}
        assert made[0].failure is not None
        assert "no route" in made[0].failure["message"]


async def test_what_every_run_would_meet_ends_the_step() -> None:
    def refuse(request: ChatRequest) -> ChatReply:
        return ChatReply("invalid key", status=401)

    with FakeModelServer(refuse) as server:
        context = Context(model=server.spec, max_turns=1)
        with pytest.raises(ModelRejected):
            await collector(ScriptedEngine(direct_plan), GraphAgent(context, tools=[double_tool])).collect(0, [task(1)])


async def test_a_defect_in_one_run_is_recorded() -> None:
    def plan(text: str, seed: int) -> str:
        if asked(text) == 2:
            raise RuntimeError("a defect")
        return direct_plan(text, seed)

    made = await collector(ScriptedEngine(plan), GraphAgent(DIRECT, tools=[number_tool()])).collect(
        0, [task(1), task(2)]
    )
    assert [bool(rollout.failure) for rollout in made] == [False] * 4 + [True] * 4
    assert failures_by_kind(made) == {"defect": 4}


async def test_another_role_can_be_trained() -> None:
    with FakeModelServer(
        lambda r: "Sub-Goal: double it\nTool Name: double" if r.role == "planner" else verdict_text()
    ) as s:
        context = Context(model=s.spec, answer="last_result", analyse=False)
        agent = GraphAgent(context, tools=[double_tool], role="executor")
        question = Task(id="x", question="What is twice 4?", answers=("8",))
        engine = ScriptedEngine(lambda text, seed: calls_text({"number": 4}))
        made = await collector(engine, agent).collect(0, [question])
    assert all(rollout.reward == 1.0 and len(rollout.turns) == 1 for rollout in made)


async def halves(task: Task, state: Any) -> float:
    return 0.5 if state["answer"] else 0.0


def words(task: Task, state: Any) -> str:
    return "many"


async def test_rewards_of_ones_own() -> None:
    agent = GraphAgent(DIRECT, tools=[number_tool()])
    engine = ScriptedEngine(direct_plan)
    made = await collector(engine, agent, reward=f"{__name__}:halves").collect(0, [task(1)])
    assert {rollout.reward for rollout in made} == {0.5}
    with pytest.raises(DataError, match="must be a number"):
        await collector(engine, agent, reward=f"{__name__}:words").collect(0, [task(1)])
    for bad in ("scored", "no.such.module:f", f"{__name__}:missing", f"{__name__}:DIRECT", "judge:"):
        with pytest.raises(ConfigError):
            make_reward(bad)


async def test_a_judge_rewards_what_it_calls_right(tmp_path: Path) -> None:
    def judge(request: ChatRequest) -> str:
        answer = str(request.messages[-1]["content"]).split("Answer:\n")[1]
        return {"8": "The same.\nCORRECT", "9": "Another number.\nINCORRECT"}.get(answer, "I cannot say.")

    with FakeModelServer(judge) as server:
        reward = make_reward(f"judge:{server.spec}", cache=tmp_path)
        for answer, earned in (("8", 1.0), ("9", 0.0), ("8", 1.0), ("", 0.0)):
            assert (await reward(task(4), {"answer": answer}, [])).total == earned
        assert len(server.requests) == 2  # what was judged is known, and no answer needs no judge
        with pytest.raises(ModelUnavailable, match="gave no verdict"):
            await reward(task(4), {"answer": "10"}, [])


async def test_partial_rewards_what_is_half_right() -> None:
    question = Task(id="t", question="Where?", answers=("Royal Military College Sandhurst",))
    for spec, earned in (("partial", 0.75), ("scorer", 0.0), ("exact", 0.0)):
        reward = await make_reward(spec)(question, {"answer": "Royal Military Academy Sandhurst"}, [])
        assert reward.total == reward.terms["outcome"] == pytest.approx(earned)


async def test_exact_rewards_what_published_figures_count() -> None:
    question = Task(id="t", question="How many years?", answers=("52",))
    for answer, lenient, exact in (("52", 1.0, 1.0), ("about 52 years", 1.0, 0.0), ("about 53 years", 0.0, 0.0)):
        earned = [(await make_reward(spec)(question, {"answer": answer}, [])).total for spec in ("scorer", "exact")]
        assert earned == [lenient, exact]


async def test_format_and_length_terms_are_told_apart() -> None:
    reward = make_reward("scorer", format_weight=0.2, length_weight=0.1, max_tokens=100)
    engine = ScriptedEngine(lambda text, seed: "I do not know.")
    [rollout, *_] = await collector(engine, GraphAgent(DIRECT, tools=[number_tool()])).collect(0, [task(1)])
    earned = await reward(rollout.task, {"answer": "2", "memory": rollout.memory}, rollout.turns)
    share = len(rollout.turns[0].completion_ids) / 100
    assert earned.terms == pytest.approx({"outcome": 1.0, "format": 0.0, "length": -0.1 * share})
    assert earned.total == pytest.approx(sum(earned.terms.values()))


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="trained and cannot have"):
        GraphAgent(Context(planner="embedded"))
    with pytest.raises(ConfigError, match="no role"):
        GraphAgent(Context(), role="boss")


def test_a_torn_last_line_is_left_out_and_other_damage_is_told(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path)
    for step in (0, 1, 2):
        store.append(Rollout(f"{step}/t/0", task(1), step, 0, 0, reward=1.0))
    with (tmp_path / "step-000002.jsonl").open("ab") as file:
        file.write(b'{"schema": 1, "id": "2/')
    assert [rollout.step for rollout in read_rollouts(tmp_path)] == [0, 1, 2]
    store.discard_from(1)
    assert [rollout.step for rollout in read_rollouts(tmp_path)] == [0]
    with (tmp_path / "step-000000.jsonl").open("ab") as file:
        file.write(json.dumps({"schema": 99}).encode() + b"\n")
    with pytest.raises(DataError, match=r"line 2.*schema 99"):
        list(read_rollouts(tmp_path))
    with pytest.raises(DataError, match="holds no rollouts"):
        list(read_rollouts(tmp_path / "nowhere"))


def test_runs_that_are_trained_on_do_not_plan_ahead() -> None:
    with pytest.raises(ConfigError, match="speculate"):
        GraphAgent(replace(DIRECT, speculate=True), tools=[number_tool()])
