"""The program inside the sandbox: a keeper, and its child, which gives up what it still has and runs the snippet.

The keeper is process 1 of the pid namespace: it takes in orphans, and ends with the snippet's process, whereupon the
kernel kills what else there is. It stays the user it was: the kernel lets bubblewrap's death kill no other user's.

It is started with a private interpreter (`-I -S`) that has the standard library, numpy and sympy, and nothing of the
project. Everything it says here is for the snippet's author; none of it is trusted. That the sandbox is closed is
verified from outside, on the kernel's account of this process, while it waits for the code.

Protocol: the arguments are pairs `name=value`, limits by their name in `resource`. One byte `R` on the report pipe says
that the limits are set. The code comes on stdin, all of it, then end of file. At the end one JSON object goes to the
report pipe: `{"value": text or null}`, or `{"error": {...}}`.

It starts with every run, so it imports what is built in, and the rest (`traceback`, half of the standard library) only
for a snippet that fails: json, ast, signal and typing alone would double the processor time of a run.
"""

from __future__ import annotations

import _ast
import _signal  # type: ignore[import-not-found]  # what `signal` is made of
import builtins
import os
import resource
import sys
from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

SOURCE_NAME = "<code>"
"""What tracebacks call the snippet."""
_MAX_FRAMES = 6


def confine(setup: dict[str, str]) -> None:
    """Becomes an unprivileged user, when started by root, and sets the limits, which nothing can raise again."""
    if "uid" in setup:
        uid = int(setup["uid"])
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    for name, text in setup.items():
        if not name.startswith("RLIMIT_"):
            continue
        limit, wanted = getattr(resource, name), int(text)
        hard = resource.getrlimit(limit)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(limit, (value, value))


def keep(child: int) -> None:
    """Waits for the snippet's process, and for every orphan, and ends as it does; does not return."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # process 1 ignores what it has no handler for
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
    tree: Any = compile(source, SOURCE_NAME, "exec", _ast.PyCF_ONLY_AST, dont_inherit=True)
    last = tree.body[-1] if tree.body else None
    main = type(sys)("__main__")
    sys.modules["__main__"] = main
    if not isinstance(last, _ast.Expr):
        exec(_compiled(tree), main.__dict__)  # noqa: S102  running code is this program's purpose
        return None
    tree.body.pop()
    exec(_compiled(tree), main.__dict__)  # noqa: S102
    value = eval(_compiled(_ast.Expression(last.value), "eval"), main.__dict__)  # noqa: S307
    return show(value)


def _compiled(tree: Any, mode: str = "exec") -> CodeType:
    code: CodeType = compile(tree, SOURCE_NAME, mode, dont_inherit=True)
    return code


class SourceLines:
    """Shows the snippet's lines in tracebacks, once something imports `linecache`; an entry of `sys.meta_path`."""

    def __init__(self, source: str) -> None:
        self.source = source

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """The module as others find it, with the snippet in its cache."""
        if name != "linecache":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]  # it finds no other module
        spec = next(filter(None, (finder.find_spec(name, None) for finder in sys.meta_path)))
        load = spec.loader.exec_module  # type: ignore[union-attr]  # a module of the standard library has one

        def exec_module(module: ModuleType) -> None:
            load(module)
            lines = self.source.splitlines(keepends=True)
            module.cache[SOURCE_NAME] = (len(self.source), None, lines, SOURCE_NAME)

        spec.loader.exec_module = exec_module  # type: ignore[union-attr, method-assign]
        return spec


def describe(error: BaseException) -> dict[str, object]:
    """What the snippet's author needs to mend the error: type, message, line in the code, and the last frames."""
    lines = lines_of(error)
    if isinstance(error, SyntaxError) and error.filename == SOURCE_NAME:
        lines.append(error.lineno)
    if isinstance(error, MemoryError):
        free(error)
    name, line = type(error).__name__, lines[-1] if lines else None
    try:
        message, frames = formatted(error)
    except Exception:  # noqa: BLE001  no memory or no descriptor is left, or the snippet has broken the import
        message, frames = str(error.args[0]) if error.args else "", name
    return {"type": name, "message": message, "line": line, "traceback": frames}


def lines_of(error: BaseException) -> list[int | None]:
    """The lines of the snippet that an error came through."""
    lines: list[int | None] = []
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == SOURCE_NAME:
            lines.append(at.tb_lineno)
        at = at.tb_next
    return lines


def free(error: BaseException) -> None:
    """Lets go of what the snippet holds: telling of an error takes memory as well."""
    vars(sys.modules["__main__"]).clear()
    at = error.__traceback__
    while at is not None:
        try:  # noqa: SIM105 - contextlib is not imported yet, and there is no memory for it
            at.tb_frame.clear()
        except RuntimeError:  # our own, which still runs
            pass
        at = at.tb_next


def formatted(error: BaseException) -> tuple[str, str]:
    """Message and last frames, as Python prints them."""
    import itertools
    import traceback

    own = traceback.TracebackException.from_exception(error, compact=True)
    frames = list(itertools.dropwhile(lambda frame: frame.filename != SOURCE_NAME, own.stack))
    own.stack = traceback.StackSummary.from_list(frames[-_MAX_FRAMES:])
    own.__context__ = None
    only = list(own.format_exception_only())
    return only[-1].strip().partition(": ")[2], "".join(own.format()).rstrip()


def report_of(source: str, max_chars: int) -> dict[str, object]:
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


def as_json(value: object) -> str:
    """Dictionaries, texts, whole numbers and None as JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_json(key)}: {as_json(each)}" for key, each in value.items()) + "}"
    return "null" if value is None else encode_basestring_ascii(value) if isinstance(value, str) else repr(value)


def main() -> None:
    setup = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if child := os.fork():
        keep(child)
    report_fd = int(setup["report_fd"])
    os.set_inheritable(report_fd, False)
    confine(setup)
    os.write(report_fd, b"R")
    source = receive_code(int(setup["code_bytes"]))
    os.chdir("/tmp")  # noqa: S108  the sandbox's own empty one
    sys.path.append(setup["packages"])
    sys.argv = [""]
    sys.set_int_max_str_digits(0)  # long numbers are this tool's daily work; the time limit bounds them
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what was printed survives a kill
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # normally made by `site`, which does not run here
    sys.meta_path.insert(0, SourceLines(source))  # type: ignore[arg-type]  # see there
    report = report_of(source, int(setup["max_chars"]))
    sys.stdout.flush()
    payload = as_json(report).encode()
    while payload:
        payload = payload[os.write(report_fd, payload) :]


if __name__ == "__main__":
    main()
