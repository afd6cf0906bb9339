"""Whatever an agent does with its history: each sampled token is trained once, after the tokens it was drawn after.

Random agents call tools alone and side by side, repeat calls, edit, trim and summarise their history, change their
tools, begin anew, and ask the policy in one role or another; random policies answer with calls, thinking, broken calls,
cut-off replies and plain noise. Every token has a log-probability of its own, by which its term is found again.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from evals.task import Task
from tests.training.support.templates import template_tokenizer
from training.engines.base import Completion, Sampling
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import Group, Rollout
from training.update.assemble import assemble
from training.update.packing import pack

REPLIES = (
    '<tool_call>\n{"name": "look", "arguments": {"place": "Linz"}}\n</tool_call>',
    'Both. <tool_call>{"name":"look","arguments":{"place":"a"}}</tool_call>\n{"name": "add", "arguments": {"a": 1}}',
    "<think>\nHm.\n</think>\n\nThe Danube.",
    '<think>\nHm.\n</think>\n\n<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>',
    "<think>\nNever closed",
    '<tool_call>\n{"name": "look", "arguments": {',
    "  Plain.  \n",
    "",
)


def look(place: str) -> str:
    """Look a place up."""
    return place


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Noise:
    """Draws any reply, each token with a log-probability that no other token has; keeps what it was sent."""

    version = 0
    max_context = 1_000_000

    def __init__(self, chat: ChatTokens, chance: random.Random) -> None:
        self.chat = chat
        self.chance = chance
        self.numbers = itertools.count(1)
        self.sent: dict[float, tuple[tuple[int, ...], int, str]] = {}
        """By log-probability: all that stood before the token, the token, and who was asked."""

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Completion:
        await asyncio.sleep(self.chance.choice((0, 0.001)))
        ids = self.chat.template.encode(self.chance.choice(REPLIES))
        if self.chance.random() < 0.2:
            ids = [self.chance.randrange(3, 400) for _ in range(self.chance.randrange(6))]
        cut = self.chance.random() < 0.2
        ids = ids[: self.chance.randrange(len(ids) + 1)] if cut else [*ids, self.chat.end_of_turn]
        logprobs = tuple(-float(next(self.numbers)) for _ in ids)
        for number, (id_, logprob) in enumerate(zip(ids, logprobs, strict=True)):
            self.sent[logprob] = (*prompt_ids, *ids[:number]), id_, sampling.role
        return Completion(tuple(ids), logprobs, "length" if cut else "stop", 0)


class RandomAgent:
    """Asks the policy a dozen times, and does to its history what agents do."""

    def __init__(self, policy: PolicyChat, chance: random.Random, roles: Sequence[str]) -> None:
        self.policy = policy
        self.chance = chance
        self.roles = self.chance.choices(roles, k=3)  # a run may never ask one of them
        self.messages: list[AnyMessage] = [SystemMessage("Be brief."), HumanMessage("Where?")]
        self.tools: list[Any] = [look, add]

    async def run(self) -> None:
        for _ in range(self.chance.randrange(3, 10)):
            self.chance.choice((self.nothing, self.nothing, self.nothing, self.edit, self.trim, self.summarise,
                                self.insert, self.other_tools, self.begin_anew))()  # fmt: skip
            policy = self.policy.as_role(self.chance.choice(self.roles))
            model = policy.bind_tools(self.tools) if self.tools else policy
            replies = await asyncio.gather(
                *(model.ainvoke(self.messages) for _ in range(self.chance.choice((1, 1, 3))))
            )
            reply = self.chance.choice(replies)
            if self.chance.random() < 0.1:
                continue  # the reply is thrown away and the call repeated
            self.messages.append(reply)
            for call in reply.tool_calls:
                if self.chance.random() < 0.9:  # some results never come
                    self.messages.append(ToolMessage("A <|im_end|> result.", tool_call_id=call["id"]))
            if not reply.tool_calls:
                self.messages.append(HumanMessage("And now?"))

    def nothing(self) -> None:
        pass

    def edit(self) -> None:
        place = self.chance.randrange(len(self.messages))
        message = self.messages[place]
        if isinstance(message, AIMessage) and message.tool_calls and self.chance.random() < 0.5:
            calls = [{**call, "args": {}} for call in message.tool_calls]
            self.messages[place] = message.model_copy(update={"tool_calls": calls})
        else:
            self.messages[place] = message.model_copy(update={"content": "[cleared]"})

    def trim(self) -> None:
        self.messages = [*self.messages[:2], *self.messages[-self.chance.randrange(1, 4) :]]

    def summarise(self) -> None:
        self.messages = [self.messages[0], HumanMessage("So far: nothing."), *self.messages[-1:]]

    def insert(self) -> None:
        place = self.chance.randrange(1, len(self.messages) + 1)
        self.messages.insert(place, self.chance.choice((AIMessage("I was never sampled."), SystemMessage("Hurry."))))

    def other_tools(self) -> None:
        self.tools = self.chance.choice(([], [look], [look, add]))

    def begin_anew(self) -> None:
        self.messages = self.messages[:2]


CHATS = {name: ChatTokens(template_tokenizer(name)) for name in ("qwen2_5", "qwen3", "llama3_1")}


async def group_of_runs(name: str, seed: int, roles: Sequence[str]) -> tuple[Group, list[Noise]]:
    rollouts, engines = [], []
    task = Task("t", "Where?", ())
    for index in range(4):
        chance = random.Random(f"{seed}/{index}")
        engine = Noise(CHATS[name], chance)
        engine.numbers = itertools.count(1 + 1_000_000 * index)
        policy: Any = PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(), run=f"0/t/{index}", seed=index)
        await RandomAgent(policy, chance, roles).run()
        rollouts.append(Rollout(policy.run, task, 0, index, 0, turns=tuple(policy.turns), reward=float(index)))
        engines.append(engine)
    return Group(task, tuple(rollouts)), engines


def advantages_by_definition(group: Group) -> dict[tuple[int, str], float]:
    """(R - mean) / std of each rollout and role over the rollouts in which the role acted."""
    found = {}
    for role in {turn.role for rollout in group.rollouts for turn in rollout.turns}:
        acted = [each for each in group.rollouts if role in {turn.role for turn in each.turns}]
        rewards = [each.reward or 0.0 for each in acted]
        spread = stdev(rewards) if len(rewards) > 1 else 0.0
        for each, reward in zip(acted, rewards, strict=True):
            found[each.index, role] = (reward - fmean(rewards)) / spread if spread else 0.0
    return found


@pytest.mark.parametrize("roles", [("",), ("planner", "plan")])
@pytest.mark.parametrize("name", CHATS)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_every_token_is_trained_once_after_the_tokens_it_was_drawn_after(
    name: str, roles: tuple[str, ...], seed: int
) -> None:
    group, engines = asyncio.run(group_of_runs(name, seed, roles))
    assembled = assemble([group], temperature=1.0)
    advantages = advantages_by_definition(group)
    sent = {logprob: known for engine in engines for logprob, known in engine.sent.items()}
    owner = {logprob: index for index, engine in enumerate(engines) for logprob in engine.sent}
    found: list[float] = []
    for row in assembled.rows:
        ids = row.input_ids.tolist()
        for position, logprob, advantage in zip(
            row.terms.positions.tolist(),
            row.terms.sampler_logprobs.tolist(),
            row.terms.advantages.tolist(),
            strict=True,
        ):
            before, token, role = sent[logprob]
            assert tuple(ids[:position]) == before
            assert ids[position] == token
            assert (row.rollout, row.role) == (owner[logprob], role)
            assert advantage == pytest.approx(advantages[row.rollout, role], abs=1e-12)
            found.append(logprob)
    assert sorted(found) == sorted(sent)
    batches = pack([row for row in assembled.rows if len(row.terms)], 4096)
    assert {batch.role for batch in batches} == {role for _, _, role in sent.values()}
    packed = [(logprob, batch.role) for batch in batches for logprob in batch.terms.sampler_logprobs.tolist()]
    assert sorted(packed) == sorted((logprob, role) for logprob, (_, _, role) in sent.items())
