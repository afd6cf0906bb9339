"""A run's program: what it is given, what is heard of it, and that nothing of it is left when its run has ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.support.vllm_standin import wait_until
from training.rollouts.door import command
from training.rollouts.door.command import CommandRun, environment_of
from training.run.ranks import LAUNCH_VARIABLES


def python(program: str, given: bytes = b"", **variables: str) -> CommandRun:
    return CommandRun([sys.executable, "-c", program], environment_of(variables, (), "127.0.0.1"), given)


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


async def test_its_task_its_output_and_its_exit_code() -> None:
    run = python("import sys; print(sys.stdin.read()); sys.stderr.write('first\\nlast\\n'); sys.exit(3)", b"the task")
    assert await run.to_its_end() == 3
    assert (run.output, run.last_error) == ("the task\n", "last")


async def test_a_task_that_nobody_reads_and_output_without_end() -> None:
    unread = python("print('done')", b"x" * 2**21)
    assert (await unread.to_its_end(), unread.output) == (0, "done\n")
    flood = python("import sys\nfor n in range(400): sys.stdout.write('x' * 9999 + '\\n')\nprint('answer')")
    assert await flood.to_its_end() == 0
    assert len(flood.output) == 2**20
    assert flood.output.endswith("x\nanswer\n")


async def test_a_program_that_is_killed_or_cannot_be_started() -> None:
    assert await python("import os; os.kill(os.getpid(), 9)").to_its_end() == 128 + 9
    missing = CommandRun(["/no/such/program"], environment_of({}, (), ""), b"")
    assert await missing.to_its_end() == 127
    assert "cannot be started" in missing.last_error


FAMILY = r"""
import os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
told = "os.write(1, b'%d ' % os.getpid())"  # in one piece
child = [sys.executable, "-c", f"import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {told}; "
         "time.sleep(600)"]
subprocess.Popen(child); subprocess.Popen(child, start_new_session=True)
exec(told)
time.sleep(0 if "leaves" in sys.argv else 600)
"""


def family(*how: str) -> CommandRun:
    return CommandRun([sys.executable, "-c", FAMILY, *how], environment_of({}, (), ""), b"")


async def pids_of(run: CommandRun) -> list[int]:
    async with asyncio.timeout(30):
        while len(run.output.split()) < 3:
            await asyncio.sleep(0.01)
    return [int(pid) for pid in run.output.split()]


@pytest.mark.parametrize("how", [(), ("stubborn",)])
async def test_a_cancelled_run_ends_with_all_that_it_started(
    how: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "GRACE", 0.3)
    run = family(*how)
    task = asyncio.ensure_future(run.to_its_end())
    pids = await pids_of(run)
    assert all(map(running, pids))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(map(running, pids))


async def test_what_a_program_leaves_behind_ends_with_it() -> None:
    run = family("leaves")
    code = await run.to_its_end()
    pids = [int(pid) for pid in run.output.split()]
    assert code == 0
    assert pids
    assert not any(map(running, pids))


def test_it_ends_when_the_trainer_is_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from tests.training.rollouts.door.test_command import family, pids_of\n"
        "async def main():\n"
        "    run = family(); task = asyncio.ensure_future(run.to_its_end())\n"
        "    print(*await pids_of(run), flush=True); await task\n"
        "asyncio.run(main())"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 3
    assert all(map(running, pids))
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait_until(lambda: not any(map(running, pids)), 30)
    owner.stdout.close()


async def test_no_key_of_ours_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {"HF_TOKEN": "s3cret-1", "OPENAI_API_KEY": "s3cret-2", "AWS_SECRET_ACCESS_KEY": "s3cret-3",
              "PGPASSWORD": "s3cret-4", "DATABASE_URL": "postgres://me:s3cret-5@host/db", "RANK": "s3cret-6",
              "GITHUB_TOKEN_FILE": "s3cret-7", "google_application_credentials": "s3cret-8"}  # fmt: skip
    plain = {"MONKEY": "banana", "TOKENIZERS_PARALLELISM": "false", "KEYBOARD": "de", "NO_PROXY": "intranet"}
    for name, value in (secret | plain | {"TAVILY_API_KEY": "passed-on"}).items():
        monkeypatch.setenv(name, value)
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    variables = environment_of({"OPENAI_API_KEY": "of the run", "Q": "a\0b"}, ("TAVILY_API_KEY",), "127.0.0.1")
    run = CommandRun([sys.executable, "-c", program], variables, b"")
    assert await run.to_its_end() == 0
    seen = json.loads(run.output)
    assert "s3cret" not in run.output
    assert seen["OPENAI_API_KEY"] == "of the run"
    assert seen["TAVILY_API_KEY"] == "passed-on"
    assert seen["Q"] == "ab"
    assert {name: seen[name] for name in plain} == plain | {"NO_PROXY": "intranet,127.0.0.1"}
    assert not set(LAUNCH_VARIABLES) & set(seen)
    assert seen["PATH"] == os.environ["PATH"]
