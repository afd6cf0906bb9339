"""Sampling from one or several vLLM servers.

The policy version of a turn is never inferred: a request takes name and version when it is sent, versions change only
while no request is running, and the reply must have the requested name.

All runs of a task use the same server, whose prefix cache then has their common prefix and the turns of each run.

A server of the run's own (`child`) is restarted with the current adapter if it dies, and unanswered requests are sent
again. It can sleep between rollouts to leave its memory to the update.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace

from pydantic import SecretStr

from graph.errors import AgentFlowError, ConfigError, ModelError, ModelUnavailable
from graph.models.server import Endpoint
from training.engines.base import BASE, Completion, Sampling, room_for
from training.engines.vllm.child import ChildServer
from training.engines.vllm.delivery import Delivery
from training.engines.vllm.probe import (
    Probe,
    check_agreement,
    check_name,
    check_sampling,
    draw_sample,
    same_weights,
)
from training.engines.vllm.sampler import PATIENCE, Lent, VllmSampler
from training.engines.vllm.server import Cached, Drawn, Served, VllmServer
from training.models.adapters import adapter_among
from training.run import ranks

logger = logging.getLogger(__name__)

_MOST_DEATHS = 3
"""Number of times that the run's own server may die between two updates."""

_REPLY = 16
"""Tokens of the replies that are compared before and after sleep."""


@dataclass
class _Counts:
    """Counts since the last call of `figures`."""

    prompt_tokens: int = 0
    sampled_tokens: int = 0
    requests: int = 0


