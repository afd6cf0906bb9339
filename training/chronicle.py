"""A made-up chronicle, and questions whose answers take a look-up in it and then a computation.

Who was born when, which bridge was opened when, how high a tower is: each has a passage of its own, and every answer is
exact. A planner that computes before it has looked up what it needs gets them wrong. They are asked of the full graph
with `local_search` and `python` (`training/recipes/embedded_planner.yaml`). Held-out questions have other people, other
works and other wording than the training questions; the passages of both are in one corpus.

    python -m training.chronicle --out chronicle   # writes corpus.jsonl, train.jsonl and heldout.jsonl

The chronicle is a function of its seed, so all three files fit together.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from graph.command_line import CommandLine, between
from graph.errors import ConfigError
from tools.counts import many
from training.run.command import run
from training.run.folder import write_lines

Kind = Literal["person", "bridge", "tower", "town"]
Line = dict[str, Any]

ENTRIES: Final[dict[Kind, int]] = {"person": 120, "bridge": 80, "tower": 60, "town": 60}
"""How many there are of each."""
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
           "December")  # fmt: skip
TRAIN, HELD_OUT = 480, 160
"""Questions, if nothing else is said."""

_GIVEN = ("Ilvane", "Torbald", "Marsele", "Oskeld", "Perrina", "Jorvan", "Quentra", "Bastiel", "Nerisse", "Ulfgar")
_SYLLABLES = ("wen", "dra", "fos", "kul", "mir", "pex", "zan", "bor", "lith", "gaf", "ner", "tol", "sav", "yor", "hem")
_TRADES = ("clockmaker", "surveyor", "botanist", "glass painter", "cartographer", "bell founder")
_OLDEST, _YOUNGEST = date(1801, 1, 1), date(1949, 12, 31)
_SIZES: Final[dict[Kind, tuple[int, int]]] = {"bridge": (41, 980), "tower": (23, 310), "town": (1200, 64000)}


@dataclass(frozen=True)
class Entry:
    """What a passage is about."""

    kind: Kind
    name: str
    day: date
    """Of the birth, the opening, the completion or the charter."""
    size: int
    """Metres or inhabitants; 0 for people."""
    words: str
    """What else its passage says; no question is about it."""

    @property
    def held_out(self) -> bool:
        """Whether only held-out questions are about it."""
        return hashlib.sha256(self.name.encode()).digest()[0] % 4 == 0

    @property
    def shown(self) -> str:
        """The name in a sentence."""
        return f"the {self.name}" if self.kind in ("bridge", "tower") else self.name

    @property
    def passage(self) -> Line:
        """A line of the corpus."""
        day = _written(self.day)
        text = {
            "person": f"{self.name} was a {self.words} {self.name} was born on {day}.",
            "bridge": f"The {self.name} {self.words} It was opened on {day} and is {self.size} metres long.",
            "tower": f"The {self.name} is {self.size} metres high. It was completed on {day} {self.words}",
            "town": f"{self.name} has {self.size} inhabitants. It {self.words} Its charter was granted on {day}.",
        }[self.kind]
        return {"id": f"chronicle-{self.name}", "title": self.name, "text": text}


def entries(seed: int = 0) -> list[Entry]:
    """The chronicle."""
    chance = random.Random(f"chronicle/{seed}")
    made: dict[str, Entry] = {}
    for kind, count in ENTRIES.items():
        while sum(entry.kind == kind for entry in made.values()) < count:
            entry = _entry(kind, chance)
            made.setdefault(entry.name, entry)
    return list(made.values())


def _entry(kind: Kind, chance: random.Random) -> Entry:
    root = "".join(chance.choices(_SYLLABLES, k=3)).capitalize()
    day = _OLDEST + timedelta(days=chance.randrange((_YOUNGEST - _OLDEST).days))
    size = chance.randint(*_SIZES[kind]) if kind in _SIZES else 0
    year = day.year + chance.randint(30, 60)
    if kind == "person":
        words = f"{chance.choice(_TRADES)} and wrote {chance.randint(2, 30)} letters to the academy in {year}."
        return Entry(kind, f"{chance.choice(_GIVEN)} {root}", day, size, words)
    words = {
        "bridge": f"was painted anew in {year} and has {chance.randint(2, 11)} arches.",
        "tower": f"after {chance.randint(2, 19)} years of work, and has {chance.randint(90, 700)} steps.",
        "town": f"lies on {chance.randint(2, 9)} hills and has had a railway station since {year}.",
    }[kind]
    name = {"bridge": f"{root} Bridge", "tower": f"{root} Tower", "town": f"{root}stead"}[kind]
    return Entry(kind, name, day, size, words)


def _written(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


_NOUNS: Final = {"person": "birth", "bridge": "opening", "tower": "completion", "town": "charter"}
_PAST: Final = {
    "person": "was born",
    "bridge": "was opened",
    "tower": "was completed",
    "town": "was granted its charter",
}
_MORE: Final = {
    "bridge": ("By how many metres is {a} longer than {b}?", "{a} and {b}: how many metres apart are their lengths?"),
    "tower": ("By how many metres is {a} higher than {b}?", "{a} and {b}: how many metres apart are their heights?"),
    "town": ("How many inhabitants more than {b} has {a}?", "{a} and {b}: by how many inhabitants do they differ?"),
}
"""Differences of two sizes, for training and held out."""

_Ask = Callable[[list[Entry], random.Random, bool], tuple[str, str]]


def _weekday(pool: list[Entry], chance: random.Random, held_out: bool) -> tuple[str, str]:
    entry = chance.choice(pool)
    past = _PAST[entry.kind]
    asked = (
        f"What day of the week was it when {entry.shown} {past}?"
        if held_out
        else f"On which weekday was {entry.shown} {past.removeprefix('was ')}?"
    )
    return asked, WEEKDAYS[entry.day.weekday()]


def _days(pool: list[Entry], chance: random.Random, held_out: bool) -> tuple[str, str]:
    first, last = sorted(chance.sample(pool, 2), key=lambda entry: entry.day)
    one, other = [f"the {_NOUNS[entry.kind]} of {entry.shown}" for entry in (first, last)]
    asked = f"Count the days from {one} to {other}." if held_out else f"How many days lie between {one} and {other}?"
    return asked, str((last.day - first.day).days)


def _age(pool: list[Entry], chance: random.Random, held_out: bool) -> tuple[str, str]:
    person = chance.choice([entry for entry in pool if entry.kind == "person" and entry.day.year < 1900])
    later = [entry for entry in pool if entry.kind != "person" and 5 < entry.day.year - person.day.year < 90]
    work = chance.choice(later)
    years = work.day.year - person.day.year - ((work.day.month, work.day.day) < (person.day.month, person.day.day))
    asked = (
        f"What age had {person.name} reached, in whole years, on the day of the {_NOUNS[work.kind]} of {work.shown}?"
        if held_out
        else f"How many years old was {person.name} when {work.shown} {_PAST[work.kind]}?"
    )
    return asked, str(years)


def _difference(pool: list[Entry], chance: random.Random, held_out: bool) -> tuple[str, str]:
    kind = chance.choice(tuple(_MORE))
    larger, smaller = sorted(_two(pool, kind, chance, lambda entry: entry.size), key=lambda entry: -entry.size)
    asked = _MORE[kind][held_out].format(a=larger.shown, b=smaller.shown)
    return asked[0].upper() + asked[1:], str(larger.size - smaller.size)


def _comparison(pool: list[Entry], chance: random.Random, held_out: bool) -> tuple[str, str]:
    kind = chance.choice(tuple(ENTRIES))
    pair = _two(pool, kind, chance, lambda entry: entry.day)
    first = min(pair, key=lambda entry: entry.day)
    which, (one, other) = "Who" if kind == "person" else "Which", [entry.shown for entry in pair]
    asked = (
        f"Of {one} and {other}, {which.lower()} {_PAST[kind]} earlier?"
        if held_out
        else f"{which} {_PAST[kind]} first, {one} or {other}?"
    )
    return asked, first.name


def _two(pool: list[Entry], kind: str, chance: random.Random, by: Callable[[Entry], object]) -> list[Entry]:
    """Two entries of a kind that differ."""
    while True:
        pair = chance.sample([entry for entry in pool if entry.kind == kind], 2)
        if by(pair[0]) != by(pair[1]):
            return pair


FAMILIES: Final[dict[str, _Ask]] = {
    "weekday": _weekday,
    "days": _days,
    "age": _age,
    "difference": _difference,
    "comparison": _comparison,
}
_MOST_FRUITLESS: Final = 1000
"""Questions drawn in a row that are there already."""
_LOOKED_UP: Final = {"weekday": 1}
"""How many entries a question is about, if not two."""


def questions(count: int, seed: int = 0, *, held_out: bool) -> list[Line]:
    """Questions as lines of a task file, all different.

    Args:
        count: number of questions.
        seed: of the chronicle and the questions.
        held_out: whether they are held out, with other entries and wording than for training.

    Returns:
        Lines with `id`, `question`, `answers`, `family`, and in `metadata` the `steps` (see `rollouts.breakdown`) and
        the `difficulty`, by which a schedule can order them.

    Raises:
        ConfigError: there are not so many different ones.
    """
    chance = random.Random(f"questions/{seed}/{held_out}")
    pool = [entry for entry in entries(seed) if entry.held_out == held_out]
    lines: dict[str, Line] = {}
    fruitless = 0
    while len(lines) < count:
        family = tuple(FAMILIES)[len(lines) % len(FAMILIES)]
        question, answer = FAMILIES[family](pool, chance, held_out)
        steps = [{"tool": "local_search"}] + [{"tool": "python"}] * (family != "comparison")
        difficulty = _LOOKED_UP.get(family, 2) + (family != "comparison")
        line: Line = {"id": f"{'held' if held_out else 'train'}-{len(lines):04}", "question": question}
        line |= {"answers": [answer], "family": family, "metadata": {"steps": steps, "difficulty": difficulty}}
        fruitless = fruitless + 1 if question in lines else 0
        if fruitless > _MOST_FRUITLESS:
            raise ConfigError(f"Only about {len(lines)} such questions can be made, not {count}; ask for fewer.")
        lines.setdefault(question, line)
    return list(lines.values())


def training_tasks() -> list[Line]:
    """What the command writes to `train.jsonl`, for the setting `tasks`."""
    return questions(TRAIN, held_out=False)


def held_out_tasks() -> list[Line]:
    """What it writes to `heldout.jsonl`, for the setting `validation`."""
    return questions(HELD_OUT, held_out=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(lambda: _write(_line().parse_args(argv)))


def _line() -> CommandLine:
    line = CommandLine(prog="python -m training.chronicle", description="A made-up corpus and questions about it.")
    line.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the three files go")
    line.add_argument("--train", type=between(int, 0), default=TRAIN, metavar="N", help=f"training questions ({TRAIN})")
    line.add_argument(
        "--held-out", type=between(int, 0), default=HELD_OUT, metavar="N", help=f"held-out questions ({HELD_OUT})"
    )
    line.add_argument("--seed", type=int, default=0, help="of names, dates and questions (0)")
    return line


def _write(options: argparse.Namespace) -> None:
    """Writes the corpus and both task files."""
    options.out.mkdir(parents=True, exist_ok=True)
    files = {
        "corpus": [entry.passage for entry in entries(options.seed)],
        "train": questions(options.train, options.seed, held_out=False),
        "heldout": questions(options.held_out, options.seed, held_out=True),
    }
    for name, lines in files.items():
        write_lines(options.out / f"{name}.jsonl", lines)
    sizes = {name: len(lines) for name, lines in files.items()}
    held_out = many(sizes["heldout"], "held-out question")
    sys.stdout.write(f"{many(sizes['corpus'], 'passage')}, {sizes['train']} training and {held_out} in {options.out}\n")


if __name__ == "__main__":
    sys.exit(main())
