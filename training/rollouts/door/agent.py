"""An agent in any framework or language: a program that is started for each run, or a service that takes tasks.

It asks the policy at the door (`server`), with the base URL, the key and the model's name that it finds in its
environment, or in the task that it is sent. What it does wrong by itself (an exit code, an answer in no form, endless
calls, no answer in time) is its own failure and earns what its answer earns. What fails around it (a program that
cannot be started, a service or an engine that is gone) is no reward. A run that fails before the policy has said
anything cannot have failed by what it said, so that is a failure around it, too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from evals.task import Task
from graph.errors import AgentFlowError, ConfigError, ModelUnavailable
from graph.secrecy import without_credentials
from training.rollouts.agents import FINAL, State
from training.rollouts.door.answer import read_answer
from training.rollouts.door.command import CommandRun, environment_of
from training.rollouts.door.server import Address, Door
from training.rollouts.door.service import ServiceRun, ask_for_service
from training.rollouts.door.session import CONTEXT_LENGTH, TOO_MANY_CALLS, Session
from training.rollouts.graph_run import ended_in_time
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import PlannerTurn

logger = logging.getLogger(__name__)

_LONGEST_VARIABLE = 100_000
"""Bytes of a question that still fit into a variable; standard input holds any."""

_OWN_ENDS = {CONTEXT_LENGTH: "context", TOO_MANY_CALLS: "calls"}
"""How a run ended that failed after such a refusal."""


@dataclass(frozen=True)
class DoorOptions:
    """How a program or service is run and read: one of `command` and `url` is given."""

    command: str = ""
    """Words of a shell, without a shell's magic."""
    url: str = ""
    """Of a service that takes tasks by POST."""
    answer: str | None = None
    """Path of the answer in the JSON object that it gives; None: `answer`."""
    listen: str = "127.0.0.1"
    """Where the door listens."""
    passed: tuple[str, ...] = ()
    """Variables that the program gets though they look like keys."""
    most_calls: int = 100
    """Calls of the policy in a run."""
    max_seconds: float = math.inf
    """Seconds of a run, waiting for the policy left out."""


class OneRun(Protocol):
    """A run of the program, or a task at the service."""

    @property
    def output(self) -> str:
        """What it has said so far."""

    @property
    def last_error(self) -> str:
        """What it says went wrong."""

    async def to_its_end(self) -> int:
        """0 for success, else an exit code or a status."""


