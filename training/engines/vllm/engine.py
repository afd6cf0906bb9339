"""Sampling from one vLLM server or several, for runs whose policy is too large or too slow for the trainer's process.

Which policy a turn was drawn from is never inferred: a turn takes name and version when it is sent, versions change
only while no turn is in flight, and the server's reply must bear the name that was asked for.

All runs of a task ask the same server, whose prefix cache then holds their common beginning and each run's own turns.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from pydantic import SecretStr

from graph.errors import AgentFlowError, ConfigError, ModelError, ModelUnavailable, UnknownModel
from graph.models.server import Endpoint
from training.engines.base import Completion, Sampling, room_for
from training.engines.vllm.delivery import Delivery
from training.engines.vllm.probe import Probe, check_agreement, check_name, check_sampling, draw_sample
from training.engines.vllm.server import Cached, Drawn, Served, VllmServer
from training.run import ranks

logger = logging.getLogger(__name__)

_PATIENCE = 600.0
"""Seconds that one completion may take."""


@dataclass
class _Counts:
    """Since the figures were last asked for."""

    prompt_tokens: int = 0
    sampled_tokens: int = 0
    requests: int = 0


class VllmEngine:
    """Samples from vLLM servers; see `training.engines.base.Engine`.

    Args:
        urls: addresses of the servers, each ending in `/v1`.
        delivery: brings the weights to them.
        end_ids: tokens that end a completion.
        max_context: most tokens of prompt and completion; the servers' own limit holds too.
        probe: what the servers are checked with at the first `sync`; None checks nothing.
        api_key: sent with every request.
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
    ) -> None:
        self.servers = [VllmServer(Endpoint(url.rstrip("/"), api_key, timeout=_PATIENCE)) for url in urls]
        self._delivery = delivery
        self._end_ids = end_ids
        self.max_context = max_context
        self._probe = probe
        self._name = ""
        self._version = -1
        self._open = asyncio.Event()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._server_of: dict[str, VllmServer] = {}
        self._mending = asyncio.Lock()
        self._counts = _Counts()
        self._cached: dict[str, Cached] = {}

    @property
    def version(self) -> int:
        """How many updates the policy has seen that the servers hold; -1 before the first `sync`."""
        return self._version

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Nothing waits for the others here: the servers batch what comes."""
        yield

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, *, seed: int, run: str) -> Completion:
        """One completion; see `training.engines.base.Engine`."""
        room = room_for(prompt_ids, self.max_context)
        sampling = Sampling(sampling.temperature, min(sampling.max_tokens, room))
        while not self._open.is_set():
            await self._open.wait()
        self._in_flight += 1
        self._idle.clear()
        try:
            name, version = self._name, self._version  # constant until this turn has ended
            drawn = await self._drawn(self._server(run), name, prompt_ids, sampling, seed)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        self._counts.requests += 1
        self._counts.prompt_tokens += len(prompt_ids)
        self._counts.sampled_tokens += len(drawn.token_ids)
        return Completion(drawn.token_ids, drawn.logprobs, drawn.finish_reason, version)

    async def sync(self, version: int) -> None:
        """Bring the trainer's weights to the servers, once the turns in flight have ended; new turns wait meanwhile."""
        first = self._version < 0
        self._open.clear()
        try:
            await self._idle.wait()
            if first:
                await self._describe()
            name = await self._delivery.deliver(self.servers, version)
            if first and self._probe is not None:
                await self._check(name, self._probe)
            self._name, self._version = name, version
            self._server_of.clear()
        finally:
            if self._version >= 0:
                self._open.set()

    async def figures(self) -> dict[str, float]:
        """Tokens since it was last asked, and the share of prompt tokens that the servers' prefix caches saved."""
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
        """Take the adapter away from the servers."""
        await self._delivery.aclose(self.servers)

    def _server(self, run: str) -> VllmServer:
        """The server of a run's task: the one with the fewest tasks when the task first asks."""
        task = run.rpartition("/")[0] or run
        if task not in self._server_of:
            tasks = Counter(server.shown for server in self._server_of.values())
            self._server_of[task] = min(self.servers, key=lambda server: tasks[server.shown])
        return self._server_of[task]

    async def _drawn(
        self, server: VllmServer, name: str, prompt: Sequence[int], sampling: Sampling, seed: int
    ) -> Drawn:
        async def once() -> Drawn:
            return await server.complete(name, prompt, sampling, seed=seed, end_ids=self._end_ids)

        try:
            return await once()
        except UnknownModel as error:
            async with self._mending:
                known = name in (await server.served()).adapters
                if not known and not await self._delivery.again(server):
                    raise ModelUnavailable(f"The policy is gone from the server: {error}") from error
                if not known and self._probe is not None:  # started anew, perhaps otherwise than before
                    await check_sampling(server, name, self._probe.prompt)
            return await once()

    async def _describe(self) -> None:
        """What the servers offer: the longest context, and the model's name where it tells something."""
        offers: list[Served] | None = None
        error: AgentFlowError | None = None
        if ranks.rank() == 0:
            try:
                offers = await asyncio.gather(*(server.served() for server in self.servers))
                for server, served in zip(self.servers, offers, strict=True):
                    if self._probe is not None:
                        check_name(server, served, self._probe.model)
            except AgentFlowError as found:
                error = found
        ranks.raise_together(error)
        shortest = min(served.max_context for served in ranks.shared(offers))
        if shortest < self.max_context:
            logger.warning("The vLLM servers hold %d tokens, fewer than max_context; transcripts end there.", shortest)
            self.max_context = shortest

    async def _check(self, name: str, probe: Probe) -> None:
        """Every server draws from the policy's own distribution, and from the same policy as the trainer's."""
        samples: list[Drawn] | None = None
        error: AgentFlowError | None = None
        if ranks.rank() == 0:
            try:
                await asyncio.gather(*(check_sampling(server, name, probe.prompt) for server in self.servers))
                samples = await asyncio.gather(
                    *(draw_sample(server, name, probe, self._end_ids) for server in self.servers)
                )
            except AgentFlowError as found:
                error = found
        ranks.raise_together(error)
        for server, drawn in zip(self.servers, ranks.shared(samples), strict=True):
            gap = check_agreement(server, drawn, probe)
            logger.info("The vLLM server at %s and the trainer differ by %.4f nats a token.", server.shown, gap)


def server_urls(setting: str) -> list[str]:
    """The addresses in a setting, separated by commas.

    Raises:
        ConfigError: one is no HTTP address, or is given twice.
    """
    urls = [url.strip().rstrip("/") for url in setting.split(",") if url.strip()]
    wrong = next((url for url in urls if not url.startswith(("http://", "https://"))), None)
    if wrong is not None or not urls:
        raise ConfigError(f"vllm_url holds {wrong or setting!r}; write http://host:port/v1, several by commas.")
    if len(set(urls)) < len(urls):
        raise ConfigError(f"vllm_url names {next(url for url in urls if urls.count(url) > 1)} twice.")
    return [url if url.endswith("/v1") else f"{url}/v1" for url in urls]
