"""Is the sandbox closed? The answer of the kernel, read from outside while the sandboxed process waits for its code.

bubblewrap reports its own success, and the runner inside could report its own confinement; neither is taken at its
word. `/proc` shows this side what holds for the waiting process: its namespaces, user, capabilities, filter, limits
and root folder. Only when each is as it must be is the code handed over. The same reading finds how much memory the
sandbox uses, and whether anything of it is left.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.errors import ToolUnavailable

NAMESPACES = ("pid", "net", "mnt", "ipc", "uts")

_LIMIT_NAMES = {
    "RLIMIT_AS": "Max address space",
    "RLIMIT_CPU": "Max cpu time",
    "RLIMIT_NPROC": "Max processes",
    "RLIMIT_FSIZE": "Max file size",
    "RLIMIT_NOFILE": "Max open files",
    "RLIMIT_CORE": "Max core file size",
    "RLIMIT_MSGQUEUE": "Max msgqueue size",
}
"""What `/proc/PID/limits` calls them."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class SandboxUnavailable(ToolUnavailable):
    """This machine cannot give a guarantee of the sandbox; no code was run."""


@dataclass(frozen=True)
class Isolation:
    """What was verified of one sandbox before it got its code."""

    uid: int
    """The user, as this side sees it; never 0."""
    namespaces: tuple[str, ...]
    """The kinds of namespace that differ from this process's own."""
    capabilities: int
    """The permitted, effective and ambient sets or-ed; always 0. (The inheritable one is void under no_new_privs.)"""
    no_new_privileges: bool
    seccomp_filter: bool
    limits: Mapping[str, int]
    """The hard rlimits in force, by their name in `resource`."""


def children_of(pid: int) -> list[int]:
    """The processes whose parent is `pid`, in any of its threads; none when it is gone."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        lists = [Path(f"/proc/{pid}/task/{thread}/children").read_text() for thread in threads]
    except (FileNotFoundError, ProcessLookupError):
        if os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children"):
            return []  # the process or one of its threads has just ended
        return [child for child in _every_process() if _parent_of(child) == pid]  # a kernel without such lists
    return [int(child) for text in lists for child in text.split()]


def _every_process() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _parent_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[1])


def family_of(pid: int) -> list[int]:
    """The process and all its descendants."""
    family = [pid]
    for member in family:
        family += children_of(member)
    return family


def memory_used(init: int, limit: int) -> int:
    """Bytes of memory that a sandbox uses together: its processes' pages and the files in its `/tmp`.

    Args:
        init: the first process of the sandbox.
        limit: pages that several processes share are told apart, at some cost, only if counting them double exceeds it.
    """
    family = family_of(init)
    files = _scratch_used(init)
    used = files + sum(_resident(pid) for pid in family)
    return used if used <= limit else files + sum(_proportional(pid) for pid in family)


def scratch_files(init: int) -> int:
    """The number of files and folders in the sandbox's `/tmp`; 0 when it is gone."""
    try:
        state = os.statvfs(f"/proc/{init}/root/tmp")
    except OSError:
        return 0
    return state.f_files - state.f_ffree


def _scratch_used(init: int) -> int:
    try:
        state = os.statvfs(f"/proc/{init}/root/tmp")
    except OSError:  # the sandbox has just ended
        return 0
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return _resident(pid)
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def verify(pid: int, limits: Mapping[str, int], *, in_user_namespace: bool) -> Isolation:
    """Reads what holds for the waiting process.

    Args:
        pid: the process, by its number on this side.
        limits: the rlimits it must have, or lower ones.
        in_user_namespace: whether it must be in a user namespace of its own (the sandboxes of ordinary users are).

    Raises:
        SandboxUnavailable: something is missing, or cannot be read; the message names it.
    """
    try:
        isolation = _read(pid)
        same_root = os.path.samefile(f"/proc/{pid}/root", "/")
    except (OSError, KeyError, ValueError) as error:
        raise SandboxUnavailable(
            f"The sandbox's isolation cannot be verified ({error}): the process table (/proc) must show its processes."
        ) from error
    wanted = {*NAMESPACES, "user"} if in_user_namespace else set(NAMESPACES)
    missing = [f"its own {kind} namespace" for kind in sorted(wanted.difference(isolation.namespaces))]
    if isolation.uid == 0 and os.geteuid() == 0:
        missing.append("an unprivileged user")
    if isolation.capabilities:
        missing.append("the loss of all capabilities")
    if not isolation.no_new_privileges:
        missing.append("no_new_privs")
    if not isolation.seccomp_filter:
        missing.append("the system call filter")
    if same_root:
        missing.append("a root folder of its own")
    missing += [f"the limit {name}" for name, most in limits.items() if isolation.limits[name] > most]
    if missing:
        raise SandboxUnavailable(
            f"The sandbox started without {', '.join(missing)}; no code was run: use a newer kernel or bubblewrap."
        )
    return isolation


def _read(pid: int) -> Isolation:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    capabilities = 0
    for kind in ("CapPrm", "CapEff", "CapAmb"):
        capabilities |= int(status[kind], 16)
    users = [int(user) for user in status["Uid"].split()]
    kinds = (*NAMESPACES, "user")
    return Isolation(
        uid=min(users),
        namespaces=tuple(
            kind for kind in kinds if os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
        ),
        capabilities=capabilities,
        no_new_privileges=status["NoNewPrivs"].strip() == "1",
        seccomp_filter=status["Seccomp"].strip() == "2",
        limits=_hard_limits(pid),
    )


def _hard_limits(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    found = {}
    for name, label in _LIMIT_NAMES.items():
        line = next(line for line in lines if line.startswith(label))
        hard = line[len(label) :].split()[1]
        found[name] = 2**64 if hard == "unlimited" else int(hard)
    return found
