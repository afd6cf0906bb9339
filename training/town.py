"""A small world to train a planner in: exact questions, three tools with overlapping cards, no model but the policy.

The answer to every question is the result of the right tool, so the graph needs no other model (`direct_arguments`,
`verify: rules`, `answer: last_result`). Some questions take one step (a computation or a look-up), some two (a look-up,
then a computation with its result), some three (two look-ups, then a computation with both). Held-out questions have
other ships, other people and other wording than the training questions.

    python -m training.town --out town      # writes train.jsonl and heldout.jsonl

The world is a function of names, so the tools need no stored data.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import random
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from graph.command_line import CommandLine, between
from graph.errors import ConfigError
from tools.card import Example, Step, ToolCard
from tools.counts import many
from training.run.command import run
from training.run.folder import write_lines

SHIP_FACTS = {"crew": (12, 96), "masts": (1, 5), "length": (14, 88), "cargo": (40, 900)}
PERSON_FACTS = {"born": (1610, 1790), "voyages": (2, 60), "children": (1, 9)}
"""Attributes of ships and people, with the range of their values."""

_SYLLABLES = ("ka", "ro", "mel", "tis", "an", "dor", "vi", "lu", "sen", "bri", "hal", "ume", "gor", "ys", "pel", "nor")


def value_of(name: str, attribute: str) -> int:
    """What an entry has under an attribute; every name has an entry."""
    low, high = {**SHIP_FACTS, **PERSON_FACTS}[attribute]
    digest = hashlib.sha256(f"{name.casefold()}/{attribute}".encode()).digest()
    return low + int.from_bytes(digest[:4]) % (high - low + 1)


def is_held_out(name: str) -> bool:
    """Whether questions about a name are held out."""
    return hashlib.sha256(name.casefold().encode()).digest()[0] % 3 == 0


def _names(chance: random.Random, count: int, *, held_out: bool) -> list[str]:
    if count > (most := _number_of_names(held_out=held_out)):
        raise ConfigError(f"Only {most:,} questions can be {'held out' if held_out else 'trained on'}, not {count:,}.")
    names: list[str] = []
    while len(names) < count:
        name = "".join(chance.choices(_SYLLABLES, k=3)).capitalize()
        if is_held_out(name) == held_out and name not in names:
            names.append(name)
    return names


@functools.cache
def _number_of_names(*, held_out: bool) -> int:
    names = {"".join(syllables).capitalize() for syllables in itertools.product(_SYLLABLES, repeat=3)}
    return sum(is_held_out(name) == held_out for name in names)


def _register(facts: dict[str, tuple[int, int]], kind: str) -> Callable[[str], str]:
    def look_up(entry: str) -> str:
        match = re.fullmatch(r"\s*([A-Za-z]+)\s*/\s*([a-z]+)\s*", entry)
        if match is None:
            raise ToolException(f"Give a name and an attribute as NAME / ATTRIBUTE, not {entry[:60]!r}.")
        name, attribute = match.groups()
        if attribute not in facts:
            raise ToolException(f"A {kind} has no {attribute!r} here; there are {', '.join(facts)}.")
        return str(value_of(name, attribute))

    return look_up


def _tool(
    name: str, facts: dict[str, tuple[int, int]], kind: str, examples: tuple[Example, ...], limitation: str
) -> BaseTool:
    return StructuredTool.from_function(
        _register(facts, kind),
        name=name,
        description=f"Looks up one attribute ({', '.join(facts)}) of one {kind}.",
        metadata={"card": ToolCard("NAME / ATTRIBUTE", examples, limitations=(limitation,)), "time_limit": 5.0},
    )


def ship_register() -> BaseTool:
    """The tool for facts about ships."""
    example = Example(
        question="How many sailors serve on the Tolmen?",
        reason="It is a fact about a ship.",
        context="Tolmen",
        sub_goal="Look up the crew of the Tolmen",
        input="Tolmen / crew",
        result="37",
    )
    of_two = Example(
        question="By how many metres is the Tolmen longer than the Arvik?",
        reason="The length of the Tolmen is a fact about a ship.",
        context="Tolmen, Arvik",
        sub_goal="Look up the length of the Tolmen",
        input="Tolmen / length",
        result="71",
        then=(
            Step(
                tool="ship_register",
                reason="The length of the Arvik is not known yet.",
                context="Tolmen 71 m, Arvik",
                sub_goal="Look up the length of the Arvik",
                input="Arvik / length",
                result="48",
            ),
            Step(
                tool="python",
                reason="Both lengths are known, so the difference can be computed.",
                context="Tolmen 71 m, Arvik 48 m",
                sub_goal="Compute 71 - 48",
                input="print(71 - 48)",
                result="23",
            ),
        ),
    )
    plus_nine = Example(
        question="What is the length of the ship Tolmen plus 9?",
        reason="The length of the Tolmen is a fact about a ship.",
        context="Tolmen",
        sub_goal="Look up the length of the Tolmen",
        input="Tolmen / length",
        result="71",
        then=(
            Step(
                tool="python",
                reason="The length is known, so 9 can be added.",
                context="Tolmen 71 m",
                sub_goal="Compute 71 + 9",
                input="print(71 + 9)",
                result="80",
            ),
        ),
    )
    limitation = "It knows no people: when somebody was born, and so on, is in the parish_register."
    return _tool("ship_register", SHIP_FACTS, "ship", (example, plus_nine, of_two), limitation)


def parish_register() -> BaseTool:
    """The tool for facts about people."""
    example = Example(
        question="In which year was Odeka born?",
        reason="It is a fact about a person.",
        context="Odeka",
        sub_goal="Look up the year of Odeka's birth",
        input="Odeka / born",
        result="1702",
    )
    of_six = Example(
        question="How many are 6 times the voyages of Odeka?",
        reason="The number of voyages is a fact about a person.",
        context="Odeka",
        sub_goal="Look up the voyages of Odeka",
        input="Odeka / voyages",
        result="14",
        then=(
            Step(
                tool="python",
                reason="The number is known, so it can be multiplied.",
                context="Odeka made 14 voyages",
                sub_goal="Compute 6 * 14",
                input="print(6 * 14)",
                result="84",
            ),
        ),
    )
    return _tool("parish_register", PERSON_FACTS, "person", (of_six, example), "It knows no ships.")


_TRAIN_SHIPS = {
    "crew": "How large is the crew of the ship {n}?",
    "masts": "How many masts does the ship {n} carry?",
    "length": "How long is the ship {n}, in metres?",
    "cargo": "How much cargo does the ship {n} hold, in tonnes?",
}
_HELD_SHIPS = {
    "crew": "With how many hands does the {n} sail?",
    "masts": "The vessel {n}: what is the number of its masts?",
    "length": "Give the length of the vessel {n} in metres.",
    "cargo": "How many tonnes can be loaded into the vessel {n}?",
}
_TRAIN_PEOPLE = {
    "born": "In which year was {n} born?",
    "voyages": "How many voyages did {n} make?",
    "children": "How many children had {n}?",
}
_HELD_PEOPLE = {
    "born": "What is the birth year of {n}?",
    "voyages": "How often did {n} go to sea?",
    "children": "Of how many children was {n} a parent?",
}


@dataclass(frozen=True)
class _Wordings:
    """A kind of computation, in words."""

    kind: Literal["sum", "ship", "person", "ships"]
    """What is looked up before it: nothing, an attribute of a ship or a person, or of two ships."""
    result: Callable[..., int]
    """Of the numbers in the question, or of a number in the question and what was looked up."""
    train: tuple[str, ...]
    held_out: tuple[str, ...]


_SUMS = (
    _Wordings(
        "sum",
        lambda a, b, c: a * b + c,
        train=(
            "What is {a} * {b} + {c}?",
            "What do you get when {a} is multiplied by {b} and {c} is added?",
            "{a} rows have {b} chairs each, and {c} chairs stand apart. How many chairs are there?",
        ),
        held_out=(
            "How much is {a} times {b}, and {c} more?",
            "On {a} shelves there are {b} books each, and {c} books lie on the floor. How many books are that?",
        ),
    ),
    _Wordings(
        "sum",
        lambda a, b, c: a * b - c,
        train=(
            "Compute {a} * {b} - {c}.",
            "From {a} times {b}, {c} is subtracted. What is left?",
            "{a} crates hold {b} bottles each, and {c} bottles break. How many are whole?",
        ),
        held_out=(
            "Take {c} from the product of {a} and {b}.",
            "There were {a} boxes of {b} pens, of which {c} pens were sold. How many pens remain?",
        ),
    ),
)
_CHAINS = (
    _Wordings(
        "ship",
        lambda value, k: k * value,
        train=(
            "How many are {k} times the {attribute} of the ship {n}?",
            "What do you get when the {attribute} of the ship {n} is taken {k} times?",
            "Look up the {attribute} of the ship {n}, then take it {k} times.",
        ),
        held_out=(
            "If the vessel {n} had {k} times its {attribute}, how much would that be?",
            "Multiply the {attribute} of the vessel {n} by {k}.",
        ),
    ),
    _Wordings(
        "ship",
        lambda value, k: value + k,
        train=(
            "What is the {attribute} of the ship {n} plus {k}?",
            "What is {k} more than the {attribute} of the ship {n}?",
            "Look up the {attribute} of the ship {n}, then count {k} further.",
        ),
        held_out=(
            "Add {k} to the {attribute} of the vessel {n}.",
            "If the {attribute} of the vessel {n} were {k} higher, what would it be?",
        ),
    ),
    _Wordings(
        "person",
        lambda value, k: k * value,
        train=(
            "How many are {k} times the {attribute} of {n}?",
            "What do you get when the {attribute} of {n} are taken {k} times?",
            "Look up the {attribute} of {n}, then take them {k} times.",
        ),
        held_out=(
            "Multiply the {attribute} of {n} by {k}.",
            "Somebody has {k} times as many {attribute} as {n}. How many are these?",
        ),
    ),
    _Wordings(
        "person",
        lambda value, k: value + k,
        train=(
            "What is the {attribute} of {n} plus {k}?",
            "What is {k} more than the {attribute} of {n}?",
            "Look up the {attribute} of {n}, then count {k} further.",
        ),
        held_out=(
            "Add {k} to the {attribute} of {n}.",
            "If {n} had {k} {attribute} besides, how many would that be?",
        ),
    ),
    _Wordings(
        "ships",
        lambda value, other: value + other,
        train=(
            "What is the {attribute} of the ship {n} and the ship {m} together?",
            "What do the {attribute} of the ship {n} and that of the ship {m} make in all?",
            "Look up the {attribute} of the ship {n}, then that of the ship {m}, then their sum.",
        ),
        held_out=(
            "Add up the {attribute} of the vessels {n} and {m}.",
            "Of the vessels {n} and {m}, what is the total {attribute}?",
        ),
    ),
)

_COUNTED = {"ship": tuple(SHIP_FACTS), "ships": tuple(SHIP_FACTS), "person": ("voyages", "children")}


_TRAIN, _HELD_OUT = 512, 200


def questions(count: int, seed: int, *, held_out: bool, chains: float = 0.5) -> list[dict[str, Any]]:
    """Questions as lines of a task file.

    Args:
        count: number of questions.
        seed: of names, numbers and wording.
        held_out: whether they are held out, with other names and wording than for training.
        chains: share of questions that take two or three steps.

    Returns:
        Lines with `id`, `question`, `answers`, `family`, and in `metadata` the `steps` (see `rollouts.breakdown`).
    """
    chance = random.Random(f"{seed}/{held_out}")
    names = _names(chance, count, held_out=held_out)
    lines: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        family = "chain" if chance.random() < chains else chance.choice(["ship", "person", "sum"])
        question, answer, steps = _question(family, name, chance, held_out=held_out)
        family = {2: "two steps", 3: "three steps"}.get(len(steps), family)
        line = {"id": f"{'held' if held_out else 'train'}-{number:04}", "question": question, "answers": [str(answer)]}
        lines.append(line | {"family": family, "metadata": {"steps": steps}})
    return lines


def training_tasks() -> list[dict[str, Any]]:
    """What `python -m training.town` writes to `train.jsonl`, for the setting `tasks`."""
    return questions(_TRAIN, 0, held_out=False)


def held_out_tasks() -> list[dict[str, Any]]:
    """What it writes to `heldout.jsonl`, for the setting `validation`."""
    return questions(_HELD_OUT, 0, held_out=True)


def _question(
    family: str, name: str, chance: random.Random, *, held_out: bool
) -> tuple[str, int, list[dict[str, str]]]:
    """A question, its answer, and the steps to it: the input of a look-up, the result of a computation."""
    if family == "sum":
        a, b, c = chance.randint(32, 99), chance.randint(32, 99), chance.randint(100, 999)
        words = chance.choice(_SUMS)
        answer = words.result(a, b, c)
        return _worded(words, chance, held_out=held_out).format(a=a, b=b, c=c), answer, [_computation(answer)]
    if family == "chain":
        return _chain(name, chance, held_out=held_out)
    ships, people = (_HELD_SHIPS, _HELD_PEOPLE) if held_out else (_TRAIN_SHIPS, _TRAIN_PEOPLE)
    questions = ships if family == "ship" else people
    attribute = chance.choice(list(questions))
    steps = [_look_up(family, name, attribute)]
    return questions[attribute].format(n=name), value_of(name, attribute), steps


def _chain(name: str, chance: random.Random, *, held_out: bool) -> tuple[str, int, list[dict[str, str]]]:
    """A question of two or three steps, its answer, and the steps to it."""
    words = chance.choice(_CHAINS)
    attribute = chance.choice(_COUNTED[words.kind])
    k = chance.randint(3, 19)
    other = name
    while other == name:
        other = _names(chance, 1, held_out=held_out)[0]
    register = "person" if words.kind == "person" else "ship"
    operand = k
    steps = [_look_up(register, name, attribute)]
    if words.kind == "ships":
        operand = value_of(other, attribute)
        steps.append(_look_up(register, other, attribute))
    answer = words.result(value_of(name, attribute), operand)
    question = _worded(words, chance, held_out=held_out).format(k=k, attribute=attribute, n=name, m=other)
    return question, answer, [*steps, _computation(answer)]


def _worded(words: _Wordings, chance: random.Random, *, held_out: bool) -> str:
    return chance.choice(words.held_out if held_out else words.train)


def _look_up(family: str, name: str, attribute: str) -> dict[str, str]:
    register = "ship_register" if family == "ship" else "parish_register"
    return {"tool": register, "input": f"{name} / {attribute}"}


def _computation(answer: int) -> dict[str, str]:
    return {"tool": "python", "result": str(answer)}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(lambda: _write(_line().parse_args(argv)))


def _line() -> CommandLine:
    line = CommandLine(prog="python -m training.town", description="Tasks of a small world.")
    line.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where train.jsonl and heldout.jsonl go"
    )
    line.add_argument("--train", type=between(int, 0), default=_TRAIN, metavar="N")
    line.add_argument("--held-out", type=between(int, 0), default=_HELD_OUT, metavar="N")
    line.add_argument(
        "--chains", type=between(float, 0, 1), default=0.5, metavar="SHARE", help="share of questions of several steps"
    )
    line.add_argument("--seed", type=int, default=0)
    return line


def _write(options: argparse.Namespace) -> None:
    """Writes both task files."""
    options.out.mkdir(parents=True, exist_ok=True)
    for name, count, held_out in (("train", options.train, False), ("heldout", options.held_out, True)):
        lines = questions(count, options.seed, held_out=held_out, chains=options.chains)
        write_lines(options.out / f"{name}.jsonl", lines)
    sys.stdout.write(f"{options.train} training and {many(options.held_out, 'held-out question')} in {options.out}\n")


if __name__ == "__main__":
    sys.exit(main())
