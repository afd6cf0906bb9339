"""Who may import whom, read from the sources without importing anything.

The packages stand in the order of `PACKAGES`, the folders of `training` in that of `FLOORS`; an import leads down or
stays in its folder. All other modules of `training`, and every command line, stand above the floors.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("tools", "graph", "evals", "training")
FLOORS = (("algo", "run"), ("models",), ("engines",), ("rollouts",), ("update",), ("flow_grpo", "sft"))
ROOF = len(FLOORS)


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {_name(path): ast.parse(path.read_bytes()) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def _imports() -> Iterator[tuple[str, str, str]]:
    """Importer, imported module and imported name ("" for a whole module), wherever the import stands."""
    for importer, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((importer, alias.name, "") for alias in node.names if alias.name in MODULES)
            elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
                for alias in node.names:
                    module = f"{node.module}.{alias.name}"
                    yield (importer, module, "") if module in MODULES else (importer, node.module, alias.name)


def _place(module: str) -> tuple[int, int, str]:
    """Package, floor and folder of a module."""
    package, folder, *_ = (*module.split("."), "")
    floor = next((number for number, folders in enumerate(FLOORS) if folder in folders), ROOF)
    if package != "training" or floor == ROOF or module.endswith("__main__"):
        return PACKAGES.index(package), ROOF, ""
    return PACKAGES.index(package), floor, folder


def test_imports_lead_down() -> None:
    places = [(importer, module, _place(importer), _place(module)) for importer, module, _ in _imports()]
    up = [f"{importer} imports {module}" for importer, module, above, below in places if below[:2] > above[:2]]
    across = [
        f"{importer} imports {module}"
        for importer, module, one, other in places
        if one[:2] == other[:2] and one[2] != other[2]
    ]
    assert not up + across


def test_no_circular_imports() -> None:
    imported: dict[str, set[str]] = {}
    for importer, module, _ in _imports():
        imported.setdefault(importer, set()).add(module)
    TopologicalSorter(imported).prepare()  # raises CycleError, which names the circle


def test_no_private_name_is_imported() -> None:
    assert not [f"{importer}: {module}.{name}" for importer, module, name in _imports() if name.startswith("_")]
