"""The program inside the sandbox: a keeper, and its child, which gives up what it still has and runs the snippet.

The keeper is process 1 of the pid namespace: it takes in orphans, and ends with the snippet's process, whereupon the
kernel kills what else there is. It stays the user it was: the kernel lets bubblewrap's death kill no other user's.

It is started with a private interpreter (`-I -S`) that has the standard library, numpy and sympy, and nothing of the
project. Everything it says here is for the snippet's author; none of it is trusted. That the sandbox is closed is
verified from outside, on the kernel's account of this process, while it waits for the code.

Protocol: `argv[1]` is the setup as JSON. One byte `R` on the report pipe says that the limits are set. The code comes
on stdin, all of it, then end of file. At the end one JSON object goes to the report pipe: `{"value": text or null}`,
or `{"error": {...}}`.
"""

from __future__ import annotations

import ast
import builtins
import io
import itertools
import json
import linecache
import os
import resource
import signal
import sys
import traceback
import types
from typing import Any

SOURCE_NAME = "<code>"
"""What tracebacks call the snippet."""
_MAX_FRAMES = 6


def confine(setup: dict[str, Any]) -> None:
    """Becomes an unprivileged user, when started by root, and sets the limits, which nothing can raise again."""
    uid = setup["uid"]
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    for name, wanted in setup["limits"].items():
        limit = getattr(resource, name)
        hard = resource.getrlimit(limit)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(limit, (value, value))


def keep(child: int) -> None:
    """Waits for the snippet's process, and for every orphan, and ends as it does; does not return."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 ignores what it has no handler for
    os.closerange(0, 64)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(128 - code if code < 0 else code)


def receive_code(length: int) -> str:
    """Reads the code and closes stdin; anything but the announced length means that whoever sent it is gone."""
    with open(0, "rb", closefd=False) as stdin:
        code = stdin.read()
    if len(code) != length:
        sys.exit("the code did not arrive whole")
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return code.decode("utf-8")


def show(value: object) -> str | None:
    """A value as an interactive session shows it; exact expressions and numpy's scalars without their wrapping."""
    if value is None:
        return None
    numpy = sys.modules.get("numpy")
    if type(value).__module__.partition(".")[0] == "sympy" or (numpy and isinstance(value, numpy.generic)):
        return str(value)
    return repr(value)


def run(source: str) -> str | None:
    """Runs the snippet as a program's main module; returns the text of its last expression's value."""
    tree = ast.parse(source, SOURCE_NAME)
    last = tree.body[-1] if tree.body else None
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    if not isinstance(last, ast.Expr):
        exec(compile(tree, SOURCE_NAME, "exec"), main.__dict__)  # noqa: S102  running code is this program's purpose
        return None
    tree.body.pop()
    exec(compile(tree, SOURCE_NAME, "exec"), main.__dict__)  # noqa: S102
    value = eval(compile(ast.Expression(last.value), SOURCE_NAME, "eval"), main.__dict__)  # noqa: S307
    return show(value)


def describe(error: BaseException) -> dict[str, Any]:
    """What the snippet's author needs to mend the error: type, message, line in the code, and the last frames."""
    own = traceback.TracebackException.from_exception(error, compact=True)
    frames = list(itertools.dropwhile(lambda frame: frame.filename != SOURCE_NAME, own.stack))
    own.stack = traceback.StackSummary.from_list(frames[-_MAX_FRAMES:])
    own.__context__ = None
    lines = [frame.lineno for frame in frames if frame.filename == SOURCE_NAME]
    if isinstance(error, SyntaxError) and error.filename == SOURCE_NAME:
        lines.append(error.lineno)
    only = list(own.format_exception_only())
    return {
        "type": type(error).__name__,
        "message": only[-1].strip().partition(": ")[2],
        "line": lines[-1] if lines else None,
        "traceback": "".join(own.format()).rstrip(),
    }


def report_of(source: str, max_chars: int) -> dict[str, Any]:
    """Runs the snippet and says how it ended; texts are clipped to `max_chars`."""
    try:
        value = run(source)
    except SystemExit as stop:
        if stop.code in (None, 0):
            return {"value": None}
        return {"error": describe(stop)}
    except BaseException as error:  # noqa: BLE001  whatever the snippet raises is its result
        told = describe(error)
        return {"error": {key: text[:max_chars] if isinstance(text, str) else text for key, text in told.items()}}
    return {"value": value if value is None else value[:max_chars]}


def main() -> None:
    setup = json.loads(sys.argv[1])
    if child := os.fork():
        keep(child)
    report_fd = setup["report_fd"]
    os.set_inheritable(report_fd, False)
    confine(setup)
    os.write(report_fd, b"R")
    source = receive_code(setup["code_bytes"])
    os.chdir("/tmp")  # noqa: S108  the sandbox's own empty one
    sys.path.append(setup["packages"])
    sys.argv = [""]
    sys.set_int_max_str_digits(0)  # long numbers are this tool's daily work; the time limit bounds them
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what was printed survives a kill
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # normally made by `site`, which does not run here
    linecache.cache[SOURCE_NAME] = (len(source), None, source.splitlines(keepends=True), SOURCE_NAME)
    report = report_of(source, setup["max_chars"])
    sys.stdout.flush()
    payload = json.dumps(report).encode()
    while payload:
        payload = payload[os.write(report_fd, payload) :]


if __name__ == "__main__":
    main()
