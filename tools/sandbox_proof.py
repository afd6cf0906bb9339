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


class SandboxUnavailable(ToolUnavailable):
    """This machine cannot give a guarantee of the sandbox; no code was run."""


@dataclass(frozen=True)
class Isolation:
    """What was verified of one sandbox before it got its code."""

    uid: int
    """The user, as this side sees it; never 0."""
    namespaces: Mapping[str, str]
    """The namespaces that are not this process's own: kind and the kernel's name, e.g. "net": "net:[4026532008]"."""
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


@dataclass(frozen=True)
class Usage:
    """What a sandbox holds at one moment."""

    memory: int
    """Bytes: the pages of its processes and the files in its `/tmp`."""
    files: int
    """Files and folders in its `/tmp`."""


def usage_of(first: int, memory_limit: int) -> Usage:
    """What the sandbox holds now.

    Args:
        first: the first process of the sandbox.
        memory_limit: pages that several processes share are told apart, at some cost, only when counting them for
            each exceeds this.
    """
    family = family_of(first)
    try:
        scratch = os.statvfs(f"/proc/{first}/root/tmp")
    except OSError:  # it has just ended
        return Usage(0, 0)
    files = scratch.f_files - scratch.f_ffree
    stored = (scratch.f_blocks - scratch.f_bfree) * scratch.f_frsize
    memory = stored + sum(_resident(pid) for pid in family)
    if memory > memory_limit:
        memory = stored + sum(_proportional(pid) for pid in family)
    return Usage(memory, files)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
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
    namespaces = {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in (*NAMESPACES, "user")}
    return Isolation(
        uid=min(users),
        namespaces={kind: name for kind, name in namespaces.items() if name != os.readlink(f"/proc/self/ns/{kind}")},
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
