"""What the command lines of this project share: errors of one line, suggestions, exit codes, closed pipes.

    def main(argv: Sequence[str] | None = None) -> int:
        return exit_code(lambda: work(parser().parse_args(argv)))

A command line that is built from `CommandLine` answers a mistake with one sentence. Nothing heavy is imported here.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import io
import os
import re
import select
import sys
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, Final, NoReturn, TextIO, TypeVar

from graph.errors import AgentFlowError, ConfigError
from tools.secrecy import without_credentials

BAD_INPUT: Final = 2
"""Exit code after a mistake that the user can correct."""
INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells have it."""
CLOSED_PIPE: Final = 141
"""Exit code when the reader of the output is gone, as shells have it for SIGPIPE."""

DISTRIBUTION: Final = "agentflow-langgraph"

_VALUE = re.compile(r"invalid (\w+) value: (.+)", re.DOTALL)
_CHOICE = re.compile(r"invalid choice: (.+?) \(choose from (.+)\)", re.DOTALL)
_RANGE = re.compile(r"argument (.+?): (is .+; it must be .+)", re.DOTALL)
_KINDS = {"int": "a whole number", "float": "a number", "Path": "a path"}


N = TypeVar("N", int, float)


def between(kind: type[N], least: float, most: float = 2**32 - 1) -> Callable[[str], N]:
    """The `type` of an option that is a number from `least` to `most`; by default no more than libraries can count."""

    def read(text: str) -> N:
        value = kind(text)
        if not least <= value <= most:
            bound = f"at most {most:,.0f}" if value > most else f"at least {least:g}" if value < least else "a number"
            raise argparse.ArgumentTypeError(f"is {text}; it must be {bound}.")
        return value

    read.__name__ = kind.__name__  # what `argparse` calls it where it is no number at all
    return read


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A question that names the nearest of the known names, with a space before it; empty if none is near."""
    names = {name.lstrip("-"): name for name in known}
    near = difflib.get_close_matches(given.lstrip("-"), names, n=1, cutoff=0.6)
    return f" Did you mean {names[near[0]]}?" if near else ""


CALLED_AS: ContextVar[tuple[str, str]] = ContextVar("CALLED_AS", default=("", ""))
"""How a program calls itself, and what the user typed instead, where that is another name for it."""


class CommandLine(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are one sentence with a suggestion, raised as `ConfigError`.

    Options are not abbreviated: a script with `--max-t` would break when a second option begins so.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})
        own, typed = CALLED_AS.get()
        if own and self.prog.startswith(own):
            self.prog = typed + self.prog.removeprefix(own)

    def add_version(self) -> None:
        """Add `--version`."""
        self.add_argument("--version", action=_Version, help="print the version and end")

    def parse_known_args(  # type: ignore[override]  # the overloads of the base class differ in the namespace only
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As the base class; an unknown option is named before anything that is missing."""
        given = list(sys.argv[1:] if args is None else args)
        if self._subparsers is None:  # the options of a command are known to the command's own parser
            self._refuse_unknown(given)
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise the mistake as one sentence.

        Raises:
            ConfigError: always.
        """
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            self._refuse_unknown(unknown.split())
            raise ConfigError(f"There is too much on the command line: {unknown}; a text with spaces needs quotes.")
        if (commands := self._commands()) and message.startswith("the following arguments are required"):
            raise ConfigError(f"Name a command: {', '.join(commands)} (`{self.prog} --help` explains them).")
        if out_of_range := _RANGE.fullmatch(message):
            raise ConfigError(f"{out_of_range[1]} {out_of_range[2]}")
        where, _, what = message.removeprefix("argument ").rpartition(": invalid ")
        what = f"invalid {what}"
        if value := _VALUE.fullmatch(what):
            raise ConfigError(f"{where} is {value[2]}; give {_KINDS.get(value[1], 'another value')}.")
        if choice := _CHOICE.fullmatch(what):
            offered = [name.strip().strip("'\"") for name in choice[2].split(",")]
            hint = did_you_mean(choice[1].strip("'\""), offered)
            named = f"{where} is {choice[1]}" if where.startswith("-") else f"There is no {where.lower()} {choice[1]}"
            raise ConfigError(f"{named}; choose from {', '.join(offered)}.{hint}")
        raise ConfigError(f"{message.removeprefix('argument ')} (`{self.prog} --help` explains the options).")

    def _commands(self) -> list[str]:
        """The names of the commands that follow, if any do."""
        choices = (action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction))
        return [name for names in choices for name in names]

    def _refuse_unknown(self, given: Sequence[str]) -> None:
        for word in given:
            if word == "--":
                return
            name = word.partition("=")[0]
            if name.startswith("--") and name not in self._option_string_actions:
                hint = did_you_mean(name, self._option_string_actions)
                raise ConfigError(f"There is no option {name}.{hint} `{self.prog} --help` lists them.")


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(version())  # noqa: T201 -- what was asked for
        parser.exit()


def version() -> str:
    """Name and version of the installed distribution."""
    from importlib import metadata

    try:
        return f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}"
    except metadata.PackageNotFoundError:
        return f"{DISTRIBUTION} (run from its source, not installed)"


def exit_code(work: Callable[[], int]) -> int:
    """Do the work of a command and turn whatever stops it into an exit code and at most one line.

    Args:
        work: Reads the arguments, does what they say, returns the exit code.
    """
    _open_closed_streams()
    _take_any_characters()
    try:
        code = work()
        sys.stdout.flush()
    except AgentFlowError as error:
        return _refused(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        if not any([_let_go(sys.stdout), _let_go(sys.stderr)]):
            raise  # some other pipe, which is a defect
        return CLOSED_PIPE
    except OSError as error:
        return _refused(_in_words(error))
    return code


def show_error(sentence: str) -> None:
    """Show a mistake without keys and passwords."""
    sys.stderr.write(f"error: {without_credentials(sentence)}\n")


def _refused(sentence: str) -> int:
    show_error(sentence)
    return BAD_INPUT


def _in_words(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        place = f": {error.filename} cannot be written" if error.filename else ""
        return f"The disk is full{place}. Free some space and run the same command again; finished work is kept."
    return f"{error.filename or 'A file'} cannot be used: {error.strerror or error}."


def _open_closed_streams() -> None:
    """Lets streams that the caller has closed lead nowhere: Python has None for them, and the next file that is opened
    would get their number, and with it what a library prints."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8"))


def _take_any_characters() -> None:
    """Let no character end a command: bytes that cannot be read are kept as they are (`tools.text` replaces them where
    the text is used), and what the terminal cannot show is printed as `?`."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _let_go(stream: TextIO) -> bool:
    """Whether nobody reads the stream any more; it then leads nowhere, since Python flushes once more at its end."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # a stream in memory, as tests have it
        return False
    watched = select.poll()
    watched.register(descriptor, select.POLLOUT)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return gone
