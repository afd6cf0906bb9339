"""What a training run has learned, as the page tells it at a glance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evals.reports.intervals import wilson
from evals.view.export import export
from evals.view.library import Library
from evals.view.server import Server
from evals.view.sources import find_sources
from training.rollouts.records import Rollout
from training.rollouts.store import read_rollouts

from .conftest import Page, serving
from .samples import training

pytestmark = pytest.mark.timeout(900)

HELD_OUT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training(tmp_path_factory.mktemp("runs") / "town", held_out=HELD_OUT)


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Server]:
    with serving([folder]) as server:
        yield server


@pytest.fixture(params=["served", "exported"])
def home(request: pytest.FixtureRequest, site: Server, folder: Path, tmp_path: Path) -> str:
    if request.param == "served":
        return site.url
    export(Library([folder]), tmp_path / "page.html")
    return (tmp_path / "page.html").as_uri()


def right(rollout: Rollout) -> bool:
    return rollout.reward == 1.0


def test_held_out_runs_are_a_set_of_their_own_named_after_their_training(folder: Path, tmp_path: Path) -> None:
    other = training(tmp_path / "town", steps=1, held_out=1)
    sources = find_sources([folder, other.parent])
    assert [source.name.rpartition("/")[2] for source in sources] == ["town", "town, held out"] * 2
    assert len({source.name for source in sources}) == 4
    library = Library([folder, other])
    assert [about["held_out"] for about in library.overview()["sources"]] == [1, None, 3, None]
    assert library.sources[1].settings() == library.sources[0].settings() != {}
    assert library.facts(1)["lines"] == []
    [alone] = find_sources([folder / "validations"])
    assert (alone.kind, alone.name, alone.described()["unit"]) == ("training", "validations", "update")
    assert [about["unit"] for about in library.overview()["sources"]] == ["step", "update"] * 2


def test_the_page_tells_what_was_learned(page: Page, home: str, folder: Path) -> None:
    page.open(home + "#/training?set=0")
    held = list(read_rollouts(folder / "validations"))
    curves = page.until(
        "const figures = [...document.querySelectorAll('.learning > .charts figure')];"
        "return figures.length === 2 && figures.map((e) => e.getAttribute('aria-label'))"
    )
    last = [rollout for rollout in held if rollout.step == 8]
    rate = sum(map(right, last)) / HELD_OUT
    low, high = wilson(rate, HELD_OUT)
    told = page.js("return Learning.wilson(arguments[0], arguments[1])", rate, HELD_OUT)
    assert told == pytest.approx([low, high])
    assert f"held out {rate:.3g}" in curves[0].replace(",", "")
    assert "several steps" in curves[0]

    before = {rollout.task.id: right(rollout) for rollout in held if rollout.step == 0}
    after = {rollout.task.id: right(rollout) for rollout in last}
    learned = [task for task in before if after[task] > before[task]]
    lost = [task for task in before if after[task] < before[task]]
    assert f"{len(learned)} learned, {len(lost)} lost, of {HELD_OUT} held-out questions" in page.text()
    sides = "return [...document.querySelectorAll('.before-after .side')].map((e) => e.querySelector('h3').textContent)"
    assert page.js(sides) == ["before training", "after update 8"]
    marks = "return [...document.querySelectorAll('.before-after .mark')].map((e) => e.textContent)"
    assert page.js(marks) == ["wrong", "right"], "a question that was learned comes first"
    page.until("return document.querySelectorAll('.before-after .story').length === 2")
    same = next(task for task in before if before[task] == after[task])
    page.choose("[data-choice=held-out]", same)
    assert len(set(page.js(marks))) == 1
    page.click(".before-after p a")
    page.until(f"return document.body.innerText.includes('{HELD_OUT} questions in common')")


def test_when_each_question_of_several_steps_was_first_solved(page: Page, home: str, folder: Path) -> None:
    page.open(home + "#/training?set=0")
    rollouts = [r for r in read_rollouts(folder / "rollouts") if len(r.task.metadata["steps"]) > 1]
    assert {rollout.task.id for rollout in rollouts} == {"t1", "t3"}
    expected = {}
    for task in ("t1", "t3"):
        own = [rollout for rollout in rollouts if rollout.task.id == task]
        place = next(place for place, rollout in enumerate(own) if right(rollout))
        expected[task] = [str(own[place].step + 1), str(place)]  # people count from 1
    page.until("return document.querySelectorAll('.learning > details').length === 2")
    page.js("document.querySelector('.learning > details').open = true")
    rows = page.until(
        "const rows = [...document.querySelectorAll('.first-solved tbody tr')]; return rows.length && rows.map((e) =>"
        " [e.dataset.task, e.children[1].textContent, e.children[2].textContent])"
    )
    assert {task: values for task, *values in rows} == expected
    page.click(".first-solved a")
    page.until("return document.querySelector('.run .question .mark.right') !== null")


def test_a_run_without_held_out_questions_has_no_such_section(
    page: Page, serve: Callable[..., Server], tmp_path: Path
) -> None:
    page.open(serve(training(tmp_path / "plain", steps=2)).url)
    page.until("return document.querySelectorAll('.charts canvas').length >= 10")
    assert page.count(".learning") == 0
