"""Game of 24: an expression is right if it uses each number exactly once and is worth exactly 24.

The expression is read by a small parser of our own over exact fractions. Only numbers, the four operations and
brackets exist in its language, so there is nothing in a prediction that could be executed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations

from evals.scorers.denials import has_denial, is_open, is_withdrawn
from evals.scorers.final import final_answers
from evals.task import Score, Task, right, wrong

TARGET = Fraction(24)
MAX_EXPRESSION = 300
"""Characters of an expression; four numbers need far fewer."""
MAX_DEPTH = 40
"""Brackets and signs inside one another; keeps the parser far from Python's recursion limit."""

_LATEX = re.compile(r"\\(?:left|right|displaystyle|,|;|!|:|quad|qquad| )")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_REPLACED = str.maketrans({
    "×": "*", "✕": "*", "✖": "*", "⋅": "*", "·": "*", "∙": "*", "∗": "*", "•": "*", "÷": "/", "∕": "/", "⁄": "/",
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "（": "(", "）": ")", "[": "(", "]": ")", "{": "(", "}": ")",
    "＋": "+", "＝": "=", "$": " ", "`": " ", "\u00a0": " ", "\u2009": " ",
})  # fmt: skip
_TOKEN = re.compile(r"\s*(\d+|[-+*/()=])")
_CANDIDATE = re.compile(r"[\d(+\-][\d\s+\-*/()=]*[\d)]")
_POWER = re.compile(r"(?<=[\d)])\s*\*\*\s*(?=[\d(+\-])")
_SENTENCE_END = re.compile(r"[.;!?\n]")
_CONTINUED_FROM = re.compile(
    r"(?:[\w.!\\°]|\d,)\Z|(?:[/^%√∛≠≈≤≥<±|&~]|(?<=\S)[^\S\n]*\*)\s*\Z|"
    r"(?i:\b(?:sqrt|root|log|ln|exp|sin|cos|tan|abs|int|floor|ceil|round|factorial|half|twice|double|square|cube|minus|"
    r"negative|plus|times|over|mod|modulo|power|or|by)(?:\s+(?:of|by|the|base|\d+))*\s+\Z)"
)
"""The end of a text that goes on with an expression: what follows is a part of it, or worth something else."""
_CONTINUED_BY = re.compile(
    r"[\w!?°]|[.,]\d|[^\S\n]*(?:[+*/^%√∛≠≈≤≥±|&~]|!=|<(?!/)|>|=(?!\s*[=-]?>)|-(?!-?>|\s+(?!\w+\s*\()[a-z]{3})|"
    r"\\(?![\s\\]|text\b|[,;]))|"
    r"(?i:\W*(?:to the\s+)?\b(?:mod|modulo|squared|cubed|halved|doubled|factorial|percent|choose|plus|minus|times|"
    r"divided|multiplied|over|power|or|root)\b)"
)
"""The beginning of a text that goes on from an expression; a dash before words is punctuation."""


class NotAnExpressionError(ValueError):
    """The text is no arithmetic expression of this game; the message says why."""


def plain_arithmetic(text: str) -> str:
    """ASCII operators and round brackets for the typographic and LaTeX ones."""
    text = _POWER.sub("^", text).replace("**", " ")  # Markdown bold; a power is no part of the game
    text = _LATEX.sub(" ", text)
    for _ in range(4):  # a fraction of fractions of four numbers nests no deeper
        text = _FRACTION.sub(r"((\1)/(\2))", text)
    text = text.replace("\\times", "*").replace("\\cdot", "*").replace("\\div", "/")
    text = text.replace("\\(", " ").replace("\\)", " ").replace("\\[", " ").replace("\\]", " ")
    return re.sub(r"(?<=[\d)\s])[xX](?=[\d(\s])", "*", text.translate(_REPLACED))


def evaluate(expression: str) -> tuple[Fraction, list[int]]:
    """The exact value of an expression and the numbers it uses, in order.

    Two brackets, or a number and a bracket, side by side are a product. A sign before a number or bracket is allowed.

    Raises:
        NotAnExpressionError: for anything else, including a division by zero.
    """
    return _Parser(_tokenise(expression)).run()


def _tokenise(expression: str) -> list[str]:
    if len(expression) > MAX_EXPRESSION:
        raise NotAnExpressionError(f"is longer than {MAX_EXPRESSION} characters")
    found: list[str] = []
    position, end = 0, len(expression.rstrip())
    while position < end:
        match = _TOKEN.match(expression, position)
        if match is None:
            raise NotAnExpressionError(f"holds {expression[position:].strip()[:1]!r}, which is no part of the game")
        found.append(match[1])
        position = match.end()
    return found


