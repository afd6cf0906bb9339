"""A formula's tokens to a tree, by recursive descent.

From loosest to tightest: items of a list (`,` `;` and, or), relations, unions of sets, sums, products (an operator may
be left out, never between two numbers), signs, powers, what follows a factor (`!`, `%`, `°`, an index), atoms. What
could be read in two ways (`1/2x`, `sin x/2`) is refused, for either reading would be a guess.
"""

from __future__ import annotations

from fractions import Fraction

from .atoms import Atoms
from .lexer import tokens_of
from .tree import Apply, Group, Node, Number, Pieces, Relation, UnreadableError

_RELATIONS = frozenset(("=", "<", "<=", ">", ">=", "!=", "~", "in"))
_SET_SIGNS = {"union": "union", "intersection": "intersection", "minus": "difference"}


def read(text: str) -> Node:
    """The tree of a whole text.

    Raises:
        UnreadableError: the text is no formula, or a part of it is not understood.
    """
    return Reader(tokens_of(text)).whole()


class Reader(Atoms):
    """Reads lists, relations and arithmetic."""

    def whole(self) -> Node:
        """The tree of all tokens."""
        if not self.tokens:
            raise UnreadableError("is empty")
        node = self.items()
        if self.position < len(self.tokens):
            raise UnreadableError(f"has {self.tokens[self.position].text!r} where it should end")
        return node

    def items(self) -> Node:
        """One thing, or several with commas, colons, "and" or "or" between them."""
        items, joints = [self.condition()], set()
        if self.peek() in ("if", "otherwise"):
            return self.cases(items[0])
        while joint := self.accept(",", ";", ":", "and", "or"):
            while joint in (",", ";") and (word := self.accept("and", "or")):
                joint = word
            if self.token() is None and joint in (",", ";"):
                break
            joints.add({";": ","}.get(joint, joint))
            items.append(self.condition())
        if len(items) == 1:
            return items[0]
        joints -= {","} if joints & {"and", "or"} else set()
        if len(joints) > 1:
            raise UnreadableError("joins its parts in more than one way")
        return Group({",": "list", ":": "ratio"}.get(joint := joints.pop(), joint), tuple(items))

    def cases(self, node: Node) -> Node:
        """A value by cases in words: `x if x > 0, -x otherwise`, or `x if x > 0 else -x`; its first value is read."""
        label, branches = None, []
        if isinstance(node, Relation) and node.signs == ("=",):
            label, node = node.sides
        while True:
            rule = self.condition() if self.accept("if") else None
            if rule is None:
                self.expect("otherwise")
            branches.append((node, rule))
            if self.accept("otherwise"):
                node = self.sets()
                if self.peek() == "if":
                    continue
                branches.append((node, None))
            if not self.accept(",", ";", "and"):
                break
            self.accept("and")
            node = self.condition()
        pieces = Pieces(tuple(branches))
        return pieces if label is None else Relation(("=",), (label, pieces))

    def condition(self) -> Node:
        """A value or a relation, or several joined by the signs & and |, which bind tighter than a comma."""
        node = self.relation()
        while joint := self.accept("&&", "||"):
            node = Group({"&&": "and", "||": "or"}[joint], (node, self.relation()))
        return node

    def argument(self) -> Node:
        """One argument; conditions may be joined in it."""
        node = self.condition()
        while joint := self.accept("and", "or"):
            node = Group(joint, (node, self.condition()))
        return node

    def relation(self) -> Node:
        """A value, or a chain of sides with relation signs between them."""
        sides, signs = [self.sets()], []
        while sign := self.accept(*_RELATIONS, *((":",) if self.in_braces else ())):
            signs.append("=" if sign == ":" else sign)
            sides.append(self.sets())
        return Relation(tuple(signs), tuple(sides)) if signs else sides[0]

    def sets(self) -> Node:
        """A value, or unions, intersections and differences of sets, from left to right."""
        node = self.sum()
        while sign := self.accept(*_SET_SIGNS):
            node = Apply(_SET_SIGNS[sign], (node, self.sum()))
        return node

    def sum(self) -> Node:
        """Terms with + - ± ∓ between them."""
        node = self.product()
        while sign := self.accept("+", "-", "±", "∓"):
            node = Apply(sign, (node, self.product()))
        return node

    def product(self) -> Node:
        """Factors with or without an operator between them."""
        self.deeper()
        sign = self.accept("+", "-", "±", "∓")
        node = _signed(sign, self.product()) if sign else self.factors()
        self.depth -= 1
        return node

    def factors(self) -> Node:
        """Powers with * / mod or nothing between them, from left to right."""
        node = self.power()
        divided = False
        while True:
            if sign := self.accept("*", "/", "mod"):
                node, divided = Apply(sign, (node, self.factor())), sign == "/"
            elif self.at_atom():
                if divided:
                    raise UnreadableError("divides by a product without brackets, which can be read in two ways")
                node = Apply("*", (node, self.power()))
            else:
                return node

    def factor(self) -> Node:
        """A power, with a sign before it or without."""
        if sign := self.accept("+", "-"):
            return _signed(sign, self.factor())
        return self.power()

    def power(self) -> Node:
        """A base and its exponent; powers of powers are read from the right."""
        node = self.postfix(self.atom())
        if not self.accept("^"):
            return node
        if self.accept("°"):
            return Apply("degree", (node,))
        if self.peek() == "{" and self.peek(1) == "°" and self.peek(2) == "}":
            self.position += 3
            return Apply("degree", (node,))
        return Apply("^", (node, self.exponent()))

    def exponent(self) -> Node:
        """What stands after `^`: one factor, with a sign or without, or a group in braces."""
        self.deeper()
        if sign := self.accept("+", "-"):
            node = _signed(sign, self.exponent())
        else:
            node = self.single()
            if self.accept("^"):
                node = Apply("^", (node, self.exponent()))
        self.depth -= 1
        return node

    def postfix(self, node: Node) -> Node:
        """A factor with what follows it: a factorial, a percent or degree sign."""
        while sign := self.accept("!", "!!", "%", "°"):
            name = {"!": "factorial", "!!": "factorial2", "%": "percent", "°": "degree"}[sign]
            if isinstance(node, Apply) and node.name == name:
                raise UnreadableError(f"repeats {sign!r}")
            node = Apply(name, (node,))
        return node


def _signed(sign: str, node: Node) -> Node:
    """A value with a sign before it."""
    if sign in ("+", "-"):
        return node if sign == "+" else Apply("neg", (node,))
    return Apply(sign, (Number(Fraction(0)), node))
