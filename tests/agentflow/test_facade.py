"""`agentflow`, the one name that an application imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

import agentflow
import graph


def test_every_name_is_the_packages_own() -> None:
    assert {name for name in agentflow.__all__ if getattr(agentflow, name) is None} == set()
    assert agentflow.build_graph is graph.build_graph
    assert agentflow.Context is graph.Context
    assert agentflow.graph is graph.graph
    with pytest.raises(AttributeError, match="nothing"):
        agentflow.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_importing_it_loads_no_langgraph() -> None:
    code = "import agentflow, sys; print([m for m in ('langgraph', 'langchain_core', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
