"""Ask the agent a question from a terminal: `python -m graph "QUESTION"`, or several: `python -m graph --chat`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from graph.command_line import exit_code
from graph.terminal.options import context_from, read_options

if TYPE_CHECKING:
    from graph.state import State
    from graph.terminal.ask import Keeper, Thread
    from graph.terminal.view import View
    from graph.trace import Trace


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: 0 after an answer, 2 for what the user can correct, 130 after a second Ctrl-C."""

    def work() -> int:
        options = read_options(argv)
        with asyncio.Runner() as runner:
            if options.chat:
                _chat(runner, options)
            else:
                runner.run(_answer(options))
        return 0

    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character gets a sign in its place
        with suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    return exit_code(work)


async def _answer(options: argparse.Namespace) -> None:
    """Answer one question and print the answer."""
    view = _view(options)
    with view:
        if options.mode == "direct":
            state = await _answer_directly(options, view)
        else:
            state = await _run(await _thread(options, view), options.question, options, view)
    _print(state, options)
    view.finish(state)


async def _answer_directly(options: argparse.Namespace, view: View) -> State:
    from graph.direct import answer_directly
    from graph.models.progress import progress_told_to
    from graph.terminal.ask import start_models
    from graph.trace import traced

    context = context_from(options)
    with traced() as trace, progress_told_to(view):
        await start_models(context, view)
        view.begin("generator")
        state = await answer_directly(options.question, context)
        _keep(state, trace, options, finished=True)
    return state


def _chat(runner: asyncio.Runner, options: argparse.Namespace) -> None:
    """Answer the questions of a chat."""
    from graph.terminal.chat import Chat

    view = _view(options)

    async def start() -> Thread:
        with view:
            return await _thread(options, view)

    async def turn(question: str) -> None:
        from graph.terminal.ask import Stopped

        try:
            with view:
                state = await _run(thread, question, options, view)
        except Stopped:
            view.say("Stopped.")
            return
        _print(state, options)
        view.finish(state, costs=False)

    thread = runner.run(start())
    Chat(runner, turn, thread.forget, quiet=options.quiet).talk()


async def _thread(options: argparse.Namespace, view: View) -> Thread:
    """A thread of the agent that is ready for its first question."""
    from graph.terminal.ask import Thread, mcp_tools, start_models
    from graph.terminal.human import Human

    context = context_from(options)
    more_tools = await mcp_tools(options.mcp) if options.mcp else []
    human = Human(input_is_used=not options.chat and options.input_is_used)
    thread = Thread(context, view, human, more_tools)
    await start_models(context, view)
    return thread


async def _run(thread: Thread, question: str, options: argparse.Namespace, view: View) -> State:
    """The finished run; its state and its prompts are kept as `--save` wants.

    Ctrl-C ends it with an answer from what is known so far; in a chat it stops the turn.
    """
    from graph.terminal.ask import Stopped
    from graph.trace import traced

    with traced() as trace:
        keep: Keeper | None = None
        if options.save:

            def keep(state: State) -> None:
                _keep(state, trace, options, finished=False)

        try:
            state = await thread.answer(question, keep)
        except Stopped:
            if options.chat:
                raise
            view.say("Interrupted: answering from what is known so far (Ctrl-C again to quit).")
            state = await thread.answer_now(question)
        _keep(state, trace, options, finished=True)
    return state


def _keep(state: State, trace: Trace, options: argparse.Namespace, *, finished: bool) -> None:
    if options.save:
        from graph.terminal.document import as_document, save

        save(as_document(state, trace, finished=finished), options.save)


def _view(options: argparse.Namespace) -> View:
    """What is shown: all in a terminal, plain lines elsewhere; of a JSON document nothing that stays."""
    from rich.console import Console

    from graph.terminal.view import PlainView, TerminalView, View

    console = Console(stderr=True)
    moving = sys.stderr.isatty() and not console.is_dumb_terminal
    if options.quiet or (options.json and not moving):
        return View()
    return TerminalView(console, steps=not options.json) if moving else PlainView()


def _print(state: State, options: argparse.Namespace) -> None:
    """The answer on standard output: framed in a terminal, alone elsewhere."""
    from graph.terminal.document import as_json

    if options.json:
        print(as_json(state))
        return
    texts = {"report": state.get("report"), "answer": state.get("answer") or "(no answer)"}
    if options.quiet or not sys.stdout.isatty():
        print(*[text for text in (texts["answer"], texts["report"]) if text], sep="\n\n", flush=True)
        return
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    from graph.terminal.text import printable

    console = Console()
    for title, text in texts.items():
        if text:
            style = "green" if title == "answer" else ""
            console.print(Panel(Text(printable(text)), title=title, title_align="left", border_style=style))


if __name__ == "__main__":
    sys.exit(main())