class HttpAgent:
    """A program or service that asks the policy over HTTP.

    Args:
        options: see there.
        roles: whom the policy plays, each a model's name; empty: `policy`.

    Raises:
        ConfigError: the address to listen at is none.
    """

    def __init__(self, options: DoorOptions, roles: Sequence[str] = ()) -> None:
        self.roles = tuple(roles) or ("policy",)
        self._options = options
        self._address = Address.of(options.listen)
        self._door = Door(self._address)
        self._words = shlex.split(options.command)
        self._any_asked = False
        self._told: set[str] = set()

    @property
    def _name(self) -> str:
        return f"The agent's service {self._options.url}" if self._options.url else "The agent's command"

    async def preflight(self) -> None:
        """Fail now, in one sentence, rather than in every run.

        Raises:
            ConfigError: there is no such program, nobody listens at the service's address, or the door cannot listen.
        """
        self._address.bound().close()
        if self._options.url:
            await ask_for_service(self._options.url)
        elif not self._words or shutil.which(self._words[0]) is None:
            raise ConfigError(
                f"agent_command is {self._options.command!r}, and there is no program "
                f"{self._words[0] if self._words else ''!r}; write the command that starts your agent, e.g. "
                "'python my_agent.py'."
            )

    async def prepare(self, task: Task, seed: int) -> State:
        """Nothing: it begins with the question."""
        return {"question": task.prompt}

    def turns(self, state: State, policy: PolicyChat) -> Sequence[PlannerTurn]:
        """All calls of the policy."""
        return policy.turns

    async def run(self, task: Task, start: State, policy: PolicyChat, seed: int) -> State:
        """One run.

        Raises:
            AgentFlowError: what failed around it.
        """
        session = Session(policy, self.roles, self._options.most_calls)
        with tempfile.TemporaryDirectory(prefix="agent-") as folder:
            async with self._door.opened(session) as base_url:
                given = self._given(task, session, base_url, seed)
                answered = Path(folder) / "answer"
                one = self._one_run(given, answered)
                code = await self._code(one, session)
            text = one.output
            with suppress(OSError):
                text = answered.read_text(errors="replace").strip() or text
        ended_by = await self._ended_by(code, one, session)
        answer, state = read_answer(text, self._options.answer)
        record = {
            "answer": answer,
            "ended_by": ended_by,
            "memory": session.record.memory([]),
            "usage": session.record.usage,
            "trace": session.record.trace.as_dict(),
        }
        return {**record, FINAL: {**record, **state, "answer": answer}}

    def _given(self, task: Task, session: Session, base_url: str, seed: int) -> dict[str, Any]:
        """What the agent is told. The reference answers and metadata of a task are for rewards alone."""
        return {
            "id": task.id,
            "question": task.prompt,
            "seed": seed,
            "base_url": base_url,
            "api_key": session.key,
            "model": self.roles[0],
            "models": list(self.roles),
        }

    def _one_run(self, given: Mapping[str, Any], answer: Path) -> OneRun:
        if self._options.url:
            return ServiceRun(self._options.url, given)
        question = str(given["question"])
        variables = {
            "OPENAI_BASE_URL": given["base_url"],
            "OPENAI_API_BASE": given["base_url"],
            "OPENAI_API_KEY": given["api_key"],
            "OPENAI_MODEL": given["model"],
            "AGENTFLOW_TASK_ID": given["id"],
            "AGENTFLOW_SEED": str(given["seed"]),
            "AGENTFLOW_ANSWER_FILE": str(answer),
            **({"AGENTFLOW_QUESTION": question} if len(question.encode()) < _LONGEST_VARIABLE else {}),
        }
        host = urlsplit(given["base_url"]).hostname or ""
        environment = environment_of(variables, self._options.passed, host)
        return CommandRun(self._words, environment, json.dumps(given).encode() + b"\n")

    async def _code(self, one: OneRun, session: Session) -> int | None:
        """The run's exit code or status; None where its time was up.

        Raises:
            AgentFlowError: what failed around it.
        """
        running = asyncio.ensure_future(one.to_its_end())
        both: set[asyncio.Future[Any]] = {running, session.failure}
        first = asyncio.ensure_future(asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED))
        try:
            in_time = await ended_in_time(first, session.policy.policy, self._options.max_seconds)
            if session.failure.done():
                raise session.failure.result()
            return await running if in_time else None
        finally:
            session.close()
            first.cancel()
            running.cancel()
            with suppress(asyncio.CancelledError, AgentFlowError):
                await running

    async def _ended_by(self, code: int | None, one: OneRun, session: Session) -> str:
        """How the run ended: `agent` by itself, `time`, `context`, `calls` or `exit CODE`.

        Raises:
            ConfigError, ModelUnavailable: it failed, and not by what the policy said.
        """
        asked = bool(session.policy.turns)
        self._any_asked |= asked
        if code is None:
            return "time"
        refusal = session.refusals[-1] if session.refusals else None
        if refusal is not None:
            self._tell(refusal.code, f"{self._name} asked for something that was refused: {refusal}")
        if code == 0:
            if not asked:
                self._tell("silent", f"{self._name} has not asked the model at OPENAI_BASE_URL; nothing is trained.")
            return "agent"
        how = f"status {code}" if self._options.url else f"exit code {code}"
        because = f": {one.last_error}" if one.last_error else ""
        if not asked:
            refused = f" A request of it was refused: {refusal}" if refusal else ""
            kind = ModelUnavailable if self._any_asked else ConfigError
            raise kind(without_credentials(f"{self._name} ended with {how} without a reply{because}.{refused}"))
        self._tell(how, f"{self._name} ended a run with {how}, which earns what its answer earns{because}")
        return (refusal and _OWN_ENDS.get(refusal.code)) or f"exit {code}"

    def _tell(self, kind: str, text: str) -> None:
        """Logs each kind of mishap once."""
        if kind not in self._told:
            self._told.add(kind)
            logger.warning("%s", without_credentials(text.rstrip(".")) + ".")
