"""The page in a real browser: what a reader does with it, on a server and from a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from evals.reports.compare import compare
from evals.reports.tools import PathOfRun, tool_use, unseen
from evals.results import read_run
from evals.view.export import export
from evals.view.library import Library
from evals.view.server import Server
from training.algo.credit import advantages, turn_advantages
from training.rollouts.records import groups_of
from training.rollouts.store import read_rollouts

from .conftest import Page, serving
from .samples import evaluation, hostile, own_agent, saved_run, training

Serve = Callable[..., Server]

pytestmark = pytest.mark.timeout(900)  # a browser on a busy machine takes its time

QUESTION = "return (document.querySelector('.run .question') || {innerText: ''}).innerText"
"""The question of the run that is open; the table, which may still be there, holds every question."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """before, after: two evaluations; training; saved.json: a run."""
    made = tmp_path_factory.mktemp("runs")
    evaluation(made / "before")
    evaluation(made / "after", right=lambda n: n % 4 != 1)
    training(made / "training")
    saved_run(made / "saved.json")
    return made


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Server]:
    with serving([folder / name for name in ("before", "after", "training", "saved.json")]) as server:
        yield server


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same page as a file."""
    file = tmp_path_factory.mktemp("export") / "all.html"
    export(Library([folder / name for name in ("before", "after", "training", "saved.json")]), file)
    return file.as_uri()


@pytest.fixture(params=["served", "exported"])
def home(request: pytest.FixtureRequest, site: Server, exported: str) -> str:
    """Where the page is: everything works in both places."""
    return site.url if request.param == "served" else exported


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest, serve: Serve) -> Iterator[None]:
    """After every test, while its servers still run: no error in the console, and no request but to the page's home."""
    page: Page = request.getfixturevalue("page")
    yield
    assert page.errors() == []
    outside = [url for url in page.requests() if not url.startswith(("http://127.0.0.1:", "file:///"))]
    assert outside == []


SETS = "return [...document.querySelectorAll('.sets-table tbody tr')].map((e) => e.querySelector('a').textContent)"


def test_all_sets_are_listed(page: Page, home: str, folder: Path) -> None:
    page.open(home)
    lines = page.js("return [...document.querySelectorAll('.sets-table tbody tr')].map((e) => e.innerText)")
    assert len(lines) == 4
    for line, words in zip(
        lines,
        (
            ("before", "evaluation", "own", "30 runs", "60.0 %"),
            ("after", "evaluation", "30 runs", "70.0 %"),
            ("training", "training run", "tiny", "128 rollouts"),
            ("saved.json", "graph run", "1 run"),
        ),
        strict=True,
    ):
        assert all(word in line for word in words), line
    written = datetime.fromtimestamp((folder / "saved.json").stat().st_mtime)
    assert f"{written:%Y-%m-%d %H:%M}" in lines[3]


def test_sets_are_sorted_by_any_column_and_the_address_says_so(page: Page, home: str) -> None:
    page.open(home)
    assert page.js(SETS) == ["before", "after", "training", "saved.json"]
    page.click("[data-column=name] button")
    assert page.js(SETS) == ["after", "before", "saved.json", "training"]
    page.click("[data-column=right] button")
    assert page.js(SETS)[:2] == ["after", "before"], "the best first"
    page.click("[data-column=right] button")
    shown = page.js(SETS)
    assert shown.index("before") < shown.index("after")
    assert shown[-1] == "saved.json", "what has no figure comes last"
    assert page.js("return document.querySelector('[data-column=right]').getAttribute('aria-sort')") == "ascending"
    assert page.js("return location.hash") == "#/?sort=right"
    page.open(home + "#/?sort=runs&down=1")
    assert page.js(SETS)[0] == "training"


def test_a_single_run_opens_on_the_run(page: Page, home: str) -> None:
    page.open(home)
    page.js("document.querySelector('tr[data-set=\"3\"] a').click()")
    page.until("return document.querySelector('.run .question') !== null")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("#/nowhere", "There is no place “nowhere” in this page."),
        ("#/set?set=99", "There is no set number 99; the page has 4."),
        ("#/run?set=x&run=t1/0", "There is no set number x"),
        ("#/run?set=0&run=t99/0", "There is no such run"),
        ("#/training?set=0", "before is no training run."),
    ],
)
def test_an_unknown_address_says_so(page: Page, home: str, place: str, words: str) -> None:
    page.open(home + place)
    assert words in page.text()


