"""A formula's text to tokens: LaTeX, calculator text and sympy's output alike."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from .names import (
    BLACKBOARD,
    COMMANDS,
    CONSTANTS,
    CONSTRUCTORS,
    DECORATIONS,
    GREEK,
    INVISIBLE,
    MATRICES,
    NO_PRODUCT,
    WORDS,
    function_of,
)
from .numerals import literal_at
from .tree import UnreadableError
from .typography import one_spelling

MAX_TOKENS = 800

_SPACING = re.compile(r"(?:\s|~|\\[,;:! ]|\\(?=\s))+")
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mbox|operatorname\*?|mathit|mathsf)\s*\{([^{}]*)\}"
)
_COMMAND = re.compile(r"\\([A-Za-z]+)\*?")
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{([A-Za-z]+)\*?\}")
_DOTTED = re.compile(r"Interval\.(?:open|Lopen|Ropen)\b")
_NAME = re.compile(r"[A-Za-z]+")
_CALL = re.compile(r"(?:\s*\^\s*(?:\d|\{-?\d+\}))?\s*(?:\(|\\left)")
_DIGITS = re.compile(r"\d+")
_REPEATING = re.compile(r"(\d*\.\d*)\\(?:overline|dot|bar)\{(\d+)\}")
_SIGNS = ("**", "<=", ">=", "!=", "==", "!!", "->")
_SINGLE = frozenset("+-*/^!=<>()[]{}|,;:&_'°%√⌊⌋⌈⌉")
_OPENING, _CLOSING = frozenset(("(", "[", "{", "\\{", "⟨")), frozenset((")", "]", "}", "\\}", "⟩"))


@dataclass(frozen=True)
class Token:
    """A piece of a formula."""

    kind: str
    """`number`, `name` (a variable), `constant`, `function`, `constructor`, `begin`, `end`, `decorated` or `sign`."""
    text: str
    value: Fraction | None = None
    spaced: bool = False
    """Whether space stands before it."""


def tokens_of(text: str) -> list[Token]:
    """The tokens of a formula.

    Raises:
        UnreadableError: something in it is no part of any formula.
    """
    return _Lexer(_undressed(one_spelling(text))).run()


def _undressed(text: str) -> str:
    """Without dollar signs around formulas; the commands for upright text give way to the text."""
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        text = text.replace(opening, " ").replace(closing, " ")
    text = text.replace("\\$", "$").replace("$", " ").replace("\\%", "%").replace("\\&", "&")
    for _ in range(3):
        text = _TEXT.sub(r" \1 ", text)
    return re.sub(r"(?<!\.)\.$", "", text.strip())


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.depth = 0
        self.environments = 0
        self.spaced = False
        self.sized = False
        """Whether `\\left` or `\\right` stands before, so that a bar is a bracket."""
        self.tokens: list[Token] = []

    def run(self) -> list[Token]:
        while self.position < len(self.text):
            if match := _SPACING.match(self.text, self.position):
                self.spaced, self.position = True, match.end()
                continue
            if not (self._number() or self._environment() or self._command() or self._name() or self._sign()):
                raise UnreadableError(f"holds {self.text[self.position]!r}, which is no part of a formula")
            if len(self.tokens) > MAX_TOKENS:
                raise UnreadableError(f"has more than {MAX_TOKENS} parts")
        return self.tokens

    def _add(self, kind: str, text: str, end: int, value: Fraction | None = None) -> bool:
        self.tokens.append(Token(kind, text, value, self.spaced))
        self.depth += (text in _OPENING) - (text in _CLOSING) if kind == "sign" else 0
        self.spaced, self.sized, self.position = False, False, end
        return True

    def _number(self) -> bool:
        if match := _REPEATING.match(self.text, self.position):
            return self._add("number", match[0], match.end(), _repeating(match[1], match[2]))
        if not re.match(r"\.?\d", self.text[self.position : self.position + 2]):
            return False
        if self._takes_one_digit():
            digit = self.text[self.position]
            return self._add("number", digit, self.position + 1, Fraction(int(digit)))
        literal = literal_at(self.text, self.position, separators=self.depth == 0)
        if literal is None:
            raise UnreadableError("holds a number of too many digits")
        value, end = literal
        return self._add("number", self.text[self.position : end], end, value)

    def _takes_one_digit(self) -> bool:
        """Whether a LaTeX command before takes the next digit alone (`\\frac12`, `\\sqrt2`)."""
        if not self.text[self.position].isdigit() or not self.tokens:
            return False
        last = self.tokens[-1]
        before = self.tokens[-2] if len(self.tokens) > 1 else last
        takes_two = last.kind == "number" and before.text in ("\\frac", "\\binom") and len(last.text) == 1
        return (last.text in ("\\frac", "\\binom") or takes_two) and last.kind in ("sign", "number")

    def _environment(self) -> bool:
        match = _ENVIRONMENT.match(self.text, self.position)
        if match is None:
            return False
        if match[2] not in MATRICES:
            raise UnreadableError(f"holds the environment {match[2]!r}, which is not read")
        end = match.end()
        if match[1] == "begin" and match[2] == "array" and (columns := re.match(r"\s*\{[lcr|\s]*\}", self.text[end:])):
            end += columns.end()
        change = 1 if match[1] == "begin" else -1
        self.depth += change
        self.environments += change
        return self._add(match[1], MATRICES[match[2]], end)

    def _command(self) -> bool:
        if not self.text.startswith("\\", self.position):
            return False
        pair = self.text[self.position : self.position + 2]
        if pair in ("\\{", "\\}", "\\\\", "\\|"):
            return self._add("sign", "|" if pair == "\\|" else pair, self.position + 2)
        match = _COMMAND.match(self.text, self.position)
        if match is None:
            raise UnreadableError(f"holds {pair!r}, which is no part of a formula")
        return self._known_command(match[1], match.end())

    def _known_command(self, name: str, end: int) -> bool:
        if name in INVISIBLE:
            if name in ("left", "right") and self.text[end : end + 1] == ".":
                end += 1
            self.spaced, self.sized, self.position = True, name in ("left", "right"), end
            return True
        if name in ("frac", "dfrac", "tfrac", "cfrac"):
            return self._add("sign", "\\frac", end)
        if name in ("binom", "dbinom", "tbinom"):
            return self._add("sign", "\\binom", end)
        if name == "mathbb":
            return self._blackboard(end)
        if name == "sqrt" and re.match(r"\d\d", self.text[end : end + 2]):
            raise UnreadableError("has a root of several digits without braces, which can be read in two ways")
        if name in DECORATIONS:
            return self._decorated(name, end)
        if name in COMMANDS:
            return self._add("sign", COMMANDS[name], end)
        return self._vocabulary(name, end) or self._unknown(f"\\{name}")

    def _blackboard(self, end: int) -> bool:
        match = re.compile(r"\s*\{?([A-Z])\}?").match(self.text, end)
        if match is None or match[1] not in BLACKBOARD:
            return self._unknown("\\mathbb")
        return self._add("constant", BLACKBOARD[match[1]], match.end())

    def _decorated(self, name: str, end: int) -> bool:
        match = re.compile(r"\s*(?:\{\s*\\?([A-Za-z]+)\s*\}|\\?([A-Za-z]+))").match(self.text, end)
        if match is None:
            return self._unknown(f"\\{name}")
        shown = {"overrightarrow": "vec", "measuredangle": "angle", "boldsymbol": "vec", "mathbf": "vec"}.get(
            name, name
        )
        return self._add("name", f"{shown} {match[1] or match[2]}", match.end())

    def _name(self) -> bool:
        match = _DOTTED.match(self.text, self.position) or _NAME.match(self.text, self.position)
        if match is None:
            return False
        name, end = match[0], match.end()
        return self._vocabulary(name, end) or self._letters(name, end) or self._unknown(name)

    def _vocabulary(self, name: str, end: int) -> bool:
        """A name with a meaning of its own; of those that are letters as well, a function where a bracket follows."""
        called = _CALL.match(self.text, end) is not None
        if name in CONSTRUCTORS:
            return self._add("constructor", name, end)
        if name in GREEK and not (called and function_of(name)):
            return self._add("name", name, self._indexed(end), None)
        if name in WORDS and (name != "U" or self._after_bracket()):
            return self._add("sign", WORDS[name], end)
        if function := self._function(name, end):
            name, end = function
            return self._add("function", name, end)
        if name in CONSTANTS:
            return self._add("constant", CONSTANTS[name], end)
        return False

    def _function(self, name: str, end: int) -> tuple[str, int] | None:
        """A function's name and where it ends; `log2` and `log10` hold a number."""
        for digits in ("10", "2"):
            if name in ("log", "atan") and re.match(rf"{digits}(?!\d)\s*\(", self.text[end:]):
                longer = f"{name}{digits}"
                return (longer, end + len(digits)) if longer != "atan10" else None
        known = function_of(name)
        return (known, end) if known else None

    def _letters(self, name: str, end: int) -> bool:
        """A variable, with digits after it or without, or the product of a few."""
        if len(name) == 1:
            return self._add("name", name, self._indexed(end))
        ascending = list(name) == sorted(name) and len(name) <= 4
        if not (ascending or len(name) == 2) or name in NO_PRODUCT or name.lower() in NO_PRODUCT:
            return False
        for index, letter in enumerate(name):
            kind = "constant" if letter in CONSTANTS else "name"
            self._add(kind, CONSTANTS.get(letter, letter), end - len(name) + index + 1)
        return True

    def _indexed(self, end: int) -> int:
        """Where a variable ends: digits directly after a letter (`x1`) become its index at once."""
        if match := _DIGITS.match(self.text, end):
            self.text = f"{self.text[:end]}_{{{match[0]}}}{self.text[match.end() :]}"
        return end

    def _after_bracket(self) -> bool:
        return bool(self.tokens) and self.tokens[-1].text in _CLOSING

    def _sign(self) -> bool:
        for sign in _SIGNS:
            if self.text.startswith(sign, self.position):
                shown = {"**": "^", "==": "=", "!!": "!!"}.get(sign, sign)
                return self._add("sign", shown, self.position + len(sign))
        sign = self.text[self.position]
        if sign not in _SINGLE:
            return False
        is_joint = self.spaced and not self.sized and self.text[self.position + 1 : self.position + 2].isspace()
        if is_joint and (sign == "|" or (sign == "&" and not self.environments)):
            return self._add("sign", sign * 2, self.position + 1)
        return self._add("sign", sign, self.position + 1)

    def _unknown(self, name: str) -> bool:
        raise UnreadableError(f"holds {name!r}, which is no function, constant or variable")


def _repeating(head: str, period: str) -> Fraction:
    """0.1(6): the period counts for ever."""
    part = head.partition(".")[2]
    fixed = Fraction(f"{head}0" if not part else head) if head != "." else Fraction(0)
    return fixed + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(part))
