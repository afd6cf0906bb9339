"""A place in a formula's tokens, and the steps from there."""

from __future__ import annotations

from .lexer import Token
from .tree import UnreadableError

MAX_DEPTH = 60
"""Brackets and signs inside one another; keeps the reader far from Python's recursion limit."""


class Cursor:
    """Tokens and how many of them are passed."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0

    def peek(self, ahead: int = 0) -> str:
        """The text of a sign that comes next; empty for anything else."""
        token = self.token(ahead)
        return token.text if token is not None and token.kind == "sign" else ""

    def token(self, ahead: int = 0) -> Token | None:
        """The token that comes next, or None at the end."""
        place = self.position + ahead
        return self.tokens[place] if place < len(self.tokens) else None

    def take(self) -> Token:
        """The next token, which is passed."""
        token = self.token()
        if token is None:
            raise UnreadableError("ends too early")
        self.position += 1
        return token

    def accept(self, *signs: str) -> str:
        """The next sign if it is one of these, which is then passed; else an empty text."""
        sign = self.peek()
        if sign and sign in signs:
            self.position += 1
            return sign
        return ""

    def expect(self, sign: str) -> None:
        """Pass a sign that has to come next."""
        if not self.accept(sign):
            token = self.token()
            raise UnreadableError(f"has {token.text!r} where {sign!r} should stand" if token else "ends too early")

    def deeper(self) -> None:
        """Count one more level."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise UnreadableError(f"nests deeper than {MAX_DEPTH} levels")
