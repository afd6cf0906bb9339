"""Completions from vLLM servers: which server a task uses, and what happens if one has died or lost its adapter.

The engine samples with it in the trainer's process, `LentEngine` in processes that only roll out. Repairs are the
engine's alone: it is a `Mender`, or is asked through one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import SecretStr

from graph.errors import ModelUnavailable, UnknownModel
from graph.models.server import Endpoint
from training.engines.base import Completion, Sampling, room_for
from training.engines.vllm.server import Drawn, VllmServer
from training.models.adapters import adapter_among

PATIENCE = 600.0
"""Time limit of a completion, in seconds."""


class Mender(Protocol):
    """Repairs servers."""

    async def starts(self) -> int:
        """How often the run's own server has been started; 0 without one."""

    async def revive(self, starts: int) -> bool:
        """Restart the run's own server if it has died since it was started that often; whether it is a new one.

        Raises:
            ModelUnavailable: it cannot be restarted, or dies again and again.
        """

    async def restore(self, url: str, name: str) -> bool:
        """Load an adapter again that a server does not know; whether it is known now."""


class VllmSampler:
    """Samples completions.

    Args:
        servers: which to use.
        end_ids: tokens that end a completion.
        mender: repairs them.
        first: where tasks begin to be spread, so that several samplers do not all begin with one server.
    """

    def __init__(self, servers: Sequence[VllmServer], end_ids: frozenset[int], mender: Mender, first: int = 0) -> None:
        self.servers = list(servers)
        self.end_ids = end_ids
        self._mender = mender
        self._order = [*self.servers[first % len(servers) :], *self.servers[: first % len(servers)]]
        self._server_of: dict[str, VllmServer] = {}

    def forget_tasks(self) -> None:
        """The next tasks are spread anew."""
        self._server_of.clear()

    async def complete(self, name: str, prompt: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Drawn:
        """One completion of the adapter with that name, sent again once after a repair.

        Raises:
            ModelUnavailable: the server is gone, or has lost the policy.
        """
        server = self._server(run)
        starts = await self._mender.starts()
        try:
            return await self._known(server, name, prompt, sampling, seed)
        except ModelUnavailable:
            if not await self._mender.revive(starts):
                raise
            return await self._known(server, name, prompt, sampling, seed)

    async def _known(
        self, server: VllmServer, name: str, prompt: Sequence[int], sampling: Sampling, seed: int
    ) -> Drawn:
        try:
            return await server.complete(name, prompt, sampling, seed=seed, end_ids=self.end_ids)
        except UnknownModel as error:
            if not await self._mender.restore(server.endpoint.base_url, name):
                raise ModelUnavailable(f"The server has lost the policy: {error}") from error
            return await server.complete(name, prompt, sampling, seed=seed, end_ids=self.end_ids)

    def _server(self, run: str) -> VllmServer:
        """The server of a run's task: the one with the fewest tasks when the task first asks."""
        task = run.rpartition("/")[0] or run
        if task not in self._server_of:
            tasks = Counter(server.shown for server in self._server_of.values())
            self._server_of[task] = min(self._order, key=lambda server: tasks[server.shown])
        return self._server_of[task]


@dataclass(frozen=True)
class Lent:
    """What a process needs to sample from the engine's servers while the weights do not change."""

    urls: tuple[str, ...]
    api_key: str | None
    end_ids: frozenset[int]
    max_context: int
    names: Mapping[str, str]
    """Names of the adapters that are asked for, by adapter."""
    version: int
    starts: int

    def servers(self) -> list[VllmServer]:
        """The servers."""
        key = SecretStr(self.api_key) if self.api_key else None
        return [VllmServer(Endpoint(url, key, timeout=PATIENCE)) for url in self.urls]


Ask = Callable[[str, tuple[object, ...]], Awaitable[object]]
"""Asks the process that lends: a method of its `Mender`, and the arguments."""


class LentEngine:
    """An engine in a process that only rolls out; see `training.engines.base.Engine`.

    Args:
        lent: the servers and the policy.
        ask: asks the engine for repairs.
        first: see `VllmSampler`.
    """

    def __init__(self, lent: Lent, ask: Ask, first: int = 0) -> None:
        self._lent = lent
        self._ask = ask
        self._starts = lent.starts
        self._sampler = VllmSampler(lent.servers(), lent.end_ids, self, first)
        self.max_context = lent.max_context
        self.requests = self.prompt_tokens = self.sampled_tokens = 0

    def renew(self, lent: Lent) -> None:
        """Sample from another version from now on; no turn may be in flight."""
        if lent != self._lent:
            self._lent, self._starts, self.max_context = lent, lent.starts, lent.max_context
            self._sampler.forget_tasks()

    @property
    def version(self) -> int:
        """The policy's version."""
        return self._lent.version

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Nothing waits for others here."""
        yield

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Completion:
        """One completion; see `training.engines.base.Engine`."""
        room = room_for(prompt_ids, self.max_context)
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        name = self._lent.names[adapter_among(self._lent.names, sampling.role)]
        drawn = await self._sampler.complete(name, prompt_ids, sampling, seed=seed, run=run)
        self.requests += 1
        self.prompt_tokens += len(prompt_ids)
        self.sampled_tokens += len(drawn.token_ids)
        return Completion(drawn.token_ids, drawn.logprobs, drawn.finish_reason, self._lent.version)

    async def starts(self) -> int:
        """See `Mender`."""
        return self._starts

    async def revive(self, starts: int) -> bool:
        """See `Mender`."""
        revived = bool(await self._ask("revive", (starts,)))
        if revived:
            self._starts = int(str(await self._ask("starts", ())))
        return revived

    async def restore(self, url: str, name: str) -> bool:
        """See `Mender`."""
        return bool(await self._ask("restore", (url, name)))

    async def recover(self) -> None:
        """Mend what can be mended before a run is tried again."""
        await self._ask("recover", ())

    async def figures(self) -> dict[str, float]:
        """Tokens since this was last asked."""
        figures = {name: float(getattr(self, name)) for name in ("requests", "prompt_tokens", "sampled_tokens")}
        self.requests = self.prompt_tokens = self.sampled_tokens = 0
        return figures

    async def sync(self, version: int) -> None:
        """The engine's matter."""

    async def make_room(self) -> None:
        """The engine's matter."""

    async def aclose(self) -> None:
        """Nothing is held."""
