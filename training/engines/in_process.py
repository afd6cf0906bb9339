"""Sampling in the training process, from the trainer's weights: for CPUs and single GPUs.

Requests of concurrent runs are gathered into *waves*. A wave computes each different prompt once (and of it only what
no earlier turn or prompt has computed), draws all completions together, and lets each go back to its run as soon as it
is complete. The next wave gathers what has come in meanwhile. Where roles have adapters of their own, a wave is drawn
adapter by adapter, and what one adapter has computed serves no other.

In deterministic mode a wave starts when all admitted runs are waiting, and its rows are in order of their runs, so the
same runs always share a wave. Otherwise it starts when no request has arrived for a moment.
A run may ask for several completions at once, from parallel branches; how many more it will ask for is not known, so
the wave then waits for a moment in either mode.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from graph.errors import AgentFlowError, ConfigError, ModelError
from tools.counts import many
from training.engines.base import Completion, FinishReason, Sampling, room_for
from training.engines.decoding import Draft, causal_model, draw, empty_memory, prefill
from training.engines.graphs import StepGraphs
from training.engines.memories import Memories, Owner, common_prefix
from training.models.adapters import adapter_for, adapters_of, play
from training.models.device import current
from training.models.fused_adapters import sampling_copy
from training.models.policy import copy_trained, twin

_PATIENCE = 0.02
"""Seconds without a new request after which a wave starts, even if some runs are not waiting."""
_SETTLING = 0.005
"""Seconds without a new request after which a deterministic wave starts: a run's parallel branches ask together."""

_WORTH_SHARING = 32
"""Number of uncached tokens in a common prefix from which it is computed once, before the rest."""


@dataclass
class EngineStatistics:
    """Counts since the last `reset`."""

    prompt_tokens: int = 0
    """Tokens of all prompts."""
    computed_tokens: int = 0
    """Prompt tokens that were computed; the others were cached."""
    sampled_tokens: int = 0
    waves: int = 0
    seconds: float = 0.0
    """Time in waves."""

    def reset(self) -> dict[str, float]:
        """Returns the counts and resets them; `prompt_tokens_saved` is the share of cached prompt tokens."""
        figures = asdict(self)
        figures["prompt_tokens_saved"] = 1 - self.computed_tokens / max(1, self.prompt_tokens)
        self.__init__()  # type: ignore[misc]
        return figures


@dataclass(eq=False)
class _Request:
    prompt: tuple[int, ...]
    sampling: Sampling
    seed: int
    run: str
    reply: asyncio.Future[Completion]
    asked: float = field(default_factory=time.perf_counter)
    waited: float = 0.0