def test_every_chart_is_explained(page: Page, home: str) -> None:
    for place, least in (("#/set?set=0", 7), ("#/training?set=2", 12)):
        page.open(home + place)
        figures = page.js(
            "return [...document.querySelectorAll('figure')].map((e) => [e.querySelector('figcaption').textContent,"
            " (e.querySelector('.about') || {textContent: ''}).textContent])"
        )
        assert len(figures) >= least
        assert [title for title, about in figures if not about.endswith(".")] == []


def test_a_run_is_told_turn_by_turn(page: Page, home: str) -> None:
    page.open(home + "#/run?set=0&run=t5/0")
    shown = page.text()
    for words in (
        "Which town did traveller 5 found",
        "A fact is asked for.",
        "turn 1",
        "rejected",
        "timeout",
        "look traveller 5 up",
        "accepted, stop: the result says Town 5",
        "reference",
        "Town 5",
        "right",
        "It is what the reference says.",
        "tokens in",
        "4 turns, 1.5 s, ended by verifier",
    ):
        assert words in shown
    assert page.count(".turn.rejected") == 1
    assert page.count(".turn.accepted") == 3


@pytest.mark.parametrize("old", [False, True])
def test_a_run_of_another_graph_is_told_in_its_own_roles(page: Page, serve: Serve, tmp_path: Path, old: bool) -> None:
    home = serve(own_agent(tmp_path / "duo", old=old)).url
    page.open(home + "#/run?set=0&run=1/figs/0")
    shown = page.text()
    assert "train.jsonl · task figs · step 2" in shown  # people count from 1
    turns = page.js("return [...document.querySelectorAll('.turn')].map((e) => e.innerText)")
    for words, said, turn in zip((["planner", "plan 1"], ["solver", "solution 1"]), (1, 2), turns, strict=True):
        assert all(word in turn for word in [*words, f"turn {said}", "2 tokens"])
    assert [word in turns[0] for word in ("price", "fig", "7 each")] == [True] * 3
    for word in ("verifier", "executor", "generator", "accepted", "the rules found", "further calls", "was told"):
        assert word not in shown
    page.open(home + "#/training?set=0")
    box = page.js("return document.querySelector('.before-after').innerText")
    for words in ("planner: plan 0", "solver: solution 0", "planner: plan 2", "solver: solution 2"):
        assert words in box
    assert "rejected" not in box
    assert "accepted" not in box
    assert page.errors() == []


def test_the_time_line_has_a_lane_for_each_role_and_leads_to_its_turn(page: Page, home: str) -> None:
    page.open(home + "#/run?set=0&run=t5/0")
    lanes = page.js("return [...document.querySelectorAll('.lane .name')].map((e) => e.textContent)")
    assert lanes == ["analyst", "planner", "executor", "tool", "verifier", "generator"]
    assert page.count(".lane.planner .segment") == 4
    assert "turn 2: 0.50 s, 700 tokens in" in page.js(
        "return document.querySelectorAll('.lane.planner .segment')[1].getAttribute('aria-label')"
    )
    page.js("document.querySelectorAll('.lane.planner .segment')[1].click()")
    assert page.js("return document.activeElement.id") == "turn-2"


def test_the_exact_prompt_of_a_role_is_there(page: Page, home: str) -> None:
    page.open(home + "#/run?set=0&run=t5/0")
    assert page.count(".prompt") == 14  # the analyst, three roles in each of four turns, the generator
    page.click("#turn-1 .prompt summary")
    prompt = page.until("const e = document.querySelector('#turn-1 .exchange'); return e && e.innerText")
    assert "You are the planner of a team that answers questions with tools." in prompt
    assert "Question: Which town did traveller 5 found" in prompt
    assert "Tool Name: web_search" in prompt


