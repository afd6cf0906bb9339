"""`agentflow COMMAND ...`: every command line of the project behind one name.

A command is the program that `python -m` runs too, with the same options. Unlike `python -m`, it does not look for
packages in the working directory first, so a `tools.py` or `graph.py` there does no harm.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from _agentflow_shadows import require
from graph.command_line import CALLED_AS, did_you_mean, exit_code, version
from graph.errors import ConfigError

Main = Callable[[Sequence[str]], int]


class Command(NamedTuple):
    """One of our programs."""

    module: str
    """Holds `main(argv)`."""
    help: str
    arguments: tuple[str, ...] = ()
    """What stands before the arguments that the user gives."""

    @property
    def program(self) -> str:
        """What it is called without `agentflow`."""
        commands = [word for word in self.arguments if not word.startswith("-")]
        return " ".join(["python -m", self.module.removesuffix(".__main__"), *commands])


COMMANDS = {
    "ask": Command("graph.__main__", "answer a question"),
    "chat": Command("graph.__main__", "ask several questions; each knows those before it", ("--chat",)),
    "view": Command("evals.__main__", "look at runs, evaluations and training in a browser", ("view",)),
    "evals": Command("evals.__main__", "evaluate: run, report, compare, list, view"),
    "models": Command("graph.models.__main__", "the models in the cache: list, get, remove"),
    "train": Command("training.flow_grpo.__main__", "train the planner"),
}

TRAINING = {
    "sft": Command("training.sft.__main__", "supervised fine-tuning on stored rollouts"),
    "validate": Command("training.validate.__main__", "held-out tasks before and after training"),
    "export": Command("training.export.__main__", "write the trained planner as a model"),
    "replay": Command("training.replay.__main__", "look at stored rollouts, score them anew"),
    "plan": Command("training.plan.__main__", "memory and time of a run on given GPUs"),
    "speed": Command("training.speed.__main__", "time one update"),
    "summary": Command("training.summary", "what a run has come to"),
    "town": Command("training.town", "write the tasks of a small world"),
}
"""What follows `agentflow train`; without any of these it is Flow-GRPO."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> int:
        command, rest = find(words)
        if command is None:
            return _say(rest)
        typed = words[: len(words) - len(rest)]
        CALLED_AS.set((command.program, " ".join(["agentflow", *typed])))
        return _program(command)([*command.arguments, *rest])

    return exit_code(work)


def find(words: Sequence[str]) -> tuple[Command | None, list[str]]:
    """The command that some words call, and the words that are left for it.

    Returns:
        No command, and what to print, where help or the version is asked for.

    Raises:
        ConfigError: there is no such command.
    """
    name, *rest = words or ["--help"]
    if name in ("-h", "--help", "help"):
        return None, [usage()]
    if name == "--version":
        return None, [version()]
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS) or f" A question is asked with: agentflow ask {name!r}."
        raise ConfigError(f"There is no command {name!r}; the commands are {', '.join(COMMANDS)}.{hint}")
    if name == "train" and rest and rest[0] in TRAINING:
        return TRAINING[rest[0]], rest[1:]
    return COMMANDS[name], rest


def usage() -> str:
    """The commands, one a line."""
    lines = ["usage: agentflow COMMAND ...   (`agentflow COMMAND --help` explains its options)", ""]
    lines += [f"  {name:<16} {command.help}" for name, command in COMMANDS.items()]
    lines += [f"  train {name:<10} {command.help}" for name, command in TRAINING.items()]
    return "\n".join([*lines, f"  {'--version':<16} print the version"])


def _program(command: Command) -> Main:
    """The command's own `main`."""
    require("tools", "graph", command.module.partition(".")[0])
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # tools and rewards by import path; last, so that nothing of ours can be hidden
    return cast("Main", importlib.import_module(command.module).main)


def _say(texts: list[str]) -> int:
    print("\n".join(texts))  # noqa: T201 -- what was asked for
    return 0
