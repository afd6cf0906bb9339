"""What the commands of training share: settings as options, one-line errors, exit codes.

    def main(argv: Sequence[str] | None = None) -> int:
        return run(lambda: work(parser().parse_args(argv)))

Exit codes: 0 for success, 2 for a mistake the user can correct, 130 after Ctrl-C. An error is one sentence on standard
error, without keys and passwords. A misspelled option or setting gets a suggestion.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from graph.command_line import CommandLine, exit_code
from graph.errors import ConfigError
from training.run.limits import is_out_of_memory
from training.run.settings import described, parsed_value

FROM_CHECKPOINT = "the same command continues, from the last checkpoint if there is one"
_OWN = ("agentflow", "evals", "graph", "tools", "training")


def say(text: str) -> None:
    """Tells how a command goes on: a line on standard error."""
    sys.stderr.write(f"{text}\n")


def run(work: Callable[[], object], *, interrupted: str = "") -> int:
    """Runs a command and returns its exit code.

    Args:
        work: parses the arguments and carries them out.
        interrupted: how to continue, shown after Ctrl-C.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")

    def guarded() -> int:
        try:
            work()
        except KeyboardInterrupt:
            if interrupted:
                sys.stderr.write(f"interrupted; {interrupted}\n")
            raise
        except ModuleNotFoundError as error:
            package = str(error.name).partition(".")[0]
            if package in _OWN:
                raise
            raise ConfigError(
                f"This needs the package {package}, which is not installed; `pip install -e '.[train]'` installs all "
                "that training needs."
            ) from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise ConfigError(
                "There is not enough memory for this model with these settings; lower lora_rank or "
                "the sizes of batches, or take a smaller model."
            ) from error
        return 0

    return exit_code(guarded)


def settings_line(prog: str, description: str, kind: type, groups: Mapping[str, str]) -> CommandLine:
    """The parser of a command that is configured by settings alone, with `--show`.

    Args:
        prog: the command.
        description: its purpose.
        kind: a dataclass of settings.
        groups: headings of the settings, by the first setting under each.
    """
    line = CommandLine(
        prog=prog,
        usage="%(prog)s [--config FILE] [--show] [--SETTING VALUE ...]",
        description=description,
        epilog=f"settings, in the YAML file or after it as --SETTING VALUE, which wins:\n\n{described(kind, groups)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    line.add_argument("--show", action="store_true", help="print the settings and exit")
    add_settings(line, kind)
    return line


def add_settings(line: argparse.ArgumentParser, kind: type) -> None:
    """Adds `--config FILE` and an option for every setting; the parsed values are in `settings`, by name.

    Args:
        line: the parser.
        kind: a dataclass of settings.
    """
    line.add_argument("--config", type=Path, metavar="FILE", help="YAML file of settings, e.g. a run's config.yaml")
    line.set_defaults(settings={})
    hints = get_type_hints(kind)
    for item in fields(kind):
        names = dict.fromkeys((f"--{item.name}", f"--{item.name.replace('_', '-')}"))
        line.add_argument(
            *names,
            dest=item.name,
            action=_Setting,
            const=hints[item.name],
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )


class _Setting(argparse.Action):
    """Collects a setting in the namespace's `settings`."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        if values == "":
            raise ConfigError(f"The setting {option_string} has an empty value; write null to leave it unset.")
        namespace.settings = {**namespace.settings, self.dest: parsed_value(values, self.const)}
