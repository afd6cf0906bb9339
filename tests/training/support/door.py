"""The door with a scripted policy behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.training.support.scripted_engine import ScriptedEngine
from training.engines.base import Engine, Sampling
from training.rollouts.door.server import Address, Door
from training.rollouts.door.session import Session
from training.rollouts.policy_chat import PolicyChat

Reply = Callable[[str, int], str | None]


@dataclass
class Opened:
    engine: Any
    policy: PolicyChat
    session: Session
    url: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.session.key}"}

    async def post(self, body: object = None, *, path: str = "/chat/completions", **request: Any) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            return await client.post(self.url + path, **{"headers": self.headers, "json": body} | request)

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            return await client.get(self.url + path, headers=self.headers)


@asynccontextmanager
async def opened(
    engine: Engine | Reply,
    *,
    door: Door | None = None,
    roles: Sequence[str] = ("policy",),
    run: str = "0/t/0",
    max_tokens: int = 64,
    most_calls: int = 100,
) -> AsyncIterator[Opened]:
    sampled: Any = engine if isinstance(engine, ScriptedEngine) else ScriptedEngine(engine, "qwen2_5")  # type: ignore[arg-type]
    policy = PolicyChat(engine=sampled, chat=sampled.chat, sampling=Sampling(1.0, max_tokens), run=run, seed=7)
    session = Session(policy, roles, most_calls)
    async with (door or Door(Address("127.0.0.1", 0))).opened(session) as url:
        yield Opened(sampled, policy, session, url)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]
