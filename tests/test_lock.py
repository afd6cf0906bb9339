"""uv.lock is that of pyproject.toml, holds the versions that were tested, and names public addresses only."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

packaging = pytest.importorskip("packaging.requirements", reason="needs packaging, which pytest brings")
ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK: dict[str, Any] = tomllib.loads((ROOT / "uv.lock").read_text())


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def versions() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for package in LOCK["package"]:
        found.setdefault(package["name"], set()).add(package["version"])
    return found


def test_the_lock_is_of_this_pyproject() -> None:
    """Else `uv sync --locked` refuses: run `make lock`."""
    [ours] = [package for package in LOCK["package"] if package["name"] == PROJECT["project"]["name"]]
    assert ours["version"] == PROJECT["project"]["version"]
    wanted = {("", name, bounds) for name, bounds in parsed(PROJECT["project"]["dependencies"])}
    for extra, lines in PROJECT["project"]["optional-dependencies"].items():
        wanted |= {(extra, name, bounds) for name, bounds in parsed(lines) if name != ours["name"]}
    locked = set()
    for entry in ours["metadata"]["requires-dist"]:
        extra = re.search(r"extra == '(\w+)'", entry.get("marker", ""))
        locked.add((extra[1] if extra else "", entry["name"], bounds_of(entry.get("specifier", ""))))
    own = {entry for entry in locked if entry[1] == ours["name"]}
    assert locked - own >= wanted, "run `make lock`"
    assert {entry[1] for entry in locked} == {entry[1] for entry in wanted | own}


def parsed(lines: list[str]) -> list[tuple[str, frozenset[str]]]:
    requirements = [packaging.Requirement(line) for line in lines]
    return [(name_of(each.name), bounds_of(str(each.specifier))) for each in requirements]


def bounds_of(specifier: str) -> frozenset[str]:
    return frozenset(part.strip() for part in specifier.split(",") if part.strip())


def test_the_lock_holds_the_versions_that_were_tested() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = {name_of(name): version for name, _, version in (line.partition("==") for line in lines) if version}
    locked = versions()
    assert {name: version for name, version in tested.items() if version not in locked.get(name, set())} == {}


def test_every_address_is_public() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text()))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
