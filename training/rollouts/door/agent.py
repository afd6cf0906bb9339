"""An agent in any framework or language: a command that is started for each run, or a service that takes tasks.

The agent calls the policy at the door (`server`). Base URL, key and model name are in the command's environment, or in
the task that is sent to the service. What the agent does wrong (an exit code other than 0, endless calls, no answer in
time) is its own failure, and its answer is scored. What fails around it (a command that cannot be started, a service or
an engine that is unreachable) has no reward. A run that fails before the first reply cannot have failed because of the
policy, so that is a failure around it, too.
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
from tools.secrecy import without_credentials
from training.rollouts.agents import FINAL, State
from training.rollouts.door.answer import read_answer
from training.rollouts.door.command import CommandRun, environment_of
from training.rollouts.door.server import Address, Door
from training.rollouts.door.service import ServiceRun, check_service
from training.rollouts.door.session import CONTEXT_LENGTH, TOO_MANY_CALLS, Session
from training.rollouts.graph_run import ended_in_time
from training.rollouts.policy_chat import PolicyChat
from training.rollouts.records import PlannerTurn

logger = logging.getLogger(__name__)

_LONGEST_VARIABLE = 100_000
"""Size limit in bytes of a question in an environment variable; standard input has no limit."""

_LONGEST_ANSWER = 2**20
"""Size limit in bytes of the answer file."""

_OWN_ENDS = {CONTEXT_LENGTH: "context", TOO_MANY_CALLS: "calls"}
"""Values of `ended_by` for runs that fail after such a refusal."""


@dataclass(frozen=True)
class DoorOptions:
    """Settings of the agent; either `command` or `url` is set."""

    command: str = ""
    """Split like a shell does, but run without a shell."""
    url: str = ""
    """Address of a service that takes tasks by POST."""
    answer: str | None = None
    """Path of the answer in the agent's JSON object; None: `answer`."""
    listen: str = "127.0.0.1"
    """Address of the door."""
    passed: tuple[str, ...] = ()
    """Names of environment variables that the command gets although they look like keys."""
    most_calls: int = 100
    """Limit of calls in a run."""
    max_seconds: float = math.inf
    """Time limit of a run, without waiting for the policy."""


class OneRun(Protocol):
    """A run of the command, or a task at the service."""

    @property
    def output(self) -> str:
        """The output so far."""

    @property
    def last_error(self) -> str:
        """The last line of the error output."""

    async def to_its_end(self) -> int:
        """Runs; returns 0 for success, else an exit code or a status."""


class HttpAgent:
    """A command or service that calls the policy over HTTP.

    Args:
        options: settings.
        roles: roles of the policy, which are model names for the agent; empty: `policy`.

    Raises:
        ConfigError: `listen` is not an address.
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
    def fixed_port(self) -> int:
        """The port of the door if the settings name one; else 0."""
        return self._address.port

    @property
    def _name(self) -> str:
        return f"The agent's service {self._options.url}" if self._options.url else "The agent's command"

    async def preflight(self) -> None:
        """Checks what every run needs.

        Raises:
            ConfigError: the program does not exist, the service is unreachable, or the door cannot listen.
        """
        self._address.bound().close()
        if self._options.url:
            await check_service(self._options.url)
        elif not self._words or shutil.which(self._words[0]) is None:
            raise ConfigError(
                f"agent_command is {self._options.command!r}, and there is no program "
                f"{self._words[0] if self._words else ''!r}; write the command that starts your agent, e.g. "
                "'python my_agent.py'."
            )

    async def prepare(self, task: Task, seed: int) -> State:
        """The question; runs of a group share nothing else."""
        return {"question": task.prompt}

    def turns(self, state: State, policy: PolicyChat) -> Sequence[PlannerTurn]:
        """All calls of the policy."""
        return policy.turns

    async def run(self, task: Task, start: State, policy: PolicyChat, seed: int) -> State:
        """One run of the command, or one task at the service.

        Raises:
            AgentFlowError: something around the agent failed.
        """
        session = Session(policy, self.roles, self._options.most_calls)
        with tempfile.TemporaryDirectory(prefix="agent-", ignore_cleanup_errors=True) as folder:
            async with self._door.opened(session) as base_url:
                given = self._given(task, session, base_url, seed)
                answered = Path(folder) / "answer"
                one = self._one_run(given, answered)
                code = await self._code(one, session)
            text = _answer_file(answered) or one.output
        ended_by = self._ended_by(code, one, session)
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
        """The task for the agent. Reference answers and metadata are for rewards only."""
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
        """The exit code or status of a run; None after the time limit.

        Raises:
            AgentFlowError: something around the agent failed.
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

    def _ended_by(self, code: int | None, one: OneRun, session: Session) -> str:
        """How the run ended: `agent` (by itself), `time`, `context`, `calls` or `exit CODE`.

        Raises:
            ConfigError, ModelUnavailable: the run failed before the first reply.
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
        if refusal is not None and refusal.code in _OWN_ENDS:
            return _OWN_ENDS[refusal.code]
        how = f"status {code}" if self._options.url else f"exit code {code}"
        because = f": {one.last_error}" if one.last_error else ""
        if not asked:
            refused = f" A request of it was refused: {refusal}" if refusal else ""
            kind = ModelUnavailable if self._any_asked else ConfigError
            raise kind(without_credentials(f"{self._name} ended with {how} without a reply{because}.{refused}"))
        self._tell(how, f"{self._name} ended a run with {how}, and its answer is scored{because}")
        return f"exit {code}"

    def _tell(self, kind: str, text: str) -> None:
        """Logs each kind of problem once."""
        if kind not in self._told:
            self._told.add(kind)
            logger.warning("%s", without_credentials(text.rstrip(".")) + ".")


def _answer_file(path: Path) -> str:
    """The text of an answer file, without surrounding space; empty if there is none."""
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_ANSWER).decode(errors="replace").strip()
    except OSError:
        return ""
