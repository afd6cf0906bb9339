"""Tells a user whose own file bears the name of one of our packages.

`tools.py` and `graph.py` are what many people call their files, and Python takes the first of a name that it finds: the
one beside the program. Each package requires those that it imports; without that the user would read
"No module named 'tools.card'". This module stands beside the packages because it must be there when they are hidden.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

HOME = Path(__file__).parent
BAD_INPUT = 2


def require(*names: str) -> None:
    """Refuse to go on if Python would import something else under the name of our packages.

    Args:
        names: Packages of this project.

    Raises:
        ImportError: one is hidden; the message says by what and what to do.
        SystemExit: the same, when the program itself is ours and a traceback would tell the user nothing.
    """
    for name in names:
        hider = hidden_by(name)
        if hider is None:
            continue
        kind = "folder" if hider.is_dir() else "file"
        sentence = (
            f"The {kind} {hider} hides the package `{name}` of AgentFlow, because Python finds it first: "
            "rename it, or move it into a package of your own."
        )
        if _is_our_program():
            sys.stderr.write(f"error: {sentence}\n")
            raise SystemExit(BAD_INPUT)
        raise ImportError(sentence, name=name, path=str(hider))


def hidden_by(name: str) -> Path | None:
    """The file or folder that is imported as `name` instead of our package, if there is one."""
    ours = HOME / name / "__init__.py"
    module = sys.modules.get(name)
    if module is not None:
        found, parts = getattr(module, "__file__", None), getattr(module, "__path__", ())
    else:
        spec = find_spec(name)
        found, parts = (spec.origin, spec.submodule_search_locations or ()) if spec else (None, ())
    if found is None:  # a folder without __init__.py has a path alone; one that is nowhere hides nothing
        return next((Path(part) for part in parts), None)
    path = Path(found)
    if path == ours or (path.exists() and path.samefile(ours)):
        return None
    return path.parent if path.name == "__init__.py" else path


def _is_our_program() -> bool:
    """Whether a command of ours is run, and no program that imports us."""
    program = next(iter(getattr(sys, "argv", ())), "")
    return program == "-m" or Path(program).name in ("agentflow", "agentflow.exe")