@dataclass
class TransformersEngine:
    """Samples from a model in this process; see `training.engines.base.Engine`.

    Args:
        model: the policy, PEFT-wrapped or not; the trainer updates it in place.
        end_ids: tokens that end a completion.
        max_context: largest number of tokens of prompt and completion; default: the model's limit.
        max_batch: largest number of completions sampled together.
        max_positions: largest number of positions of a prefill pass, including padding.
        memory_tokens: largest number of tokens in the KV cache between turns.
        deterministic: see above.
        apart: whether to sample from a copy of the trained weights, which `sync` updates, so that the model can be
            trained at the same time; frozen weights are not copied. On a GPU adapters are always copied, to compute
            them faster (`training.models.fused_adapters`).
        at_end: called when the engine is closed.
    """

    model: nn.Module
    end_ids: frozenset[int]
    max_context: int = 0
    max_batch: int = 64
    max_positions: int = 16384
    memory_tokens: int = 200_000
    deterministic: bool = False
    apart: bool = False
    at_end: Callable[[], None] | None = None
    statistics: EngineStatistics = field(default_factory=EngineStatistics)

    def __post_init__(self) -> None:
        self._copy: nn.Module | None = None
        self._graphs = StepGraphs()
        limit = getattr(causal_model(self.model).config, "max_position_embeddings", None) or 2**31
        self.max_context = min(self.max_context or limit, limit)
        if self.max_batch < 1:
            raise ConfigError(f"max_batch must be at least 1, got {self.max_batch}.")
        self._version = 0
        self._memories = Memories(self.memory_tokens)
        self._waiting: list[_Request] = []
        self._admitted = 0
        self._news = asyncio.Event()
        self._busy = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sampling")
        self._worker: asyncio.Task[None] | None = None

    @property
    def version(self) -> int:
        """The number of updates of the policy."""
        return self._version

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Held by each run while it may send requests."""
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1
            self._news.set()

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Completion:
        """One completion; see `training.engines.base.Engine`."""
        room = room_for(prompt_ids, self.max_context)
        loop = asyncio.get_running_loop()
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        request = _Request(tuple(prompt_ids), sampling, seed, run, loop.create_future())
        self._waiting.append(request)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        self._news.set()
        try:
            return await request.reply
        finally:
            if request in self._waiting:  # cancelled before its wave
                self._waiting.remove(request)

    async def sync(self, version: int) -> None:
        """Switches to the current weights after the running wave, and clears the cache.

        With `apart`, the weights must not change meanwhile.
        """
        async with self._busy:
            self._memories.clear()
            if self._copy is not None:
                copy_trained(self.model, self._copy)
            self._version = version

    async def figures(self) -> dict[str, float]:
        """The statistics since the last call."""
        return {name: float(value) for name, value in self.statistics.reset().items()}

    @property
    def _sampled(self) -> nn.Module:
        """The model to sample from. A copy is made on first use, when the trainer has placed the model."""
        fused = bool(adapters_of(self.model)) and _on_gpu(self.model)
        if not self.apart and not fused:
            return self.model
        if self._copy is None:
            self._copy = sampling_copy(self.model) if fused else twin(self.model).requires_grad_(False)
        return self._copy

    @property
    def _causal(self) -> PreTrainedModel:
        return causal_model(self._sampled)

    async def make_room(self) -> None:
        """Nothing to do: it keeps no more than `memory_tokens`, and on a GPU the places of its recorded steps."""

    async def recover(self) -> None:
        """It runs in this process: nothing can be lost."""

    async def aclose(self) -> None:
        """Stops sampling, and clears the cache."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._memories.clear()
        self._thread.shutdown(wait=True)
        self._graphs.clear()
        if self.at_end is not None:
            await asyncio.to_thread(self.at_end)

    async def _work(self) -> None:
        """Runs waves as long as there are requests."""
        while self._waiting:
            while (patience := self._patience()) != 0:
                self._news.clear()
                try:
                    await asyncio.wait_for(self._news.wait(), patience)
                except TimeoutError:
                    break
            if not self._waiting:
                return
            async with self._busy:
                self._waiting.sort(key=lambda request: (request.run, request.seed))
                wave, self._waiting = self._waiting[: self.max_batch], self._waiting[self.max_batch :]
                loop = asyncio.get_running_loop()
                try:
                    await loop.run_in_executor(self._thread, self._wave, wave, self._version, loop)
                except Exception as error:  # noqa: BLE001  # those who wait have to hear of it, whatever it is
                    for request in wave:
                        _settle(request, error)

    def _patience(self) -> float | None:
        """Seconds to wait for a further request before the next wave starts; None: for as long as it takes."""
        asking = len({request.run for request in self._waiting})
        if not asking or len(self._waiting) >= self.max_batch:
            return 0
        if asking < self._admitted:
            return None if self.deterministic else _PATIENCE
        if self.deterministic:
            return _SETTLING
        return _PATIENCE if len(self._waiting) > asking else 0

    def _wave(self, wave: Sequence[_Request], version: int, loop: asyncio.AbstractEventLoop) -> None:
        began = time.perf_counter()
        for request in wave:
            request.waited = began - request.asked
        self.statistics.waves += 1
        model = self._sampled
        training = model.training
        model.eval()
        try:
            with current(self._causal.device):
                for adapter, requests in _by_adapter(model, wave).items():
                    play(model, requests[0].sampling.role)
                    self._sample(requests, adapter, version, loop)
        except torch.OutOfMemoryError as error:
            longest = max(len(request.prompt) for request in wave)
            raise ConfigError(
                f"Sampling {many(len(wave), 'completion')} at once (prompts of up to {many(longest, 'token')}) ran out "
                "of memory; lower max_batch, max_context or memory_tokens."
            ) from error
        except AgentFlowError:
            raise
        except RuntimeError as error:  # a failing kernel or a wrong shape: not the agent's fault
            raise ModelError(f"Sampling failed: {error}.") from error
        finally:
            model.train(training)
            self.statistics.seconds += time.perf_counter() - began

    def _sample(self, wave: Sequence[_Request], adapter: str, version: int, loop: asyncio.AbstractEventLoop) -> None:
        known = self._prompts(wave, adapter)
        drafts: dict[Draft, _Request] = {}
        for request in wave:
            memory, logits = known[request.prompt]
            chosen = request.sampling
            drafts[Draft(request.seed, chosen.temperature, chosen.max_tokens, memory, logits)] = request

        def done(draft: Draft, memory: Tensor) -> None:
            request = drafts[draft]
            self._memories.keep((adapter, request.run), [*request.prompt, *draft.tokens[:-1]], memory)
            self.statistics.sampled_tokens += len(draft.tokens)
            reason: FinishReason = "stop" if draft.ended else "length"
            reply = Completion(tuple(draft.tokens), tuple(draft.logprobs), reason, version, request.waited)
            loop.call_soon_threadsafe(_settle, request, reply)

        shared = _common(list(known))
        shared = shared if shared >= _WORTH_SHARING else 0
        graphs = self._graphs if self._causal.device.type == "cuda" else None
        draw(self._causal, list(drafts), self.end_ids, done, shared, graphs)

    def _prompts(self, wave: Sequence[_Request], adapter: str) -> dict[tuple[int, ...], tuple[Tensor, Tensor]]:
        """Memory and next logits of each different prompt of an adapter's part of a wave."""
        runs = {request.prompt: (adapter, request.run) for request in wave}
        prompts = list(runs)
        self.statistics.prompt_tokens += sum(len(request.prompt) for request in wave)
        shared = _common(prompts)
        owners = [runs[prompt] for prompt in prompts]
        new_to_it = [memory for memory, _ in self._parts(prompts, owners) if memory.shape[3] < shared - _WORTH_SHARING]
        if len(new_to_it) > 1:
            opening = prompts[0][:shared]
            [(memory, _)] = self._prefill(self._parts([opening], [(adapter, "")]))
            self._memories.keep((adapter, ""), opening, memory)
        found = self._prefill(self._parts(prompts, owners))
        return dict(zip(prompts, found, strict=True))

    def _parts(self, prompts: Sequence[tuple[int, ...]], owners: Sequence[Owner]) -> list[tuple[Tensor, Sequence[int]]]:
        """The cached part of each prompt, and the rest."""
        parts: list[tuple[Tensor, Sequence[int]]] = []
        for prompt, owner in zip(prompts, owners, strict=True):
            memory = self._memories.longest(prompt, owner)
            if memory is None:
                memory = empty_memory(self._causal)
            parts.append((memory, prompt[memory.shape[3] :]))
        return parts

    def _prefill(self, parts: list[tuple[Tensor, Sequence[int]]]) -> list[tuple[Tensor, Tensor]]:
        self.statistics.computed_tokens += sum(len(new) for _, new in parts)
        return prefill(self._causal, parts, self.max_positions)


def _on_gpu(model: nn.Module) -> bool:
    return next(model.parameters()).device.type == "cuda"


def _by_adapter(model: nn.Module, wave: Sequence[_Request]) -> dict[str, list[_Request]]:
    """The requests of a wave by the adapter that draws them."""
    parts: dict[str, list[_Request]] = {}
    for request in wave:
        parts.setdefault(adapter_for(model, request.sampling.role) or "", []).append(request)
    return parts


def _common(prompts: Sequence[tuple[int, ...]]) -> int:
    first, *others = (np.array(prompt) for prompt in prompts)
    return min([common_prefix(first, other) for other in others], default=len(first))


def _settle(request: _Request, outcome: Completion | Exception) -> None:
    if request.reply.done():  # its run was cancelled
        return
    if isinstance(outcome, Exception):
        request.reply.set_exception(outcome)
    else:
        request.reply.set_result(outcome)