def test_long_results_are_folded_and_open(page: Page, home: str) -> None:
    page.open(home + "#/run?set=3&run=saved.json")
    assert page.js("return document.querySelector('.long.result pre').textContent.split('Town').length - 1") == 12
    assert "more lines" in page.js("return document.querySelector('.long.result .more').textContent")
    page.click(".long.result .more")
    assert page.js("return document.querySelector('.long.result pre').textContent.split('Town').length - 1") == 40
    assert page.count(".long.result .more") == 0


def test_runs_are_filtered_sorted_and_searched(page: Page, home: str) -> None:
    page.open(home + "#/set?set=0")
    assert "30" in page.js("return document.querySelector('.stats').innerText")
    page.choose("[data-filter=outcome]", "wrong")
    page.until("return document.querySelectorAll('.table .row').length === 9")
    assert set(page.js("return [...document.querySelectorAll('.row .mark')].map((e) => e.textContent)")) == {"wrong"}
    page.choose("[data-filter=error]", "timeout")
    page.until("return document.querySelectorAll('.table .row').length === 2")
    assert "error=timeout" in page.js("return location.hash")
    page.js("document.querySelector('.filters button[type=reset]').click()")
    page.until("return document.querySelector('.stats dd').textContent === '30'")
    page.choose("[data-filter=q]", '"traveller 17"')
    page.until("return document.querySelectorAll('.table .row').length === 1")
    assert "t17" in page.js("return document.querySelector('.table .row').textContent")
    page.choose("[data-filter=q]", "TRAVELLER aldera nosuchword")
    page.until("return document.querySelector('.empty') !== null")
    page.choose("[data-filter=q]", "")
    page.until("return document.querySelectorAll('.table .row').length >= 10")
    page.click("[data-column=seconds] button")
    first = "return document.querySelector('.table .row').dataset.key"
    page.until(f"{first} === 't29/0'")
    assert page.js("return document.querySelector('[data-column=seconds]').getAttribute('aria-sort')") == "descending"
    page.click("[data-column=seconds] button")
    page.until(f"{first} === 't0/0'")


def test_a_selection_has_an_address(page: Page, home: str) -> None:
    page.open(home + "#/set?set=2&outcome=right&step=5")
    keys = page.js("return [...document.querySelectorAll('.table .row')].map((e) => e.dataset.key)")
    assert keys
    assert all(key.startswith("5/") for key in keys)
    assert page.js("return document.querySelector('[data-filter=step]').value") == "5"


def test_the_charts_follow_the_selection(page: Page, home: str) -> None:
    page.open(home + "#/set?set=0")
    page.until("return document.querySelectorAll('.charts canvas').length === 2")
    bars = "return [...document.querySelectorAll('figure.bars')].map((e) => e.innerText).join('|')"
    assert "timeout" in page.js(bars)
    assert "failed: unavailable" in page.js(bars)
    page.choose("[data-filter=error]", "timeout")
    page.until(
        "return [...document.querySelectorAll('figure.bars')].some((e) => /web_search\\n6\\n/.test(e.innerText))"
    )


