"""Hostile programs, each run in the sandbox: nothing escapes, and nothing is left running.

A program that gets what it is after prints ESCAPED. One that meets the refusal it should meet prints "held"; any other
surprise fails the test, so that a program with a slip of its own does not pass for a sandbox that holds. A sample of
them is also run without a sandbox, where they must succeed.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.sandbox import Limits, Sandbox, SandboxResult

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux namespaces")

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(seconds=10.0, memory_mb=256, processes=16, output_kb=16, scratch_mb=8)
BRIEF = Limits(seconds=0.5, memory_mb=256, processes=16, output_kb=16, scratch_mb=8)

PRELUDE = """
import ctypes, os, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def held(action, *errors):
    try:
        got = action()
    except (errors or OSError) as error:
        print("held", type(error).__name__)
    else:
        print("ESCAPED", repr(got))
def syscall(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
"""
"""What the programs share; system call numbers below are x86_64's, so those programs run there only."""


@dataclass(frozen=True)
class Attack:
    name: str
    code: str
    outcome: str = "ok"
    says: str | None = "held"
    brief: bool = False
    """Runs until the time limit, so that limit is short."""
    x86_64: bool = False
    works_outside: bool = False
    """Harmless enough to show that it succeeds without the sandbox."""


def endless(name: str, code: str) -> Attack:
    return Attack(name, code, outcome="time", says=None, brief=True)


ATTACKS = [
    # Time.
    endless("endless loop", "while True: pass"),
    endless("sleeps for ever", "time.sleep(1e6)"),
    endless("catastrophic pattern", "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')"),
    endless("one endless operation in C", "9 ** 9 ** 9"),
    endless("catches everything", "while True:\n  try:\n    while True: pass\n  except BaseException: pass"),
    endless("thread that never ends", "threading.Thread(target=lambda: time.sleep(1e6)).start()"),
    endless("waits for itself", "lock = threading.Lock(); lock.acquire(); lock.acquire()"),
    endless(
        "ignores every signal",
        """
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: pass
        """,
    ),
    endless(
        "many busy processes",
        """
        for _ in range(6):
            if os.fork() == 0: break
        while True: pass
        """,
    ),
    # Memory.
    Attack("list without end", "kept = []\nwhile True: kept.append(' ' * 10**6)", "error", None),
    Attack("one huge block", "held(lambda: bytearray(10**9), MemoryError)"),
    Attack("numpy array", "import numpy; held(lambda: numpy.ones(10**9), MemoryError)"),
    Attack(
        "memory spread over processes",
        """
        for _ in range(5):
            if os.fork() == 0: break
        kept = bytearray(os.urandom(1)) * (90 * 2**20)
        time.sleep(60)
        """,
        outcome="memory",
        says=None,
    ),
    Attack(
        "memory that is a file",
        """
        def fill():
            for number in range(100):
                with open(f"/tmp/{number}", "wb") as file: file.write(bytes(2**20))
        held(fill)
        """,
    ),
    Attack("shared memory folder", "held(lambda: open('/dev/shm/x', 'wb').write(bytes(20 * 2**20)))"),
    Attack("memory file", "held(lambda: os.memfd_create('x'))"),
    Attack("System V shared memory", "held(lambda: syscall(29, 0, 10**9, 0o1600))", x86_64=True),
    Attack("System V messages", "held(lambda: syscall(68, 0, 0o1600))", x86_64=True),
    # Processes. Their loops are bounded, lest a defect take the machine down with it.
    Attack(
        "forks in a loop",
        """
        def forks():
            for _ in range(200):
                if os.fork() == 0: time.sleep(1e6)
        held(forks, BlockingIOError)
        """,
    ),
    Attack(
        "threads in a loop",
        """
        def threads():
            for _ in range(200): threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
        held(threads, RuntimeError)
        """,
    ),
    Attack(
        "subprocesses in a loop",
        """
        def processes():
            return [subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1e6)"]) for _ in range(200)]
        held(processes, BlockingIOError)
        """,
    ),
    Attack(
        "subprocess that outlives it",
        """
        subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1e6)"], start_new_session=True)
        print("held")
        """,
    ),
    Attack(
        "daemon that keeps the output open and ignores signals",
        """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in range(1, 32):
                    if number not in (signal.SIGKILL, signal.SIGSTOP): signal.signal(number, signal.SIG_IGN)
                while True: time.sleep(1)
            os._exit(0)
        print("held")
        """,
    ),
    Attack(
        "process that restarts itself",
        """
        again = "import os, time\\nfor _ in range(500):\\n  if os.fork(): os._exit(0)\\n  os.setsid(); time.sleep(0.01)"
        subprocess.Popen([sys.executable, "-S", "-c", again])
        time.sleep(0.2)
        print("held")
        """,
    ),
    # Files.
    Attack("a file in the home folder", "held(lambda: open(CANARY_FILE).read())", works_outside=True),
    Attack("the project's source", "held(lambda: open(SOURCE_FILE).read())", works_outside=True),
    Attack("accounts", "held(lambda: open('/etc/passwd').read())", works_outside=True),
    Attack(
        "the project's packages",
        """
        def take():
            import tools.sandbox
        held(take, ImportError)
        """,
    ),
    Attack(
        "a search of all folders",
        """
        wanted = {os.path.basename(CANARY_FILE), ".ssh", ".aws", ".git", ".netrc", ".bash_history", "shadow", ".env"}
        found = []
        for at, folders, files in os.walk("/"):
            found += [os.path.join(at, name) for name in (*folders, *files) if name in wanted]
            if at.rstrip("/").count("/") == 3:
                folders.clear()  # a home, a checkout and a container's mounts all begin higher up
        print("ESCAPED" if found else "held", found)
        """,
    ),
    Attack("other processes' environment", "held(lambda: os.listdir('/proc/self'))", works_outside=True),
    Attack(
        "symbolic link to the outside",
        """
        os.symlink(CANARY_FILE, "/tmp/link"); os.symlink("/", "/tmp/root")
        held(lambda: open("/tmp/link").read())
        held(lambda: open("/tmp/root/.." + CANARY_FILE).read())
        held(lambda: open("/tmp/../../../../.." + CANARY_FILE).read())
        """,
    ),
    Attack("hard link to the outside", "held(lambda: os.link(CANARY_FILE, '/tmp/link'))"),
    Attack(
        "the interpreter's own files",
        """
        for target in (os.__file__, sys.executable, "/runner.py", "/new", "/dev/new", "/packages/new.py"):
            held(lambda: open(target, "ab"))
        held(lambda: os.unlink(os.__file__))
        held(lambda: os.chmod(sys.executable, 0o777))
        """,
    ),
    Attack("a file that is too large", "held(lambda: open('/tmp/x', 'wb').truncate(100 * 2**20))"),
    Attack("too many files", "for n in range(20_000): open(f'/tmp/{n}', 'w').close()\ntime.sleep(5)", "files", None),
    Attack(
        "inherited descriptors",
        """
        import stat
        kinds = [stat.S_IFMT(os.fstat(fd).st_mode) for fd in range(256) if libc.fcntl(fd, 1) >= 0]
        # Standard streams and the report pipe; the null device is the only file.
        print("held" if sorted(kinds) == sorted([stat.S_IFCHR] + 3 * [stat.S_IFIFO]) else "ESCAPED", kinds)
        """,
    ),
    Attack("device of its own", "held(lambda: os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0)))"),
    Attack("another root folder", "os.mkdir('/tmp/r'); held(lambda: os.chroot('/tmp/r'))"),
    Attack(
        "mounts",
        """
        def mount():
            if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None): raise OSError(ctypes.get_errno(), "mount")
        def unmount():
            if libc.umount2(b"/tmp", 2): raise OSError(ctypes.get_errno(), "umount")
        held(mount); held(unmount)
        """,
    ),
    Attack("file by handle", "held(lambda: syscall(304, -100, b'0' * 64, 0))", x86_64=True),
    Attack("shell", "held(lambda: subprocess.run(['/bin/sh', '-c', 'id']))", works_outside=True),
    # Environment.
    Attack(
        "a key in the environment",
        """
        environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
        seen, at = [*os.environ.values()], 0
        while environ[at]: seen.append(environ[at].decode()); at += 1
        print("ESCAPED" if any(CANARY_KEY in value for value in seen) else "held")
        """,
        works_outside=True,
    ),
    Attack("the kernel's keyring", "held(lambda: syscall(250, 0, -3, 0))", x86_64=True, works_outside=True),
    # Network.
    Attack(
        "TCP to this machine",
        "held(lambda: socket.create_connection(('127.0.0.1', PORT), 2).send(b'ESCAPED'))",
        works_outside=True,
    ),
    Attack("TCP over IPv6", "held(lambda: socket.create_connection(('::1', PORT), 2).send(b'ESCAPED'))"),
    Attack(
        "UDP",
        "held(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'ESCAPED', ('192.0.2.1', 53)))",
    ),
    Attack("name lookup", "held(lambda: socket.getaddrinfo('example.org', 443))"),
    Attack("web page", "import urllib.request; held(lambda: urllib.request.urlopen('http://192.0.2.1/', timeout=2))"),
    Attack(
        "abstract socket",
        "held(lambda: socket.socket(socket.AF_UNIX).connect('\\0' + ABSTRACT))",
        works_outside=True,
    ),
    Attack("socket file", "held(lambda: socket.socket(socket.AF_UNIX).connect(SOCKET_FILE))", works_outside=True),
    Attack("raw packets", "held(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))"),
    Attack("raw IP", "held(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))"),
    Attack("socket to the hypervisor", "held(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))"),
    Attack("kernel crypto socket", "held(lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET))"),
    Attack(
        "network interfaces",
        "print('held' if {name for _, name in socket.if_nameindex()} <= {'lo'} else 'ESCAPED')",
    ),
    Attack("io_uring", "held(lambda: syscall(425, 8, bytes(120)))", x86_64=True),
    # Other processes.
    Attack("kills its parent", "held(lambda: os.kill(HOST_PID, signal.SIGKILL))\nprint('held', os.getppid())"),
    Attack("kills everybody", "held(lambda: os.kill(-1, signal.SIGKILL))"),
    Attack("traces its parent", "held(lambda: syscall(101, 16, HOST_PID, 0, 0))", x86_64=True),
    Attack("reads another's memory", "held(lambda: syscall(310, HOST_PID, None, 0, None, 0, 0))", x86_64=True),
    endless("stops itself", "os.kill(os.getpid(), signal.SIGSTOP)"),
    Attack(
        "kills process 1",
        """
        for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGINT, signal.SIGKILL):
            try: os.kill(1, number)
            except PermissionError: pass
        time.sleep(0.1); print("held")
        """,
    ),
    # Privileges.
    Attack("becomes root", "held(lambda: os.setresuid(0, 0, 0)); held(lambda: os.setgroups([0]))"),
    Attack("new user namespace", "held(lambda: syscall(272, 0x10000000))", x86_64=True),
    Attack("clone with a namespace", "held(lambda: syscall(56, 0x10000000 | 17, 0, 0, 0, 0))", x86_64=True),
    Attack("bpf", "held(lambda: syscall(321, 0, bytes(128), 128))", x86_64=True),
    Attack(
        "raises its limits",
        """
        import resource
        for name in ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CPU", "RLIMIT_CORE"):
            held(lambda: resource.setrlimit(getattr(resource, name), (2**40, 2**40)), ValueError)
        """,
    ),
    Attack("renames the machine", "held(lambda: socket.sethostname('escaped'))"),
    Attack("sets the clock", "held(lambda: time.clock_settime(time.CLOCK_REALTIME, 0))"),
    Attack("higher priority", "held(lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))"),
    # Output and ends.
    Attack("endless output", "while True: print('x' * 1000)", "output", None),
    Attack("endless errors", "while True: print('x' * 1000, file=sys.stderr)", "output", None),
    Attack("output of a grandchild", "os.fork()\nwhile True: os.write(1, b'x' * 1000)", "output", None),
    Attack("huge value", "'x' * 10**7", says=None),
    Attack("deep recursion", "def f(n): return f(n + 1)\nf(0)", "error", None),
    Attack(
        "deep recursion in C",
        """
        sys.setrecursionlimit(10**9)
        nested = []
        for _ in range(10**5): nested = [nested]
        repr(nested)
        """,
        outcome="crash",
        says=None,
    ),
    Attack("a forged report", "[os.write(fd, b'{]') for fd in range(3, 999) if libc.fcntl(fd, 1) >= 0]; print('held')"),
    Attack(
        "a flood of reports",
        "fds = [f for f in range(3, 999) if libc.fcntl(f, 1) >= 0]\nwhile True: os.write(fds[0], bytes(65536))",
        "output",
        None,
    ),
    Attack("closed streams", "os.closerange(0, 999)", says=None, outcome="crash"),
    Attack("ends the interpreter", "os._exit(7)", "crash", None),
    Attack("invalid memory", "ctypes.string_at(0)", "crash", None),
    Attack("no program at all", "\0\udcff", "error", None),
]


@dataclass(frozen=True)
class Surroundings:
    """What the programs are after."""

    secret: str
    names: dict[str, object]
    connections: list[str]

    def program(self, attack: Attack) -> str:
        given = "".join(f"{name} = {value!r}\n" for name, value in self.names.items())
        return PRELUDE + given + textwrap.dedent(attack.code)


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    secret = "canary-" + secrets.token_hex(8)
    canary = Path.home() / f".{secret}.txt"
    canary.write_text(f"ESCAPED {secret}")
    socket_file = str(tmp_path_factory.mktemp("s") / "socket")
    tcp, abstract, by_file = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX), None
    abstract.bind("\0" + secret)
    by_file = socket.socket(socket.AF_UNIX)
    by_file.bind(socket_file)
    connections: list[str] = []
    for name, server in (("tcp", tcp), ("abstract", abstract), ("file", by_file)):
        server.listen()
        threading.Thread(target=_note_connections, args=(name, server, connections), daemon=True).start()
    names = {
        "CANARY_FILE": str(canary),
        "SOURCE_FILE": str(ROOT / "tools" / "sandbox.py"),
        "PORT": tcp.getsockname()[1],
        "ABSTRACT": secret,
        "SOCKET_FILE": socket_file,
        "HOST_PID": os.getpid(),
        "CANARY_KEY": secret,
    }
    os.environ["CANARY_API_KEY"] = f"key {secret}"
    yield Surroundings(secret, names, connections)
    del os.environ["CANARY_API_KEY"]
    canary.unlink()
    for server in (tcp, abstract, by_file):
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def _note_connections(name: str, server: socket.socket, connections: list[str]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:  # closed at the end
            return
        connections.append(name)
        connection.close()


@pytest.fixture(scope="module")
def sandboxes() -> dict[bool, Sandbox]:
    """By whether the attack is to be cut short."""
    return {False: Sandbox(LIMITS), True: Sandbox(BRIEF)}


def processes_in(result: SandboxResult) -> list[int]:
    """The processes, zombies included, that are still in the run's pid namespace."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            namespace = os.readlink(f"/proc/{name}/ns/pid")
        except OSError:  # ended meanwhile, or another user's
            continue
        if namespace == result.isolation.namespaces["pid"]:
            found.append(int(name))
    return found


def sandboxed_children() -> list[str]:
    """bubblewrap processes, zombies included, that are children of this one."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [child for child in children if "bwrap" in Path(f"/proc/{child}/comm").read_text()]


def assert_isolated(result: SandboxResult) -> None:
    proof = result.isolation
    assert {"pid", "net", "mnt", "ipc", "uts"} <= set(proof.namespaces)
    assert proof.uid != 0
    assert proof.capabilities == 0
    assert proof.no_new_privileges
    assert proof.seccomp_filter
    assert proof.limits["RLIMIT_NPROC"] <= LIMITS.processes
    if os.geteuid() != 0:
        assert "user" in proof.namespaces


def test_there_are_enough_attacks_and_each_has_its_name() -> None:
    assert len(ATTACKS) >= 40
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_nothing_escapes(attack: Attack, surroundings: Surroundings, sandboxes: dict[bool, Sandbox]) -> None:
    if attack.x86_64 and os.uname().machine != "x86_64":
        pytest.skip("the system call's number is x86_64's")
    started = time.monotonic()
    surroundings.connections.clear()
    sandbox = sandboxes[attack.brief]
    result = sandbox.run(surroundings.program(attack))
    took = time.monotonic() - started

    said = f"{result.stdout} {result.stderr} {result.value}"
    assert "ESCAPED" not in said, said[:500]
    assert result.outcome == attack.outcome, result
    if attack.says is not None:
        assert attack.says in result.stdout, result
    assert f"ESCAPED {surroundings.secret}" not in said
    assert_isolated(result)
    assert processes_in(result) == []
    assert surroundings.connections == []
    assert took < sandbox.limits.seconds + 30.0
    assert len(result.stdout) <= sandbox.limits.output_kb * 1024


@pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.works_outside], ids=lambda attack: attack.name
)
def test_the_same_program_succeeds_without_a_sandbox(attack: Attack, surroundings: Surroundings) -> None:
    if attack.x86_64 and os.uname().machine != "x86_64":
        pytest.skip("the system call's number is x86_64's")
    outside = subprocess.run(
        [sys.executable, "-c", surroundings.program(attack)], capture_output=True, text=True, timeout=30, check=False
    )
    assert "ESCAPED" in outside.stdout, outside


def test_nothing_of_all_of_this_is_left(sandboxes: dict[bool, Sandbox]) -> None:
    assert sandboxes[False].run("1").outcome == "ok"
    assert sandboxed_children() == []


def test_the_sandbox_dies_with_the_process_that_started_it() -> None:
    program = f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from tools.sandbox import Sandbox
        sandbox = Sandbox()
        sandbox.check()
        print("ready", flush=True)
        sandbox.run("import subprocess, sys, time\\n"
                    "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(1e6)'])\\ntime.sleep(1e6)")
    """
    host = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    assert host.stdout.readline() == "ready\n"
    from tools.sandbox_proof import family_of

    deadline = time.monotonic() + 20
    while len(family := family_of(host.pid)) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(family) == 5, "host, bubblewrap, keeper, the snippet and its subprocess"
    os.kill(host.pid, signal.SIGKILL)
    host.wait()
    host.stdout.close()
    while any(_is_running(pid) for pid in family) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in family if _is_running(pid)]


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # orphans wait as zombies for the machine's init
