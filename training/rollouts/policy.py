"""The policy in one run: a conversation goes in, a message comes out, and what was sampled for it is kept to the token.

It is bound to its run when it is made: nothing is traced, matched by position or tokenized again. It knows no agent
framework: `PolicyChat` is a thin LangChain model in front of it. A reply is the policy's own
as long as its message says what was sampled, text and calls: the record that travels with it, or what the policy
remembers, is then extended. A reply that was edited is somebody else's text.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from graph.errors import AgentFlowError, ConfigError
from graph.models.connections import run_sync
from tools.spans import note_span
from training.engines.base import Completion, Engine, Sampling
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.conversation import NO_TOOLS, Message, ToolSet, prefix_digests
from training.rollouts.records import PlannerTurn, seed_from

Place = tuple[tuple[int, str], ...]
"""Where in a run a call was made: step and path of each graph around it, the outermost first. The same in each run."""

T = TypeVar("T")

_PAUSE = 0.05
"""Seconds before a call beyond the limit is refused: an agent that asks all the same must not keep others waiting."""


class CallLimitReached(AgentFlowError, RuntimeError):
    """The run has made as many calls of the policy as it may: its own failure."""

    kind = "calls"


@dataclass(frozen=True)
class Call:
    """A request to the policy, apart from the conversation."""

    role: str = ""
    """The role it plays."""
    tools: ToolSet = NO_TOOLS
    """What the prompt offers."""
    may_call: bool = True
    """Whether tool calls are read from the reply."""
    most_calls: int | None = None
    """Calls of one reply; None: as many as the model's format can hold."""
    stop: tuple[str, ...] = ()
    """Texts that end the reply; it does not show them."""
    max_tokens: int | None = None
    """A length below that of the run's sampling."""
    place: Place = ()


@dataclass(frozen=True)
class Sampled:
    """A call that was answered."""

    place: Place
    message: Message
    turn: PlannerTurn
    offered: frozenset[str]
    """Names of the tools that the prompt offered."""