def test_keys_lead_through_the_table(page: Page, home: str) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open(home + "#/set?set=0")
    page.press("/")
    assert page.js("return document.activeElement.dataset.filter") == "q"
    page.press(Keys.ESCAPE)
    page.js("document.querySelector('.table .body').focus()")
    page.press(Keys.HOME, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert page.js("return document.querySelector('.row.at').dataset.key") == "t2/0"
    page.press(Keys.END)
    assert page.js("return document.querySelector('.row.at').dataset.key") == "t29/0"
    page.press(Keys.ENTER)
    page.until(f"{QUESTION}.includes('traveller 29')")
    page.press("p")
    page.until(f"{QUESTION}.includes('traveller 28')")


def test_keys_typed_ahead_of_the_page_are_not_lost(page: Page, home: str) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open(home + "#/set?set=0")
    page.js("document.querySelector('.table .body').focus()")
    page.press(Keys.END, Keys.ENTER, "p", "p", "p", "n")
    page.until(f"{QUESTION}.includes('traveller 27')")


def test_every_control_can_be_reached_by_tab(page: Page, home: str) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open(home + "#/run?set=0&run=t5/0")
    seen = set()
    for _ in range(60):
        page.press(Keys.TAB)
        seen.add(page.js("const e = document.activeElement; return e.tagName + '.' + e.className"))
    assert {"A.skip", "A.home", "SELECT.sets", "BUTTON.segment", "SUMMARY."} <= seen


def test_two_sets_are_compared(page: Page, home: str) -> None:
    page.open(home + "#/compare?a=0&b=1")
    shown = page.text()
    assert "30 questions in common" in shown
    won = [n for n in range(30) if n % 3 == 0 and n % 4 != 1 and n % 10 != 9]
    lost = [n for n in range(30) if n % 3 != 0 and n % 4 == 1 and n % 10 != 9]
    count = "return document.querySelector(`[data-kind=${arguments[0]}] .count`).textContent"
    assert page.js(count, "won") == str(len(won))
    assert page.js(count, "lost") == str(len(lost))
    assert f"traveller {won[0]} found" in page.js("return document.querySelector('[data-kind=won]').innerText")
    page.click("[data-kind=won] li a")
    page.until("return document.querySelectorAll('.pair .run').length === 2")
    assert page.js("return [...document.querySelectorAll('.pair .question .mark')].map((e) => e.textContent)") == [
        "wrong",
        "right",
    ]


def test_the_interval_is_that_of_evals_compare(page: Page, home: str, folder: Path) -> None:
    found = compare(read_run(folder / "before"), read_run(folder / "after"))
    low, high = found.interval
    page.open(home + "#/compare?a=0&b=1")
    assert f"+10.0 ({100 * low:+.1f} to {100 * high:+.1f})" in page.text()
    assert "There is no significant difference" in page.text()
    page.open(home + "#/compare?a=1&b=0")
    assert f"-10.0 ({-100 * high:+.1f} to {-100 * low:+.1f})" in page.text()
    page.open(home + "#/compare?a=2@0&b=2@7")
    assert "4 questions in common" in page.text()
    assert "95 % bootstrap interval" in page.text()


def test_tool_mix_errors_and_new_combinations_are_compared(page: Page, home: str, folder: Path) -> None:
    page.open(home + "#/compare?a=0&b=1")
    lines = dict(
        page.js(
            "return [...document.querySelectorAll('.compared tbody tr')].map((e) => [e.children[0].textContent,"
            " e.children[3].textContent])"
        )
    )
    found = compare(read_run(folder / "before"), read_run(folder / "after"))
    for change in (*found.tools, found.errors[0]):
        difference, low, high = (100 * value for value in (change.after - change.before, *change.interval))
        told = [float(word) for word in lines[change.name].replace("(", "").replace(")", "").replace("to ", "").split()]
        assert told == pytest.approx([difference, low, high], abs=0.051), change.name
    page.open(home + "#/compare?a=2&b=1")
    rollouts = list(read_rollouts(folder / "training" / "rollouts"))
    results = [r for r in read_run(folder / "after").results if r.task in {rollout.task.id for rollout in rollouts}]
    runs = [PathOfRun(f"{r.task}/{r.sample}", tool_use(r.turns).path, r.exact) for r in results]
    new = unseen([tool_use(rollout.memory).path for rollout in rollouts], runs)
    assert new
    shown = (
        "return [...document.querySelectorAll('.combinations tbody tr')].map((e) =>"
        " [...e.children].map((cell) => cell.textContent))"
    )
    assert page.js(shown) == [[" + ".join(each.tools), str(each.runs), str(each.right), each.example] for each in new]
    page.click(".combinations a")
    page.until(f"return {QUESTION.removeprefix('return ')}.includes('traveller')")


def test_a_training_run_is_drawn_over_its_updates(page: Page, home: str) -> None:
    page.open(home + "#/training?set=2")
    page.until("return document.querySelectorAll('.charts canvas').length >= 10")
    titles = page.js("return [...document.querySelectorAll('.training figcaption')].map((e) => e.textContent)")
    for title in (
        "reward",
        "pass rate",
        "turns",
        "entropy, nats a token",
        "KL to the reference",
        "clip fraction",
        "log-prob gap of sampler and trainer",
        "seconds by phase",
        "tool mix, share of turns",
        "failures by kind",
    ):
        assert title in titles
    assert "The policy's entropy fell to 0.1." in page.js("return document.querySelector('.alarms').innerText")
    assert "update 3" in page.js("return document.querySelector('.alarms').innerText")
    phases = page.js(
        "return document.querySelector('figure[aria-label^=\"seconds by phase\"]').getAttribute('aria-label')"
    )
    assert phases == "seconds by phase; last: rollout 4, sync 0.2, update 7"
    labels = page.js(
        "return [...document.querySelectorAll('.training figure')].map((e) => e.getAttribute('aria-label'))"
    )
    assert "roles asked; last: planner 1, solver 0.75" in labels
    assert "entropy, nats a token; last: entropy 0.5, planner 0.5, solver 0.25" in labels
    assert "loss by role" not in titles  # a run of one role has no figures by role


def test_a_group_at_one_step_stands_beside_the_same_at_another(page: Page, home: str, folder: Path) -> None:
    page.open(home + "#/group?set=2&task=t0&i=1&j=7")
    page.until("return document.querySelectorAll('.story').length === 8")
    assert page.js("return [...document.querySelectorAll('.side h3')].map((e) => e.textContent)") == [
        "step 2",
        "step 8",
    ]
    groups = list(groups_of(list(read_rollouts(folder / "training" / "rollouts"))))
    shown = "[...document.querySelectorAll('[data-advantage]')].map((e) => [e.dataset.key, +e.dataset.advantage])"
    every = (
        "return Data.sets[2].rows.map((row) => [row.key,"
        " (Data.advantages(row, {estimator: arguments[0], grouping: 'rollout'})[0] || {value: null}).value])"
    )
    for step in (1, 7):
        group = next(g for g in groups if g.task.id == "t0" and g.rollouts[0].step == step)
        for estimator in ("grpo", "no_std", "rloo"):
            worth = dict(zip((r.id for r in group.rollouts), advantages(group.rewards, estimator), strict=True))
            found = dict(page.js(every, estimator))
            assert {key: found[key] for key in worth} == pytest.approx(worth)
            if estimator == "grpo":
                told = dict(page.js(f"return {shown}"))
                assert {key: value for key, value in told.items() if key in worth} == pytest.approx(worth, abs=1e-5)
    page.choose("[data-choice='step j']", "4")
    page.until("return [...document.querySelectorAll('.side h3')].some((e) => e.textContent === 'step 5')")
    assert "j=4" in page.js("return location.hash")


@pytest.mark.parametrize("grouping", ["rollout", "role", "role_and_turn"])
def test_turns_are_compared_as_the_setting_says(page: Page, home: str, folder: Path, grouping: str) -> None:
    page.open(home + "#/group?set=2&task=t0&i=5&j=5")
    groups = groups_of([r for r in read_rollouts(folder / "training" / "rollouts") if r.step == 5])
    every = (
        "const how = {grouping: arguments[0]}; return Data.sets[2].rows.filter((row) => row.step === 5).map((row) =>"
        " [row.key, row.roles.map((_, n) => Data.advantage(row, how, Data.turnName(row, n, how)))])"
    )
    shown = dict(page.js(every, grouping))
    assert any(len(set(values)) > 1 for values in shown.values()) == (grouping != "rollout")
    for group in groups:
        roles = [[turn.role for turn in rollout.turns] for rollout in group.rollouts]
        for rollout, worth in zip(group.rollouts, turn_advantages(group.rewards, roles, "grpo", grouping), strict=True):
            assert shown[rollout.id] == pytest.approx(worth)
    key = next(iter(shown))
    row = "Data.sets[2].byKey.get(arguments[0])"
    assert page.js(f"return Data.advantages({row}, {{grouping: 'of another version'}})", key) == []
    assert page.js(f"return Data.advantages({row}, {{estimator: 'of another version'}})", key) == []
    assert page.js(f"return Data.advantages({row}, {{credit: 'rollout_tree'}})", key) == []


def test_roles_are_shown_apart_each_with_its_own_advantage(page: Page, home: str, folder: Path) -> None:
    page.open(home + "#/group?set=2&task=t0&i=5&j=5")
    page.until("return document.querySelectorAll('.story').length >= 4")
    groups = groups_of([r for r in read_rollouts(folder / "training" / "rollouts") if r.step == 5])
    both = ""
    for group in groups:
        roles = [[turn.role for turn in rollout.turns] for rollout in group.rollouts]
        values = turn_advantages(group.rewards, roles)
        for rollout, own, worth in zip(group.rollouts, roles, values, strict=True):
            for role, value in zip(own, worth, strict=True):
                row = "Data.sets[2].rows.find((row) => row.key === arguments[0])"
                shown = page.js(f"return Data.advantage({row}, {{}}, arguments[1])", rollout.id, role)
                assert (shown or 0.0) == pytest.approx(value)
            both = rollout.id if len(set(own)) > 1 else both
    page.open(home + f"#/run?set=2&run={both}")
    assert "solver · 12 tokens" in page.text()
    calls = page.js("return [...document.querySelectorAll('.drawn .line span:last-child')].map((e) => e.textContent)")
    assert [call.split(" ")[0] for call in calls] == ["planner", "solver"]


def test_planner_tokens_are_coloured_and_told_on_hover(page: Page, home: str, folder: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.open(home + "#/run?set=2&run=6/t0/1")
    rollout = next(r for r in read_rollouts(folder / "training" / "rollouts") if r.id == "6/t0/1")
    drawn = rollout.turns[0]
    assert page.js("return [...document.querySelector('.tokens').children].map((e) => +e.textContent)") == list(
        drawn.completion_ids
    )
    token = page.driver.find_elements("css selector", ".tokens .token")[3]
    ActionChains(page.driver).move_to_element(token).perform()
    tip = page.until("const t = document.querySelector('.tip'); return !t.hidden && t.textContent")
    assert f"id {drawn.completion_ids[3]} " in tip
    assert f"log-prob {drawn.logprobs[3]:.3f}" in tip
    shades = page.js(
        "return [...document.querySelectorAll('.tokens')[0].children].map((e) => getComputedStyle(e).backgroundColor)"
    )
    assert len(set(shades)) > 6
    page.js("[...document.querySelectorAll('.choice button')].find((e) => e.textContent === 'advantage').click()")
    assert page.js("return document.querySelector('.tokens').dataset.mode") == "advantage"
    shades = page.js(
        "return [...document.querySelectorAll('.tokens')[0].children].map((e) => getComputedStyle(e).backgroundColor)"
    )
    assert len(set(shades)) == 1
    page.js("document.querySelector('.tokens').focus()")
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert f"id {drawn.completion_ids[1]} " in page.js("return document.querySelector('.tip').textContent")


def test_a_narrow_screen_needs_no_sideways_scrolling(page: Page, home: str) -> None:
    page.resize(360, 740)
    for place in (
        "#/",
        "#/set?set=0",
        "#/run?set=0&run=t5/0",
        "#/training?set=2",
        "#/group?set=2",
        "#/compare?a=0&b=1",
        "#/run?set=2&run=6/t0/1",
    ):
        page.open(home + place)
        assert page.js("return document.documentElement.scrollWidth") <= 360, place


def test_light_and_dark_follow_the_reader(page: Page, home: str) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    page.open(home)
    page.js("localStorage.clear()")
    light = page.js(paper)
    page.prefer("dark")
    assert page.js(paper) != light
    page.click(".theme")  # auto, then light
    assert page.js(paper) == light
    page.click(".theme")
    assert page.js(paper) != light
    page.js("localStorage.clear()")


def test_words_can_be_read_on_their_ground(page: Page, home: str) -> None:
    """Contrast of at least 4.5 to 1 (WCAG AA) for the colours that text is set in."""
    ratio = """
      const value = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
      const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
      const light = (hex) => [1, 3, 5].map((i) => linear(parseInt(hex.slice(i, i + 2), 16) / 255))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const contrast = (a, b) => {
        const [x, y] = [light(value(a)), light(value(b))].sort((p, q) => q - p);
        return (x + 0.05) / (y + 0.05);
      };
      return arguments[0].map(([a, b]) => [a, b, contrast(a, b)]).filter(([, , c]) => c < 4.5)"""
    pairs = [
        (ink, ground) for ink in ("--ink", "--quiet", "--link", "--good", "--bad") for ground in ("--paper", "--card")
    ]
    pairs += [
        ("--good", "--good-soft"),
        ("--bad", "--bad-soft"),
        ("--ink", "--sunk"),
        ("--quiet", "--sunk"),
        ("--ink", "--warm-soft"),
    ]
    page.open(home)
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        assert page.js(ratio, pairs) == []


def test_the_file_works_without_a_network(page: Page, exported: str) -> None:
    page.driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        page.open(exported)
        page.go("#/run?set=1&run=t3/0")
        assert "traveller 3" in page.text()
        page.go("#/training?set=2")
        assert "pass rate" in page.text()
        assert set(page.requests()) == {exported}
    finally:
        page.driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {**offline, "offline": False, "downloadThroughput": -1, "uploadThroughput": -1},
        )


def test_the_page_follows_files_that_grow(page: Page, serve: Serve, tmp_path: Path) -> None:
    source = evaluation(tmp_path / "source", 6)
    growing = tmp_path / "growing"
    growing.mkdir()
    (growing / "run.json").write_bytes((source / "run.json").read_bytes())
    lines = (source / "results.jsonl").read_bytes().splitlines(keepends=True)
    (growing / "results.jsonl").write_bytes(lines[0] + lines[1][:50])
    page.open(serve(growing).url)
    assert page.count(".table .row") == 1
    with (growing / "results.jsonl").open("ab") as file:
        file.write(lines[1][50:] + lines[2])
    page.until("return document.querySelectorAll('.table .row').length === 3")
    replaced = tmp_path / "ordered"
    replaced.write_bytes(b"".join(reversed(lines)))
    replaced.replace(growing / "results.jsonl")
    page.until("return document.querySelectorAll('.table .row').length === 6")
    page.go("#/run?set=0&run=t5/0")
    assert "traveller 5" in page.text()


def test_a_run_is_followed_while_it_goes_on(page: Page, serve: Serve, tmp_path: Path) -> None:
    path = saved_run(tmp_path / "run.json", finished=False)
    page.open(serve(path).url)
    assert "The run goes on" in page.text()
    saved_run(tmp_path / "next.json").replace(path)
    page.until("return document.body.innerText.includes('Corvell')")
    assert "The run goes on" not in page.text()


@pytest.mark.parametrize("place", ["served", "exported"])
def test_hostile_text_stays_text(page: Page, serve: Serve, tmp_path: Path, place: str) -> None:
    folder = hostile(tmp_path / "hostile")
    library = Library([folder])
    if place == "served":
        address = serve(folder).url
    else:
        file = tmp_path / "hostile.html"
        export(library, file)
        address = file.as_uri()
    scripts = None
    for number, source in enumerate(library.sources):
        key = json.dumps(source.index.rows[0][0].encode("utf-8", "replace").decode())
        for view in (
            "",
            f"set?set={number}",
            f"training?set={number}",
            f"group?set={number}",
            f"compare?a={number}&b={number}",
        ):
            if view.startswith(("training", "group")) and source.kind != "training":
                continue
            page.open(f"{address}#/{view}")
            scripts = scripts or page.count("script")
            _is_harmless(page, scripts)
        page.js(f"location.hash = Route.link('run', {{set: {number}, run: Data.sets[{number}].rows[0].key}})")
        page.until("return document.querySelector('.run') !== null")
        page.js("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
        page.until("return document.querySelectorAll('.exchange').length > 0")
        page.js("document.querySelectorAll('.more').forEach((e) => e.click())")
        page.js(f"return {key}.length")
        _is_harmless(page, scripts)
        assert "<script>window.pwned = 1</script>" in page.js("return document.body.textContent")


def _is_harmless(page: Page, scripts: int) -> None:
    assert page.js("return window.pwned") is None
    assert page.count("img, iframe, svg, object, embed, form[action]") == 0
    assert page.count("script") == scripts
    links = page.js("return [...document.querySelectorAll('[href]')].map((e) => e.getAttribute('href'))")
    assert all(link.startswith(("#", "static/", "data:,")) for link in links)
    attributes = "[...document.querySelectorAll('*')].flatMap((e) => [...e.attributes])"
    handlers = f"return {attributes}.filter((a) => a.name.startsWith('on')).length"
    assert page.js(handlers) == 0
    assert "\u202e" not in page.js("return document.body.textContent")
