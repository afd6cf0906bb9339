"""What importing costs."""

from __future__ import annotations

import statistics
import subprocess
import sys


def seconds(code: str) -> float:
    """Median seconds of user and system time that a new interpreter needs for some code."""
    program = f"import resource\n{code}\nu = resource.getrusage(resource.RUSAGE_SELF)\nprint(u.ru_utime + u.ru_stime)"
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(5)
    ]
    return statistics.median(float(run.stdout) for run in runs)


def test_importing_the_graph_costs_little_more_than_langgraph() -> None:
    assert seconds("import graph") < seconds("import langgraph.graph") + 0.1


def test_heavy_packages_are_not_imported_before_they_are_needed() -> None:
    heavy = ["torch", "numpy", "ddgs", "trafilatura", "bm25s", "xllamacpp", "huggingface_hub", "mcp", "sqlite3"]
    code = f"from graph import graph; import sys; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
