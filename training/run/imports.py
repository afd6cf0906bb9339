"""Objects of the user's own, named by import path: `package.module:attribute`."""

from __future__ import annotations

import importlib
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from graph.errors import ConfigError


def imported(spec: str, what: str) -> Any:
    """The object that a path names; the folder the command was started in is searched, too.

    Args:
        spec: `package.module:attribute`.
        what: what it is meant to be, for the error: "The agent", "The reward function".

    Raises:
        ConfigError: the path is none, or its module cannot be imported, or lacks the attribute.
    """
    module, _, attribute = spec.partition(":")
    if not attribute or not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise ConfigError(f"{what} {spec!r} is no import path; write package.module:name.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{what} {spec!r} cannot be imported: {in_words(error)}.") from error
    return found


def in_words(error: BaseException) -> str:
    """An error of somebody's code: its type, its text and, where it is known, the line of their file."""
    frames = traceback.extract_tb(error.__traceback__)
    others = ("site-packages", sysconfig.get_path("stdlib"), str(Path(__file__).parents[1]), "<")
    here = [frame for frame in frames if not any(place in frame.filename for place in others)]
    where = f" ({Path(here[-1].filename).name}, line {here[-1].lineno})" if here else ""
    text = " ".join(str(error).split())[:300].removesuffix(".")
    if isinstance(error, SyntaxError):
        where = f" ({Path(error.filename or '?').name}, line {error.lineno})"
        text = error.msg
    return f"{type(error).__name__}{where}{f': {text}' if text else ''}"
