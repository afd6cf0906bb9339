"""Ten thousand rollouts are read within ten seconds and 500 MB, and shown within one second."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evals.speed.page import write_rollouts

from .conftest import Page, serving

ROOT = Path(__file__).parents[3]
ROLLOUTS = 10_000

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A training run of that many rollouts: 800 MB, which do not outlive the tests."""
    folder = tmp_path_factory.mktemp("big") / "run"
    write_rollouts(folder, ROLLOUTS)
    yield folder
    shutil.rmtree(folder)


def test_ten_thousand_rollouts_are_read_quickly_and_in_little_memory(big: Path) -> None:
    command = [sys.executable, "-m", "evals.speed.page", "--read", str(big)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    found = json.loads(done.stdout)
    assert found["runs"] == ROLLOUTS
    # CPU time: what the reading itself takes, however busy the machine is.
    assert found["index_cpu_seconds"] < 10
    assert found["first_view_cpu_seconds"] < 1
    assert found["peak_mb"] < 500


def test_the_list_of_ten_thousand_stays_small_and_quick(big: Path, page: Page) -> None:
    with serving([big]) as server:
        page.open(f"{server.url}#/set?set=0")
        page.until("return document.querySelectorAll('.table .row').length > 5")
        assert "10,000" in page.js("return document.querySelector('.stats').innerText")
        took = []
        for step in (0, 5_000, 9_990):
            page.js("scrollTo(0, document.querySelector('.table .body').offsetTop + arguments[0] * 34)", step)
            page.until(f"return document.getElementById('row-{min(step + 3, 9_999)}') !== null")
            assert page.count(".table .row") < 60
            before = cpu_seconds(page)
            page.js(_SORTED, "tokens")
            took.append(cpu_seconds(page) - before)
        assert 0 < min(took) < 1


def cpu_seconds(page: Page) -> float:
    """What the page has computed so far, in seconds of its own thread: however busy the machine is."""
    page.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    metrics = page.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


_SORTED = """
  document.querySelector(`[data-column=${arguments[0]}] button`).click();
  document.querySelector('.table .body').getBoundingClientRect()"""