class _Parser:
    """Recursive descent over `sum := product (+|- product)*`, `product := factor (*|/ factor | bracket)*`."""

    def __init__(self, found: list[str]) -> None:
        self.tokens = found
        self.position = 0
        self.depth = 0
        self.numbers: list[int] = []

    def run(self) -> tuple[Fraction, list[int]]:
        value = self.sum()
        if self.position < len(self.tokens):
            raise NotAnExpressionError(f"has {self.tokens[self.position]!r} where an operator should stand")
        return value, self.numbers

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.position += 1
        return token

    def sum(self) -> Fraction:
        value = self.product()
        while self.peek() in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        return value

    def product(self) -> Fraction:
        value = self.factor()
        while self.peek() in ("*", "/", "("):
            operator = "*" if self.peek() == "(" else self.take()
            factor = self.factor()
            if operator == "/" and factor == 0:
                raise NotAnExpressionError("divides by zero")
            value = value * factor if operator == "*" else value / factor
        return value

    def factor(self) -> Fraction:
        mark = self.take()
        if mark in ("+", "-", "("):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise NotAnExpressionError(f"nests deeper than {MAX_DEPTH} levels")
            value = self.sum() if mark == "(" else self.factor()
            if mark == "(" and self.take() != ")":
                raise NotAnExpressionError("has a bracket that is not closed")
            self.depth -= 1
            return -value if mark == "-" else value
        if mark.isdigit():
            self.numbers.append(int(mark))
            return Fraction(int(mark))
        raise NotAnExpressionError(f"has {mark!r} where a number should stand" if mark else "ends too early")


def numbers_of(task: Task) -> tuple[int, ...]:
    """The numbers of a puzzle, from the task's metadata; loading a task without them fails."""
    return tuple(int(number) for number in task.metadata.get("numbers", ()))


def solution(numbers: Sequence[int]) -> str | None:
    """An expression of four numbers that is worth 24, for files of puzzles without solutions; None if there is none."""
    return _joined_to_24([(Fraction(number), str(number)) for number in numbers]) if len(numbers) == 4 else None


def _joined_to_24(terms: list[tuple[Fraction, str]]) -> str | None:
    """Two of the terms become one, in every way, until one is left."""
    if len(terms) == 1:
        return terms[0][1].removeprefix("(").removesuffix(")") if terms[0][0] == TARGET else None
    for first, second in permutations(range(len(terms)), 2):
        rest = [term for index, term in enumerate(terms) if index not in (first, second)]
        (left, said_left), (right_, said_right) = terms[first], terms[second]
        values = {"-": left - right_}
        if first < second:
            values |= {"+": left + right_, "*": left * right_}
        if right_:
            values["/"] = left / right_
        for sign, value in values.items():
            if found := _joined_to_24([*rest, (value, f"({said_left} {sign} {said_right})")]):
                return found
    return None


def score_game24(task: Task, prediction: object) -> Score:
    """Right if the last expression of the prediction uses the puzzle's numbers once each and equals 24.

    It has to stand by itself: as a part of another expression (`sqrt(4)*3*2*1`, `8*3*1*1.5`) or denied it is wrong.
    "expression = 24" and "expression = steps = 24" count as the expression; an equation that is false is wrong.
    """
    readings = final_answers(prediction)
    if not readings:
        return wrong("No answer was given.")
    numbers = Counter(numbers_of(task))
    for reading in readings:
        try:
            candidate = _candidate(plain_arithmetic(reading[-4 * MAX_EXPRESSION :]))
        except NotAnExpressionError as error:
            return wrong(f"The expression {error}.")
        if candidate is not None:
            return _judge(candidate, numbers)
    return wrong("Holds no arithmetic expression.")


def _candidate(text: str) -> str | None:
    """The whole text if it could be an expression, else the last stretch of it that could.

    Raises:
        NotAnExpressionError: the stretch is a part of another expression, or the words around it take it back.
    """
    if re.fullmatch(r"[\d\s+\-*/()=]+", text):
        return text
    stretches = [match for match in _CANDIDATE.finditer(text) if re.search(r"\d\s*\)*\s*[-+*/(]", match[0])]
    if not stretches:
        return None
    before, stretch, after = text[: stretches[-1].start()], stretches[-1][0], text[stretches[-1].end() :]
    if re.search(r"=\s*24\Z", stretch):
        after = after.removeprefix("!")  # joy, no factorial
    signed = stretch[0] in "+-" and re.search(r"(?:\b\w|\s)\Z", before) and re.match(r"[+-]\s", stretch)
    if signed or _CONTINUED_FROM.search(before[-80:]) or _CONTINUED_BY.match(after[:80]):
        raise NotAnExpressionError("is a part of something else that is not of the game")
    if is_open(before) or has_denial(_SENTENCE_END.split(after, maxsplit=1)[0]) or is_withdrawn(after):
        raise NotAnExpressionError("is taken back by the words around it")
    return stretch


def _judge(candidate: str, numbers: Counter[int]) -> Score:
    sides = [side for side in candidate.split("=") if side.strip()]
    found: Score | None = None
    for side in sides:
        try:
            value, used = evaluate(side)
        except NotAnExpressionError as error:
            return wrong(f"The expression {error}.")
        if value != TARGET:
            return wrong(f"The expression {side.strip()} is worth {_short(value)}, not 24.")
        if Counter(used) == numbers:
            found = right(f"{side.strip()} uses each number once and is worth 24.")
    return found or wrong("The expression does not use each of the given numbers exactly once.")


def _short(value: Fraction) -> str:
    """A value for a message; a hostile one can have hundreds of digits."""
    return str(value) if value.numerator.bit_length() + value.denominator.bit_length() < 100 else "something huge"