class VllmEngine:
    """Samples from vLLM servers; see `training.engines.base.Engine`.

    Args:
        urls: addresses of the servers, each ending in `/v1`.
        delivery: sends the weights.
        end_ids: tokens that end a completion.
        max_context: largest number of tokens of prompt and completion; the servers' limit also applies.
        probe: checks the servers at the first `sync`; None checks nothing.
        api_key: sent with every request.
        child: the server's process, if the run has started it; it stops with the engine.
    """

    def __init__(
        self,
        urls: Sequence[str],
        delivery: Delivery,
        end_ids: frozenset[int],
        *,
        max_context: int,
        probe: Probe | None = None,
        api_key: SecretStr | None = None,
        child: ChildServer | None = None,
    ) -> None:
        self.servers = [VllmServer(Endpoint(url.rstrip("/"), api_key, timeout=PATIENCE)) for url in urls]
        self._sampler = VllmSampler(self.servers, end_ids, self)
        self._delivery = delivery
        self._end_ids = end_ids
        self.max_context = max_context
        self._probe = probe
        self._names: dict[str, str] = {}  # what is asked for, by adapter
        self._version = -1
        self._open = asyncio.Event()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._mending = asyncio.Lock()
        self._counts = _Counts()
        self._cached: dict[str, Cached] = {}
        self._child = child
        self._reviving = asyncio.Lock()
        self._deaths = 0
        self._asleep = False
        self._replies: list[Drawn] = []  # of a sleeping server, before it slept

    @property
    def version(self) -> int:
        """The number of updates of the servers' policy; -1 before the first `sync`."""
        return self._version

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Does nothing: servers batch requests by themselves."""
        yield

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Completion:
        """One completion; see `training.engines.base.Engine`."""
        room = room_for(prompt_ids, self.max_context)
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        asked = time.perf_counter()
        async with self._in_use():
            waited = time.perf_counter() - asked
            name, version = self._names[adapter_among(self._names, sampling.role)], self._version
            drawn = await self._sampler.complete(name, prompt_ids, sampling, seed=seed, run=run)
        self.count(1, len(prompt_ids), len(drawn.token_ids))
        return Completion(drawn.token_ids, drawn.logprobs, drawn.finish_reason, version, waited)

    @asynccontextmanager
    async def _in_use(self) -> AsyncIterator[None]:
        """Names and version stay as they are inside."""
        while not self._open.is_set():
            await self._open.wait()
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Lent]:
        """What other processes sample with, as long as this is held; they say by `count` what they have sampled."""
        async with self._in_use():
            key = self.servers[0].endpoint.api_key
            yield Lent(
                urls=tuple(server.endpoint.base_url for server in self.servers),
                api_key=key.get_secret_value() if key else None,
                end_ids=self._end_ids,
                max_context=self.max_context,
                names=dict(self._names),
                version=self._version,
                starts=await self.starts(),
            )

    def count(self, requests: int, prompt_tokens: int, sampled_tokens: int) -> None:
        """Add to the figures."""
        self._counts.requests += requests
        self._counts.prompt_tokens += prompt_tokens
        self._counts.sampled_tokens += sampled_tokens

    async def sync(self, version: int) -> None:
        """Sends the trainer's weights to the servers after running requests have ended; new requests wait."""
        first = self._version < 0
        self._open.clear()
        try:
            await self._idle.wait()
            await self._wake()
            if first:
                await self._describe()
            if version != self._version:
                names = await self._delivered(version)
                if first and self._probe is not None:
                    await self._check(names, self._probe)
                self._names, self._version = names, version
                self._sampler.forget_tasks()
                self._deaths = 0
        finally:
            if self._version >= 0:
                self._open.set()

    async def make_room(self) -> None:
        """Puts the run's own server to sleep, if it was started for that; requests wait for the next `sync`."""
        if self._child is None or not self._child.launch.sleeps or self._asleep or self._version < 0:
            return
        self._open.clear()
        await self._idle.wait()
        [server] = self.servers
        starts = self._child.starts
        try:
            await server.reset_cache()
            self._replies = await self._samples()
            await server.sleep()
        except ModelUnavailable:
            if not await self.revive(starts):
                raise
            await self.make_room()
        else:
            self._asleep = True

    async def recover(self) -> None:
        """Restarts the run's own server if it has died; see `training.engines.base.Engine`."""
        if self._child is not None and not self._asleep:
            await self.revive(self._child.starts)

    async def figures(self) -> dict[str, float]:
        """Tokens since the last call, and the share of prompt tokens saved by the prefix caches."""
        figures: dict[str, float] = {name: float(value) for name, value in asdict(self._counts).items()}
        self._counts = _Counts()
        queries = hits = 0.0
        for server in self.servers:
            try:
                now = await server.cached()
            except ModelError as error:
                logger.debug("No cache figures of %s: %s", server.shown, error)
                continue
            before = self._cached.get(server.shown, Cached(0.0, 0.0))
            self._cached[server.shown] = now
            if now.queries >= before.queries:  # else it was restarted
                queries += now.queries - before.queries
                hits += now.hits - before.hits
        if queries:
            figures["prompt_tokens_saved"] = hits / queries
        return figures

    async def aclose(self) -> None:
        """Removes the adapter from the servers; stops the run's own server."""
        if self._child is None:
            await self._delivery.aclose(self.servers)
            return
        await asyncio.to_thread(self._child.stop)
        await self._delivery.aclose(())

    # A server of the run's own

    async def starts(self) -> int:
        """See `training.engines.vllm.sampler.Mender`."""
        return self._child.starts if self._child is not None else 0

    async def revive(self, starts: int) -> bool:
        """See `training.engines.vllm.sampler.Mender`."""
        if self._child is None:
            return False
        async with self._reviving:
            if self._child.starts != starts:
                return True  # another request has restarted it
            if not await self._child.has_died():
                return False
            obituary = self._child.obituary()
            self._deaths += 1
            if self._deaths > _MOST_DEATHS:
                raise ModelUnavailable(f"{obituary} It died {self._deaths} times since the last update.")
            logger.warning("%s It will be restarted.", obituary)
            await self._restart()
            return True

    async def restore(self, url: str, name: str) -> bool:
        """See `training.engines.vllm.sampler.Mender`."""
        server = next(server for server in self.servers if server.endpoint.base_url == url)
        async with self._mending:
            loaded = name in (await server.served()).adapters
            if not loaded and not await self._delivery.again(server):
                return False
            if not loaded and self._probe is not None:  # restarted, perhaps with other options
                await check_sampling(server, name, self._probe.prompt)
        return True

    async def _restart(self) -> None:
        assert self._child is not None
        self._asleep = False
        await asyncio.to_thread(self._child.start)
        await self._child.ready()
        if self._version >= 0:
            await self._delivery.again(self.servers[0])

    async def _delivered(self, version: int) -> dict[str, str]:
        starts = await self.starts()
        try:
            return await self._delivery.deliver(self.servers, version)
        except ModelUnavailable:
            if not await self.revive(starts):
                raise
            return await self._delivery.deliver(self.servers, version)

    async def _wake(self) -> None:
        """Wakes the server, and checks its replies: some versions wake up with wrong weights."""
        if not self._asleep:
            return
        assert self._child is not None
        starts = self._child.starts
        try:
            await self.servers[0].wake()
            unchanged = all(map(same_weights, self._replies, await self._samples()))
        except ModelUnavailable:
            if not await self.revive(starts):
                raise
            return
        self._asleep = False
        if not unchanged:
            logger.warning("The vLLM server answers differently after sleep; it will be restarted.")
            await self._restart()

    async def _samples(self) -> list[Drawn]:
        """A reply of the base model and one of each adapter, of fixed seed, one after the other."""
        prompt = self._probe.prompt if self._probe is not None else [0]
        sampling = Sampling(1.0, _REPLY)
        return [
            await self.servers[0].complete(name, prompt, sampling, seed=1, end_ids=self._end_ids)
            for name in (BASE, *self._names.values())
        ]

    async def _describe(self) -> None:
        """Checks the servers' model names, and adopts their context length."""
        offers: list[Served] | None = None
        error: AgentFlowError | None = None
        if ranks.rank() == 0:
            try:
                offers = await asyncio.gather(*(server.served() for server in self.servers))
                for server, served in zip(self.servers, offers, strict=True):
                    if self._probe is not None:
                        check_name(server, served, self._probe.model)
            except AgentFlowError as failure:
                error = failure
        ranks.raise_together(error)
        shortest = min(served.max_context for served in ranks.shared(offers))
        if shortest < self.max_context:
            logger.warning(
                "The context of the vLLM servers is %d tokens, shorter than max_context; transcripts end there.",
                shortest,
            )
            self.max_context = shortest

    async def _check(self, names: Mapping[str, str], probe: Probe) -> None:
        """Checks that every server samples from the policy's own distribution, and has the trainer's policy."""
        name = next(iter(names.values()))
        places = [(server, role) for server in self.servers for role in names]
        samples: list[Drawn] | None = None
        error: AgentFlowError | None = None
        if ranks.rank() == 0:
            try:
                await asyncio.gather(*(check_sampling(server, name, probe.prompt) for server in self.servers))
                samples = await asyncio.gather(
                    *(draw_sample(server, names[role], probe, self._end_ids) for server, role in places)
                )
            except AgentFlowError as failure:
                error = failure
        ranks.raise_together(error)
        for (server, role), drawn in zip(places, ranks.shared(samples), strict=True):
            gap = check_agreement(server, drawn, probe, role)
            logger.info("The vLLM server at %s and the trainer differ by %.4f nats per token.", server.shown, gap)


def api_key() -> SecretStr | None:
    """The API key of own servers: AGENTFLOW_API_KEY."""
    key = os.environ.get("AGENTFLOW_API_KEY")
    return SecretStr(key) if key else None


def server_urls(setting: str) -> list[str]:
    """The comma-separated addresses in a setting.

    Raises:
        ConfigError: one is not an HTTP address, or occurs twice.
    """
    urls = [url.strip().rstrip("/") for url in setting.split(",") if url.strip()]
    wrong = next((url for url in urls if not url.startswith(("http://", "https://"))), None)
    if wrong is not None or not urls:
        raise ConfigError(
            f"vllm_url holds {wrong or setting!r}; write http://host:port/v1, and separate several by commas."
        )
    if len(set(urls)) < len(urls):
        raise ConfigError(f"vllm_url names {next(url for url in urls if urls.count(url) > 1)} twice.")
    return [url if url.endswith("/v1") else f"{url}/v1" for url in urls]
