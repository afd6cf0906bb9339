"""A human at the terminal, who is asked before calls are made and whatever a tool wants to know.

Questions go to standard error. Answers come from standard input, or, where the question of the run came from there,
from the terminal itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from graph.errors import ConfigError
from graph.rendering import arguments_text
from graph.state import ToolCall
from graph.terminal.text import printable


class Human:
    """Whoever answers.

    Args:
        input_is_used: whether standard input held the run's own question, so that no answers can come from there.
    """

    def __init__(self, *, input_is_used: bool = False) -> None:
        self._input_is_used = input_is_used
        self._source: TextIO | None = None

    def answer(self, question: object) -> Any:
        """Ask what an interrupt wants to know and return what the graph is resumed with.

        Raises:
            ConfigError: nobody is there to answer.
            KeyboardInterrupt: Ctrl-C.
        """
        if isinstance(question, Mapping) and {"tool", "calls"} <= question.keys():
            return self._approval(str(question["tool"]), list(question["calls"]))
        text = question if isinstance(question, str) else json.dumps(question, ensure_ascii=False, default=str)
        return _value(self._ask(f"A tool asks: {printable(text)}", "Your answer: "))

    def _approval(self, tool: str, calls: list[dict[str, Any]]) -> bool | str:
        shown = "\n".join(_indented(arguments) for arguments in calls)
        said = self._ask(f"{tool} is about to be called with\n{shown}", "Call it? y or n, or say why not: ")
        if said.lower() in ("y", "yes"):
            return True
        return False if said.lower() in ("n", "no", "") else said

    def _ask(self, words: str, prompt: str) -> str:
        sys.stderr.write(f"\n{words}\n{prompt}")
        sys.stderr.flush()
        source = self._open()
        said = source.readline()
        if not said:
            sys.stderr.write("\n")
            if source.isatty():  # Ctrl-D
                return ""
            raise _nobody("standard input is at its end")
        if not source.isatty():
            sys.stderr.write(f"{said.rstrip()}\n")
        return said.strip()

    def _open(self) -> TextIO:
        if self._source is None:
            self._source = _terminal() if self._input_is_used else sys.stdin
        return self._source


def _terminal() -> TextIO:
    try:
        return open("/dev/tty", encoding="utf-8", errors="replace")
    except OSError:
        raise _nobody("standard input held the question, and there is no terminal") from None


def _nobody(reason: str) -> ConfigError:
    return ConfigError(
        f"Somebody must answer, but {reason}: run it in a terminal, pipe an answer a line, or leave out --ask-before."
    )


def _indented(arguments: dict[str, Any]) -> str:
    text = arguments_text(ToolCall(arguments=arguments, result="", error=None, seconds=0.0))
    return "\n".join(f"    {line}" for line in printable(text).splitlines())


def _value(said: str) -> Any:
    """An answer as JSON where it is an object or a list, else as text."""
    if said.startswith(("{", "[")):
        try:
            return json.loads(said)
        except ValueError:
            return said
    return said
