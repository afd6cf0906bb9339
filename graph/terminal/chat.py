"""A chat: questions that are typed or piped in, a line each; every answer knows what was said before.

Ctrl-C stops the turn and leaves the chat; a second one, or two at the prompt, end it, and so does Ctrl-D.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from graph.command_line import did_you_mean, show_error
from graph.errors import AgentFlowError

COMMANDS: Final = {"/help": "say this", "/new": "forget the conversation", "/quit": "end the chat (also Ctrl-D)"}

Turn = Callable[[str], Coroutine[Any, Any, None]]
"""Answers a question and shows the answer."""


class Chat:
    """The loop of a chat.

    Args:
        runner: Whose event loop the turns run on.
        turn: Answers one question.
        forget: Begins a new conversation.
        quiet: Whether nothing but answers is written.
    """

    def __init__(self, runner: asyncio.Runner, turn: Turn, forget: Callable[[], None], *, quiet: bool) -> None:
        self._runner = runner
        self._turn = turn
        self._forget = forget
        self._quiet = quiet

    def talk(self) -> None:
        """Answer questions until there are no more.

        Raises:
            KeyboardInterrupt: a second Ctrl-C.
        """
        self._say("A chat: /help explains, Ctrl-C stops a turn, Ctrl-D ends the chat.")
        while (line := self._next_line()) is not None:
            question = line.strip()
            if question and not sys.stdin.isatty():  # a log is read without what was piped in
                self._say(f"> {question}")
            if question.startswith("/"):
                if not self._command(question):
                    return
            elif question:
                try:
                    self._runner.run(self._turn(question))
                except AgentFlowError as error:  # the next question may fare better
                    show_error(str(error))

    def _next_line(self) -> str | None:
        """The next line; the first Ctrl-C at the prompt costs a typed line, not the conversation."""
        try:
            return read_line("> ")
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
        self._say("Press Ctrl-C again, or Ctrl-D, to end the chat.")
        return read_line("> ")

    def _command(self, name: str) -> bool:
        """Do what a command says; False ends the chat."""
        if name in ("/quit", "/exit", "/q"):
            return False
        if name == "/help":
            for command, about in COMMANDS.items():
                self._say(f"{command:6} {about}")
        elif name == "/new":
            self._forget()
            self._say("A new conversation.")
        else:
            self._say(f"There is no command {name}.{did_you_mean(name, COMMANDS)} /help lists them.")
        return True

    def _say(self, words: str) -> None:
        if not self._quiet:
            sys.stderr.write(f"{words}\n")


def read_line(prompt: str) -> str | None:
    """The next line of standard input, edited at a prompt where there is a terminal; None at its end."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        with suppress(ImportError):  # not on every system
            import readline  # noqa: F401 -- gives `input` its editing and its history
        try:
            return input(prompt)
        except (EOFError, KeyboardInterrupt) as end:
            sys.stderr.write("\n")
            if isinstance(end, EOFError):
                return None
            raise
    if not sys.stdin.isatty():
        return sys.stdin.readline() or None
    sys.stderr.write(prompt)
    sys.stderr.flush()
    try:
        return sys.stdin.readline() or None
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise
