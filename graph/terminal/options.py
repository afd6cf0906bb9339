"""The command line of `python -m graph`, and the settings that it makes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graph.command_line import CommandLine
from graph.errors import ConfigError
from graph.roles import ROLES_WITH_SETTING

if TYPE_CHECKING:
    from graph.context import Context

READ = "-"
"""Given as the question: read it from standard input. Without a question this happens wherever there is no terminal."""

_SWITCHES = ("analysis", "justification")
"""Options with a `--no-` form of their own."""

_OF_THE_AGENT = (
        "tools", "corpus", "mcp", "ask_before", "max_turns", "planner_temperature", "analysis", "justification",
        "direct_arguments", "verify", "answer", "checks", "brief_verdicts", "speculate", "report", "block_leaks",
        *(f"{role}_model" for role in ROLES_WITH_SETTING if role != "generator"),
)  # fmt: skip
"""Options that change nothing when the bare model is asked, which answers in the generator's place."""


def parser() -> CommandLine:
    """The options."""
    top = CommandLine(
        prog="python -m graph",
        description="Answer a question with the AgentFlow agent: planner, executor, verifier, generator. The answer "
        "goes to standard output, everything else to standard error.",
        epilog="Environment: AGENTFLOW_MODEL and AGENTFLOW_PLANNER_MODEL (and so on, by role) give default models, "
        "AGENTFLOW_TOOLS and AGENTFLOW_CORPUS default tools and corpus. An option always wins.",
    )
    top.add_version()
    top.add_argument("question", nargs="?", help="the question; without one, or with '-', standard input is read")
    top.add_argument("--chat", action="store_true", help="ask several questions; each knows those before it")
    _add_model_options(top)
    _add_run_options(top)
    _add_output_options(top)
    return top


def _add_model_options(top: CommandLine) -> None:
    top.add_argument("--model", metavar="SPEC", help="model of every role: embedded, embedded:0.5b, "
                     "./planner (a GGUF file or a folder with one), provider:model, "
                     "MODEL@http://host:port/v1, ollama:NAME")  # fmt: skip
    for role in ROLES_WITH_SETTING:
        top.add_argument(f"--{role}-model", metavar="SPEC", help=f"model of the {role}, if another")
    top.add_argument("--max-tokens", type=int, metavar="N", help="longest reply of a model")
    top.add_argument("--temperature", type=float, metavar="T", help="sampling of every role (default: 0)")
    top.add_argument("--planner-temperature", type=float, metavar="T", help="sampling of the planner, if another")


def _add_run_options(top: CommandLine) -> None:
    top.add_argument("--tools", metavar="A,B", help="tools by name or import path (package.module:attribute)")
    top.add_argument(
        "--corpus", metavar="PATH", help="JSONL or text file, or folder of texts, that local_search searches"
    )
    top.add_argument("--mcp", metavar="FILE", help="JSON file that names MCP servers, whose tools are added")
    top.add_argument("--ask-before", metavar="A,B", help="tools before whose calls you are asked")
    top.add_argument(
        "--max-turns", type=int, metavar="N", help="turns after which a run ends with an answer (default: 10)"
    )
    top.add_argument("--max-seconds", type=float, metavar="S", help="time after which a run ends with an answer "
                     "(default: 300)")  # fmt: skip
    add_planning_options(top)
    top.add_argument("--direct-arguments", action="store_true", help="let the planner write the input of simple tools")
    top.add_argument("--verify", choices=("model", "rules"), help="who judges a step (default: model)")
    top.add_argument("--answer", choices=("model", "last_result"), help="a model writes the answer, or it is "
                     "the last accepted result (default: model)")  # fmt: skip
    top.add_argument("--checks", choices=("auto", "on", "off"), help="hold replies to the checks for small models "
                     "(auto: those of embedded models)")  # fmt: skip
    top.add_argument("--brief-verdicts", action="store_true", help="tell the planner of an accepted step no more "
                     "than that")  # fmt: skip
    top.add_argument("--speculate", action="store_true", help="plan the next step while the last is judged: the "
                     "same answer, sooner with --brief-verdicts")  # fmt: skip
    top.add_argument("--report", action="store_true", help="write a long report as well")
    top.add_argument("--mode", choices=("agent", "direct"), default="agent", help="direct: the bare model, no tools")


def add_planning_options(parser: argparse.ArgumentParser) -> None:
    """What a planner is asked for besides a step."""
    parser.add_argument("--analysis", action=argparse.BooleanOptionalAction, help="have the question analysed first "
                        "(default: unless the planner is an embedded model)")  # fmt: skip
    parser.add_argument("--justification", action=argparse.BooleanOptionalAction, help="have the planner justify each "
                        "step (default: unless it is an embedded model); not with --direct-arguments")  # fmt: skip


def _add_output_options(top: CommandLine) -> None:
    top.add_argument("--quiet", "-q", action="store_true", help="show the answer and nothing else")
    top.add_argument("--json", action="store_true", help="print the final state as one JSON document and nothing else")
    top.add_argument("--save", metavar="FILE", type=Path, help="write the state and the prompts of every role to a "
                     "JSON file, step by step; `python -m evals view FILE` shows it")  # fmt: skip


def read_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked; `question` holds the question itself unless it is a chat.

    Raises:
        ConfigError: an option cannot be used, or there is no question.
    """
    options = parser().parse_args(argv)
    check_mode(options)
    if options.save and (options.save.is_dir() or not options.save.parent.is_dir()):
        why = f"there is no folder {options.save.parent}" if not options.save.is_dir() else "it is a folder"
        raise ConfigError(f"The file {options.save} cannot be written ({why}): choose another for --save.")
    if options.chat:
        for name in ("json", "question"):
            if getattr(options, name):
                raise ConfigError(f"--chat asks for its questions itself: leave out {'--' * (name == 'json')}{name}.")
        if options.mode == "direct":
            raise ConfigError("--chat is for the agent: leave out --mode direct.")
        return options
    options.input_is_used = options.question in (None, READ)
    if options.question is None and sys.stdin.isatty():
        raise ConfigError("There is no question: write one in quotes, pipe one in, or start a chat with --chat.")
    if options.input_is_used:
        options.question = read_question()
    if not options.question.strip():
        raise ConfigError("The question is empty: write it as the first argument, in quotes.")
    return options


def check_mode(options: argparse.Namespace) -> None:
    """Raises ConfigError if options are given that need the agent, and `--mode direct`."""
    given = list(filter(None, (_given(name, getattr(options, name, None)) for name in _OF_THE_AGENT)))
    if options.mode == "direct" and given:
        need, them = ("need", "them") if len(given) > 1 else ("needs", "it")
        raise ConfigError(f"{', '.join(given)} {need} the agent: leave {them} out, or leave out --mode direct.")


def _given(name: str, value: Any) -> str:
    """An option as it was given; empty if it was not."""
    if value is None or (value is False and name not in _SWITCHES):
        return ""
    return f"--{'no-' * (value is False)}{name.replace('_', '-')}"


def read_question() -> str:
    """The question on standard input."""
    return sys.stdin.read()


def context_from(options: argparse.Namespace) -> Context:
    """The settings that the command line and the environment make."""
    from graph.context import Context

    given: dict[str, Any] = {
        "model": options.model,
        **{role: getattr(options, f"{role}_model") for role in ROLES_WITH_SETTING},
        "tools": _names(options.tools or os.environ.get("AGENTFLOW_TOOLS")),
        "corpus": options.corpus or os.environ.get("AGENTFLOW_CORPUS"),
        "ask_before": _names(options.ask_before),
        "max_turns": options.max_turns,
        "max_seconds": options.max_seconds,
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "planner_temperature": options.planner_temperature,
        "direct_arguments": options.direct_arguments or None,
        "analyse": options.analysis,
        "justify": options.justification,
        "verify": options.verify,
        "answer": options.answer,
        "checks": options.checks,
        "brief_verdicts": options.brief_verdicts or None,
        "speculate": options.speculate or None,
        "report": options.report or None,
    }
    return Context(**{name: value for name, value in given.items() if value is not None})


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text is not None else None
