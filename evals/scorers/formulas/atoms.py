"""The smallest parts of a formula: numbers, names, functions with their arguments, and whatever brackets enclose."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction

from .cursor import Cursor
from .lexer import Token
from .names import FUNCTIONS, PREFIX_FUNCTIONS
from .structures import built, laid_out
from .tree import Apply, Constant, Group, Node, Number, Symbol, UnreadableError

_CLOSING = {"(": (")", "]"), "[": ("]", ")"), "\\{": ("\\}",), "{": ("}",), "⟨": ("⟩",)}
_KINDS = {"()": "()", "(]": "(]", "[]": "[]", "[)": "[)", "\\{\\}": "{}", "{}": "{}", "⟨⟩": "<>"}
_WRAPPED = {"|": ("|", "abs"), "⌊": ("⌋", "floor"), "⌈": ("⌉", "ceiling")}
_ATOM_KINDS = frozenset(("name", "constant", "function", "constructor", "begin"))
_ATOM_SIGNS = frozenset(("(", "[", "{", "\\{", "⟨", "⌊", "⌈", "\\frac", "\\binom", "√"))
_FUNCTION_LETTERS = frozenset("fgFGPQ")
"""Letters that are functions wherever a bracket follows, as in `f(x)`."""


class Atoms(Cursor, ABC):
    """Reads what stands between operators; what stands inside brackets is read by a `Reader`, which is one of these."""

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__(tokens)
        self.in_bars = False
        """Whether the next bar closes an absolute value."""
        self.in_braces = False
        """Whether a colon stands for "is", as in `{x: 1, y: 2}`."""

    @abstractmethod
    def items(self) -> Node:
        """What stands in brackets: one thing or several."""

    @abstractmethod
    def argument(self) -> Node:
        """One argument of a function."""

    @abstractmethod
    def sum(self) -> Node:
        """A sum."""

    @abstractmethod
    def power(self) -> Node:
        """A base with its exponent."""

    @abstractmethod
    def exponent(self) -> Node:
        """What stands after `^`."""

    def at_atom(self) -> bool:
        """Whether a factor comes next that may follow without an operator: anything but a number."""
        token = self.token()
        if token is None or token.kind == "number":
            return False
        return token.kind in _ATOM_KINDS or token.text in _ATOM_SIGNS or (token.text == "|" and not self.in_bars)

    def single(self) -> Node:
        """One number as it stands, or one atom."""
        token = self.take()
        return Number(token.value) if token.value is not None else self.atom_of(token)

    def atom(self) -> Node:
        """A number, a name, a function with its arguments, a structure or a bracket."""
        self.deeper()
        token = self.take()
        node = self.atom_of(token)
        self.depth -= 1
        return node

    def atom_of(self, token: Token) -> Node:
        """The atom that begins with a token which has been passed."""
        match token.kind:
            case "number":
                assert token.value is not None
                return self.mixed(token.value, token)
            case "name":
                return self.variable(token.text)
            case "constant":
                return Constant(token.text)
            case "function":
                return self.function(token.text)
            case "constructor":
                self.expect("(")
                return built(token.text, self.arguments(")"))
            case "begin":
                return laid_out(self, token.text, self.argument)
        return self.bracketed(token.text)

    def mixed(self, value: Fraction, token: Token) -> Node:
        """A number, or a mixed one: `1 1/2`, `1\\frac{1}{2}`."""
        part = self.proper_fraction() if value.denominator == 1 and token.text.isdigit() else None
        return Number(value if part is None else value + part)

    def proper_fraction(self) -> Fraction | None:
        """A fraction of two whole numbers below 1 that comes next, which is then passed."""
        start = self.position
        latex = self.accept("\\frac") != ""
        above = self.whole_number(latex)
        below = self.whole_number(latex) if above is not None and (latex or self.accept("/")) else None
        clear = self.peek() not in ("^", "!", "°", "%", "/") and (latex or not self.at_atom())
        if above is not None and below is not None and 0 < above < below and clear:
            return above / below
        self.position = start
        return None

    def whole_number(self, latex: bool) -> Fraction | None:
        """A whole number that comes next, in braces where LaTeX puts it in some."""
        braced = latex and self.accept("{") != ""
        token = self.token()
        if token is None or token.value is None or not token.text.isdigit():
            return None
        self.position += 1
        return None if braced and not self.accept("}") else token.value

    def variable(self, name: str) -> Node:
        """A letter with its index and primes, or the application of one that is a function."""
        if self.accept("_"):
            name = f"{name}_{self.index()}"
        while self.accept("'"):
            name += "'"
        if self.is_called(name.rstrip("'")):
            self.take()
            return Apply(f"call {name}", self.arguments(")"))
        return Symbol(name)

    def is_called(self, name: str) -> bool:
        """Whether a bracket after a letter holds its argument: always after f, after others in `y(x) = ...`."""
        token = self.token()
        if token is None or token.spaced or self.peek() != "(":
            return False
        inner = self.token(1)
        is_label = inner is not None and inner.kind == "name" and self.peek(2) == ")" and self.peek(3) in ("=", ",")
        return name in _FUNCTION_LETTERS or is_label

    def index(self) -> str:
        """The text of an index."""
        token = self.take()
        if token.kind in ("name", "number", "constant"):
            return token.text
        if token.text != "{":
            raise UnreadableError(f"has {token.text!r} where an index should stand")
        parts: list[str] = []
        while not self.accept("}"):
            parts.append(self.take().text)
        return "".join(parts)

    def function(self, name: str) -> Node:
        """A function with its arguments, powers of functions and logarithms to a base included."""
        base, power = None, None
        if name == "sqrt" and self.accept("["):
            degree = self.group_until("]")
            return Apply("root", (self.operand(), degree))
        if self.accept("_"):
            base = self.single()
        if self.accept("^"):
            power = self.exponent()
            if power == Apply("neg", (Number(Fraction(1)),)) and name in ("sin", "cos", "tan", "cot", "sec", "csc"):
                name, power = f"a{name}", None
        node = self.applied(name, self.function_arguments(name), base)
        return node if power is None else Apply("^", (node, power))

    def function_arguments(self, name: str) -> tuple[Node, ...]:
        """What a function is applied to, in brackets or without."""
        if self.accept("("):
            return self.arguments(")")
        if name in ("sqrt", "cbrt"):
            return (self.operand(),)
        if self.peek() == "{":
            return (self.group("{"),)
        if name in PREFIX_FUNCTIONS or name[1:] in PREFIX_FUNCTIONS:
            return (self.prefix_argument(),)
        raise UnreadableError(f"does not show what {name!r} is applied to")

    def applied(self, name: str, arguments: tuple[Node, ...], base: Node | None) -> Node:
        """A function of its arguments, after their number is checked."""
        if name in ("log10", "log2"):
            name, base = "log", Number(Fraction(int(name[3:])))
        if base is not None:
            if name != "log" or len(arguments) != 1:
                raise UnreadableError(f"gives an index to {name!r}")
            arguments = (*arguments, base)
        fewest, most = FUNCTIONS[name]
        if not fewest <= len(arguments) <= most:
            raise UnreadableError(f"gives {len(arguments)} arguments to {name!r}")
        return Apply("^", (Constant("e"), *arguments)) if name == "exp" else Apply(name, arguments)

    def operand(self) -> Node:
        """The single thing that a root sign stands before."""
        token = self.take()
        if token.value is None:
            return self.atom_of(token)
        if self.at_atom() and self.peek() not in ("(", "\\frac"):
            raise UnreadableError("has a root of a product without brackets, which can be read in two ways")
        return Number(token.value)

    def prefix_argument(self) -> Node:
        """The argument of a function without brackets: the factors up to the next operator or function."""
        node = self.power()
        while self.at_atom() and (token := self.token()) is not None and token.kind in ("name", "constant"):
            node = Apply("*", (node, self.power()))
        if self.peek() in ("/", "(") or (self.at_atom() and self.peek() in ("|", "\\frac")):
            raise UnreadableError("does not show where the argument of a function ends")
        return node

    def arguments(self, closing: str) -> tuple[Node, ...]:
        """The arguments up to a closing bracket, which is passed."""
        bars, self.in_bars = self.in_bars, False
        found: list[Node] = []
        if not self.accept(closing):
            found.append(self.argument())
            while self.accept(",", ";"):
                found.append(self.argument())
            self.expect(closing)
        self.in_bars = bars
        return tuple(found)

    def group(self, opening: str) -> Node:
        """A group that begins with a bracket, which is passed."""
        self.expect(opening)
        return self.group_until(_CLOSING[opening][0])

    def group_until(self, closing: str) -> Node:
        """Everything up to a closing bracket, which is passed."""
        bars, self.in_bars = self.in_bars, False
        node = self.items()
        self.expect(closing)
        self.in_bars = bars
        return node

    def bracketed(self, sign: str) -> Node:
        """What a bracket, a bar, a fraction or a root encloses."""
        if sign in _WRAPPED:
            return self.wrapped(sign)
        if sign in ("\\frac", "\\binom"):
            first, second = self.latex_argument(), self.latex_argument()
            return Apply({"\\frac": "/", "\\binom": "binomial"}[sign], (first, second))
        if sign not in _CLOSING:
            raise UnreadableError(f"has {sign!r} where a value should stand")
        bars, self.in_bars = self.in_bars, False
        if closing := self.accept(*_CLOSING[sign]):
            self.in_bars = bars
            return Constant("empty") if sign in ("{", "\\{") else Group(_KINDS[sign + closing], ())
        colons, self.in_braces = self.in_braces, self.in_braces or sign in ("{", "\\{")
        self.skip_element(sign)
        node = self.items()
        self.in_braces = colons
        if sign == "{" and (word := self.accept("over", "choose")):
            node = Apply({"over": "/", "choose": "binomial"}[word], (node, self.items()))
        closing = self.accept(*_CLOSING[sign])
        if not closing:
            self.expect(_CLOSING[sign][0])
        self.in_bars = bars
        if isinstance(node, Group) and node.kind == "list":
            return Group(_KINDS[sign + (closing or _CLOSING[sign][0])], node.items)
        # One item in round brackets, or in braces that LaTeX does not show, is that item.
        return node if sign in ("(", "{") else Group(_KINDS[sign + (closing or _CLOSING[sign][0])], (node,))

    def skip_element(self, sign: str) -> None:
        """Pass the `x |` of a set like `{x | x > 3}`, which is what its condition says."""
        token, bar = self.token(), self.peek(1)
        if sign in ("{", "\\{") and token is not None and token.kind == "name" and bar in ("|", "||", ":"):
            following = self.token(2)
            if bar != ":" or (following is not None and following.text == token.text):
                self.position += 2

    def wrapped(self, sign: str) -> Node:
        """An absolute value, a floor or a ceiling."""
        closing, name = _WRAPPED[sign]
        bars, self.in_bars = self.in_bars, sign == "|"
        node = self.sum()
        self.expect(closing)
        self.in_bars = bars
        return Apply(name, (node,))

    def latex_argument(self) -> Node:
        """A group in braces, or the one token that a LaTeX command takes without them."""
        if self.peek() == "{":
            return self.group("{")
        token = self.take()
        if token.kind == "number" and token.value is not None and len(token.text) == 1:
            return Number(token.value)
        if token.kind in ("name", "constant"):
            return Symbol(token.text) if token.kind == "name" else Constant(token.text)
        raise UnreadableError(f"has {token.text!r} where a group should stand")