class Policy:
    """Samples the replies of one run. Calls may come from several threads and event loops.

    Args:
        engine: samples the replies.
        chat: the model's chat template.
        sampling: temperature and length; a caller can ask for less length, and for nothing else.
        run: id of the rollout.
        seed: of the rollout; each call has its own, made from it, the call's place and its prompt.
    """

    def __init__(self, engine: Engine, chat: ChatTokens, sampling: Sampling, run: str, seed: int) -> None:
        self.engine = engine
        self.chat = chat
        self.sampling = sampling
        self.run = run
        self.seed = seed
        self.sampled: list[Sampled] = []
        """All calls, in the order in which they ended."""
        self.most_calls: int | None = None
        """Calls that the run may make; None: any number."""
        self.results: dict[str, str] = {}
        """Results of tools by the id of their call, as later prompts told them."""
        self._by_reply: dict[str, list[Sampled]] = {}
        self._asked: Counter[tuple[object, ...]] = Counter()
        self._home = _running_loop()
        self._calls = 0
        self._closed = False
        self._waiting = 0
        self._waited = 0.0
        self._waits_since = 0.0

    @property
    def turns(self) -> list[PlannerTurn]:
        """All that was sampled, by step and path: the same order in each run, whatever branch was faster."""
        return [each.turn for each in sorted(self.sampled, key=lambda each: each.place)]

    @property
    def seconds_waited(self) -> float:
        """How long the run has had nothing to do but wait for the engine, or for one of several replies at once."""
        return self._waited + (time.perf_counter() - self._waits_since if self._waiting else 0.0)

    @contextmanager
    def _wait(self) -> Iterator[None]:
        if not self._waiting:
            self._waits_since = time.perf_counter()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._waited += time.perf_counter() - self._waits_since

    def close(self) -> None:
        """Ends the run: nothing that still runs of it samples again, e.g. a plain function on a thread of its own."""
        self._closed = True

    def _refuse_closed(self) -> None:
        if self._closed:  # an error that code which catches every `Exception` does not catch
            raise asyncio.CancelledError(f"The run {self.run} has ended.")

    async def reply(self, messages: Sequence[Message], call: Call) -> Message:
        """Samples the next message of a conversation; its `turn` is what was sampled.

        Raises:
            ConfigError: the model's chat template cannot hold the conversation, or has no tools.
            ModelUnavailable: the engine is gone.
            ContextLengthExceeded: the conversation leaves no room for a reply.
            CallLimitReached: the run has made all of its calls.
            asyncio.CancelledError: the run has ended.
        """
        self._refuse_closed()
        work = self._reply(messages, call)
        if self._home is None or self._home is _running_loop():
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._home))

    def reply_sync(self, messages: Sequence[Message], call: Call) -> Message:
        """The same for callers without an event loop, e.g. a node that is a plain function.

        Raises:
            ConfigError: it was called on the very loop that has to do the work.
        """
        self._refuse_closed()
        if self._home is None:
            return run_sync(self._reply(messages, call))
        if self._home is _running_loop():
            raise ConfigError(
                "The model was called with `invoke` or `stream` inside a coroutine, which blocks all other runs: write "
                "`await model.ainvoke(...)` there, or make the node a plain function."
            )
        return _result(self._reply(messages, call), self._home)

    async def _reply(self, messages: Sequence[Message], call: Call) -> Message:
        await self._count_call()
        if call.tools and self.chat.template.refuses_tools:
            raise ConfigError(
                f"The agent offers tools to the policy. {self.chat.template.refuses_tools} Train a model that knows "
                "tools."
            )
        known, written = self._recognised(messages, call.tools)
        self.results.update({each.call_id: each.content for each in messages if each.role == "tool" and each.call_id})
        prompt, extended = self.chat.prompt(known, call.tools)
        where = (call.role, call.place, tuple(prompt))
        self._asked[where] += 1
        # Differs between calls that have the same prompt, and does not depend on which of two branches is faster.
        seed = seed_from(self.seed, "turn", call.role, call.place, self._asked[where], *prompt)
        began = time.perf_counter()
        try:
            with self._wait():
                drawn = await self.engine.generate(prompt, self._sampling(call), seed=seed, run=self.run)
        except BaseException:
            self._asked[where] -= 1  # a call that failed and is made again is the same call
            raise
        finally:
            note_span("model", call.role or "policy", began)
        self._refuse_closed()
        if drawn.waited:
            note_span("wait", "engine", began, began + drawn.waited)
        completion = self._until_stop(drawn, call.stop)
        message, unreadable = self._read(prompt, completion, call, seed)
        turn = PlannerTurn(
            run=self.run,
            prompt_ids=tuple(prompt),
            completion_ids=completion.token_ids,
            logprobs=completion.logprobs,
            policy_version=completion.policy_version,
            temperature=self.sampling.temperature,
            finish_reason=completion.finish_reason,
            role=call.role,
            prompt_digest=prefix_digests(known, call.tools)[-1],
            reply_digest=message.digest,
            rewritten=any(place > (-1 if extended is None else extended) for place in written),
            unreadable=unreadable,
        )
        message = replace(message, turn=turn, own=True)
        sampled = Sampled(call.place, message, turn, call.tools.names)
        self.sampled.append(sampled)
        self._by_reply.setdefault(message.digest, []).append(sampled)
        return message

    async def _count_call(self) -> None:
        if self.most_calls is not None and self._calls >= self.most_calls:
            await asyncio.sleep(_PAUSE)
            raise CallLimitReached(f"The run has made all of its {self.most_calls} calls (agent_calls).")
        self._calls += 1

    def _sampling(self, call: Call) -> Sampling:
        most = self.sampling.max_tokens
        asked = call.max_tokens if call.max_tokens and call.max_tokens > 0 else most
        return replace(self.sampling, role=call.role, max_tokens=min(asked, most))

    def _recognised(self, messages: Sequence[Message], tools: ToolSet) -> tuple[list[Message], list[int]]:
        """The conversation with the policy's own replies marked, and the places of all that it has written.

        Among these are replies that were edited: they are not its own any more.
        """
        contexts = prefix_digests(messages, tools)
        known: list[Message] = []
        written: list[int] = []
        for place, message in enumerate(messages):
            own = self._own(message, contexts[place]) if message.role == "assistant" else None
            if own is not None or message.record is not None or message.turn is not None:
                written.append(place)
            known.append(own or replace(message, turn=None, own=False))
        return known, written

    def _own(self, message: Message, context: str) -> Message | None:
        record = message.record or {}
        remembered = self._by_reply.get(message.digest, [])
        # Of several that say the same: those with the tokens that travelled, and of these the one that was said here.
        ids = list(record.get("completion_ids", ()))
        said = [each for each in remembered if record and list(each.turn.completion_ids) == ids] or remembered
        if said:
            sampled = next((each for each in said if each.turn.prompt_digest == context), said[0])
            return replace(message, thinking=sampled.message.thinking, turn=sampled.turn, own=True)
        if record.get("reply_digest") == message.digest:  # sampled in an earlier part of this run
            turn = PlannerTurn(**record)
            reply = self.chat.replies.read(turn.completion_ids, prompt=turn.prompt_ids)
            return replace(message, thinking=reply.thinking, turn=turn, own=True)
        return None

    def _until_stop(self, drawn: Completion, stop: Sequence[str]) -> Completion:
        """The completion up to the token that completes a stop text.

        What was sampled after it is forgotten: sampling is causal, so an engine that stops there itself would have
        drawn the same tokens with the same probabilities.
        """
        ids = drawn.token_ids
        if not stop or not self._holds(ids, stop):
            return drawn
        low, high = 1, len(ids)  # the shortest prefix that holds one
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._holds(ids[:middle], stop) else (middle + 1, high)
        return replace(drawn, token_ids=ids[:low], logprobs=drawn.logprobs[:low], finish_reason="stop")

    def _holds(self, ids: Sequence[int], stop: Sequence[str]) -> bool:
        text = self.chat.text(ids)
        return any(mark in text for mark in stop)

    def _read(self, prompt: Sequence[int], completion: Completion, call: Call, seed: int) -> tuple[Message, int]:
        most = 1 if call.tools and self.chat.template.one_call else call.most_calls
        reply = self.chat.replies.read(
            completion.token_ids,
            prompt=prompt,
            tools=call.tools if call.may_call else NO_TOOLS,
            cut_off=completion.finish_reason == "length",
            most_calls=most,
        )
        content = reply.content
        for mark in call.stop:
            content = content.split(mark, 1)[0]
        calls = tuple(
            replace(each, id=each.id or f"c{seed_from(seed, 'call', number):08x}")
            for number, each in enumerate(reply.calls)
        )
        return Message("assistant", content, calls, reply.thinking), reply.unreadable


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _result(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """The result of work on another thread's loop; an interrupt here cancels it."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    finally:
        future.cancel()  # without effect on one that has ended
