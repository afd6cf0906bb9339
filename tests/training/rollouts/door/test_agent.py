"""Programs and services as agents: what they earn, whose fault a failure is, and what is asked for at the start."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from evals.task import Task
from graph.errors import ConfigError, ModelUnavailable
from tests.training.support.scripted_engine import ScriptedEngine
from training.engines.base import Sampling
from training.rollouts.agents import FINAL
from training.rollouts.door.agent import DoorOptions, HttpAgent
from training.rollouts.policy_chat import PolicyChat

TASK = Task(id="t/1", question="What is 3 + 4?", answers=("7",), metadata={"hint": "seven"})

ASK = """
import json, os, sys, urllib.error, urllib.request
def ask(text, **more):
    body = {"model": os.environ["OPENAI_MODEL"], "messages": [{"role": "user", "content": text}], **more}
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(),
                                     {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return json.load(opener.open(request))["choices"][0]["message"]["content"]
"""


def policy_of(reply: Callable[[str, int], str | None] = lambda text, seed: "7") -> PolicyChat:
    engine = ScriptedEngine(reply, "qwen2_5")
    return PolicyChat(engine=engine, chat=engine.chat, sampling=Sampling(max_tokens=32), run="0/t/0", seed=0)


@pytest.fixture
def agent_of(tmp_path: Path) -> Callable[..., HttpAgent]:
    def make(program: str, **options: Any) -> HttpAgent:
        path = tmp_path / "agent.py"
        path.write_text(ASK + program)
        return HttpAgent(DoorOptions(command=f"{sys.executable} -S {path}", **options))

    return make


async def run(agent: HttpAgent, policy: PolicyChat) -> dict[str, Any]:
    return dict(await agent.run(TASK, await agent.prepare(TASK, 1), policy, 5))


async def test_a_program_that_answers(agent_of: Any) -> None:
    program = (
        'task = json.load(sys.stdin)\nassert task["question"] == os.environ["AGENTFLOW_QUESTION"]\n'
        'assert (task["seed"], os.environ["AGENTFLOW_SEED"]) == (5, "5")\n'
        'print("some noise")\n'
        'print(json.dumps({"answer": ask(task["question"]), "task": task}))'
    )
    policy = policy_of()
    state = await run(agent_of(program), policy)
    assert (state["answer"], state["ended_by"]) == ("7", "agent")
    told = state[FINAL]["task"]
    assert (told["id"], told["question"]) == ("t/1", TASK.question)
    assert "seven" not in json.dumps(told), "metadata is for rewards alone"
    assert told["base_url"].endswith("/v1")
    assert [turn.role for turn in policy.turns] == ["policy"]
    assert state["usage"]["policy"]["calls"] == 1
    assert state["memory"][0]["reply"] == "7"


async def test_the_file_wins_over_what_was_printed(agent_of: Any) -> None:
    state = await run(
        agent_of('print("noise"); open(os.environ["AGENTFLOW_ANSWER_FILE"], "w").write(ask("?"))'), policy_of()
    )
    assert state["answer"] == "7"


@pytest.mark.parametrize(
    ("program", "options", "answer", "ended_by"),
    [
        ('print("half", flush=True); ask("?"); sys.exit(3)', {}, "half", "exit 3"),
        ('while True: ask("?")', {"most_calls": 3}, "", "calls"),
        ('ask("?"); ask("x" * 60000)', {}, "", "context"),
        ('ask("?")\ntry: ask("x" * 60000)\nexcept urllib.error.HTTPError as e: print(e.code)', {}, "400", "agent"),
        ('ask("x" * 60000)', {}, "", "context"),
        ('print(json.dumps({"report": {"title": ask("?")}}))', {"answer": "report.title"}, "7", "agent"),
    ],
)  # fmt: skip
async def test_what_a_run_does_wrong_is_its_own_and_earns_what_it_has(
    program: str, options: dict[str, Any], answer: str, ended_by: str, agent_of: Any
) -> None:
    policy = policy_of()
    state = await run(agent_of(program, **options), policy)
    assert (state["answer"], state["ended_by"]) == (answer, ended_by)


async def test_a_run_whose_time_is_up_has_what_it_has_said() -> None:
    agent = HttpAgent(DoorOptions(command="sh -c 'echo early; exec sleep 600'", max_seconds=2.0))
    state = await run(agent, policy_of())
    assert (state["answer"], state["ended_by"]) == ("early", "time")


async def test_a_run_that_fails_before_the_policy_has_spoken_is_no_rollout(agent_of: Any) -> None:
    agent = agent_of('raise RuntimeError("no module named x")')
    with pytest.raises(ConfigError, match=r"exit code 1 without a reply: RuntimeError: no module named x"):
        await run(agent, policy_of())
    refused = agent_of('ask("?", n=2)')
    with pytest.raises(ConfigError, match="A call has one reply"):
        await run(refused, policy_of())
    later = agent_of('task = json.load(sys.stdin)\nif task["seed"] == 5: print(ask("?"))\nelse: sys.exit(1)')
    assert (await run(later, policy_of()))["answer"] == "7"
    with pytest.raises(ModelUnavailable, match="exit code 1 without a reply"):
        await later.run(TASK, {}, policy_of(), 6)


async def test_a_dead_engine_ends_the_run_at_once(agent_of: Any) -> None:
    agent = agent_of('import time\ntry: ask("?")\nexcept Exception: time.sleep(600)')
    with pytest.raises(ModelUnavailable, match="gone"):
        await run(agent, policy_of(lambda text, seed: None))


async def test_an_agent_that_never_asks_is_warned_about_once(agent_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    agent = agent_of('print("7")')
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert (await run(agent, policy_of()))["answer"] == "7"
    assert len([record for record in caplog.records if "has not asked the model" in record.message]) == 1


async def test_rollouts_at_once_keep_apart(agent_of: Any) -> None:
    agent = agent_of('print(ask("?"), ask("?"))')
    policies = [policy_of(lambda text, seed, n=n: f"I am {n}") for n in range(6)]
    states = await asyncio.gather(*(run(agent, policy) for policy in policies))
    assert [state["answer"] for state in states] == [f"I am {n} I am {n}" for n in range(6)]
    assert [len(policy.turns) for policy in policies] == [2] * 6


async def test_a_cancelled_run_leaves_no_program(agent_of: Any, tmp_path: Path) -> None:
    from tests.training.rollouts.door.test_command import running

    mark = tmp_path / "pid"
    agent = agent_of(f'open({str(mark)!r}, "w").write(str(os.getpid())); import time; time.sleep(600)')
    task = asyncio.ensure_future(run(agent, policy_of()))
    async with asyncio.timeout(30):
        while not (mark.exists() and mark.read_text()):
            await asyncio.sleep(0.02)
    pid = int(mark.read_text())
    assert running(pid)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running(pid)


# A service


Handler = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]


@pytest.fixture
async def service() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await handler(await request.json())

        app = web.Application()
        app.router.add_post("/task", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/task"

    yield start
    for runner in runners:
        await runner.cleanup()


async def asked(task: dict[str, Any]) -> str:
    import aiohttp

    headers = {"Authorization": f"Bearer {task['api_key']}"}
    body = {"model": task["model"], "messages": [{"role": "user", "content": task["question"]}]}
    async with aiohttp.ClientSession(headers=headers) as session:
        response = await session.post(task["base_url"] + "/chat/completions", json=body)
        return str((await response.json())["choices"][0]["message"]["content"])


async def test_a_service_answers_with_json_or_text(service: Any) -> None:
    async def in_json(task: dict[str, Any]) -> web.Response:
        return web.json_response({"answer": await asked(task), "id": task["id"]})

    async def in_text(task: dict[str, Any]) -> web.Response:
        return web.Response(text=await asked(task))

    for handler, state in ((in_json, {"answer": "7", "id": "t/1"}), (in_text, {"answer": "7"})):
        agent = HttpAgent(DoorOptions(url=await service(handler)))
        await agent.preflight()
        found = await run(agent, policy_of())
        assert (found["answer"], found["ended_by"]) == ("7", "agent")
        assert state.items() <= found[FINAL].items()


async def test_a_services_failures(service: Any) -> None:
    async def broken(task: dict[str, Any]) -> web.Response:
        await asked(task)
        return web.Response(status=500, text="Traceback ...")

    async def busy(task: dict[str, Any]) -> web.Response:
        return web.Response(status=503)

    async def elsewhere(task: dict[str, Any]) -> web.Response:
        return web.Response(status=404, text="no such page")

    async def endless(task: dict[str, Any]) -> web.Response:
        await asked(task)
        await asyncio.sleep(600)
        return web.Response()

    assert (await run(HttpAgent(DoorOptions(url=await service(broken))), policy_of()))["ended_by"] == "exit 500"
    late = HttpAgent(DoorOptions(url=await service(endless), max_seconds=1.0))
    assert (await run(late, policy_of()))["ended_by"] == "time"
    with pytest.raises(ModelUnavailable, match="503"):
        await run(HttpAgent(DoorOptions(url=await service(busy))), policy_of())
    with pytest.raises(ConfigError, match="status 404 without a reply: no such page"):
        await run(HttpAgent(DoorOptions(url=await service(elsewhere))), policy_of())


# At the start


def test_a_port_of_ones_own_is_for_one_process() -> None:
    assert HttpAgent(DoorOptions(command="x", listen="127.0.0.1:8900")).fixed_port == 8900
    assert HttpAgent(DoorOptions(command="x")).fixed_port == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"command": "no-such-program --x"}, "no program 'no-such-program'"),
        ({"command": " "}, "no program ''"),
        ({"url": "http://127.0.0.1:9/task"}, "Nothing listens"),
        ({"url": "127.0.0.1/task"}, "write the address"),
        ({"url": "http://x:notaport/"}, "write the address"),
        ({"command": sys.executable, "listen": "203.0.113.7"}, "cannot listen at 203.0.113.7"),
    ],
)
async def test_what_is_missing_is_said_at_the_start(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        await HttpAgent(DoorOptions(**options)).preflight()
