"""Checks of a program before it runs: whether it says itself that it means nothing."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from decimal import Decimal

from graph.checks.arguments import Proposal
from graph.checks.customary import is_plain
from graph.checks.grounding import TELLS_WHICH, content_words
from graph.checks.literals import Literal, literals_of
from graph.checks.provenance import CUSTOMARY_NAMES, Sources
from graph.checks.questions import is_computed, names_in, without_rounding
from graph.memory import accepted_results, source_texts
from graph.parsing.blocks import syntax_of
from graph.state import State
from tools.card import card_of, fence_of

_STATES_ONLY = (
    ast.Module, ast.Expr, ast.Assign, ast.Constant, ast.Name, ast.Load, ast.Store,
    ast.JoinedStr, ast.FormattedValue, ast.List, ast.Tuple, ast.Dict,
)  # fmt: skip
"""What a program is made of that only says what its author believes."""
_OTHER_BASE = ("0b", "0o", "0x")


def stated_result(proposal: Proposal) -> str | None:
    """A program computes nothing: it only prints what its author believes and no result tells.

    To convert a number into decimal figures, or to format it, is to compute.
    """
    if not _any_program(proposal, _only_states):
        return None
    return (
        "The program computes nothing, it only states its result. Compute the result, or look the fact up with a "
        "search tool."
    )


def marked_as_made_up(proposal: Proposal) -> str | None:
    """A comment on the line of a value says that it is an example, or stands for one that is not known."""
    if not _any_program(proposal, _marks_a_value):
        return None
    return (
        "The program says itself that a value in it is made up. Use the values of the question or of earlier "
        "results, or look the fact up with a search tool first."
    )


def about_nothing_known(proposal: Proposal) -> str | None:
    """A program for an amount of something with a name or number, without a value that the question or a result tells.

    Before anything was found, one value that is named for what the question asks about is enough: `cost_child = 5`.
    Values that are customary in programs (100, 2) pass one by one; all together they are an invention. But those of a
    search through numbers are its own, and 86400 stands for itself. A name may be told, too, for a question about the
    word; a label is not looked at; and where there is no search, nothing better can be had.
    """
    question, tools = proposal.state["question"], proposal.tools
    if tools is not None and not any(card_of(tool).quotes_sources for tool in tools):
        return None
    about_something = names_in(question) or TELLS_WHICH.search(question)
    if not (about_something and is_computed(question) and _any_program(proposal, _tells_nothing)):
        return None
    return "The program has no value that the question or a result tells: look the facts up with a search tool first."


def _tells_nothing(code: str, tree: ast.Module, state: State) -> bool:
    literals = literals_of(code)
    if any(literal.use == "bound" for literal in literals):
        return False
    numbers = [literal.value for literal in literals if isinstance(literal.value, Decimal)]
    names = [literal.value for literal in literals if literal.use == "data" and content_words(str(literal.value))]
    sources = Sources.of(map(without_rounding, source_texts(state)))
    if not accepted_results(state) and any(_is_named_for(literal, state["question"], sources) for literal in literals):
        return True
    return bool(numbers) and all(map(is_plain, numbers)) and not any(_is_told(v, sources) for v in (*numbers, *names))


_BY_CUSTOM = CUSTOMARY_NAMES | content_words(
    "second minute hour day week month year decade century metre kilometre centimetre mile foot inch gram kilogram "
    "tonne litre degree percent number total count first last step"
)
"""What a program may name a value for by custom: `days_in_week = 7`."""


def _is_named_for(literal: Literal, question: str, sources: Sources) -> bool:
    """Whether a variable has a word of the question, and a value that nothing tells."""
    value = literal.value
    if not isinstance(value, Decimal) or value in (0, 1) or value in sources.amounts:
        return False
    words = content_words(literal.name.replace("_", " "))
    return bool(words & content_words(question)) and not words & _BY_CUSTOM


def _any_program(proposal: Proposal, is_bad: Callable[[str, ast.Module, State], bool]) -> bool:
    """Whether a program of the calls is bad; what cannot be parsed is not: the interpreter explains it better."""
    if fence_of(proposal.tool) != "python":
        return False
    for code in (str(value) for call in proposal.arguments for value in call.values()):
        try:
            if is_bad(code, syntax_of(code), proposal.state):
                return True
        except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
            continue
    return False


def _only_states(code: str, tree: ast.Module, state: State) -> bool:
    nodes = list(ast.walk(tree))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    prints_only = all(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)
    computes = any(
        not isinstance(node, (*_STATES_ONLY, ast.Call))
        or (isinstance(node, ast.FormattedValue) and node.format_spec is not None)
        for node in nodes
    ) or any(token.string.lower().startswith(_OTHER_BASE) for token in _tokens(code, tokenize.NUMBER))
    if not tree.body or not prints_only or computes:
        return False
    found = accepted_results(state)
    return not found or not _all_told(tree, Sources.of(found))


def _all_told(tree: ast.Module, sources: Sources) -> bool:
    """Whether a program's values are all from the sources: to read one from a result is no invention."""
    return all(_is_told(node.value, sources) for node in ast.walk(tree) if isinstance(node, ast.Constant))


_MADE_UP = re.compile(
    r"\b(example (value|data|number|length|rate|price|population|year)s?|placeholder|hypothetical|made[- ]up"
    r"|replace (this |it )?with|assum(e|es|ed|ing)|not (given|provided|known|stated|specified)|unknown)\b",
    re.IGNORECASE,
)
"""How a model marks, in a comment, a value that it does not know."""


def _marks_a_value(code: str, tree: ast.Module, state: State) -> bool:
    """Whether such a comment stands on the line of a number or a text that no source tells."""
    lines = {token.start[0] for token in _tokens(code, tokenize.COMMENT) if _MADE_UP.search(token.string)}
    if not lines:
        return False
    sources = Sources.of(source_texts(state))
    return any(
        isinstance(node, ast.Constant)
        and not lines.isdisjoint(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        and not _is_told(node.value, sources)
        for node in ast.walk(tree)
    )


def _tokens(code: str, kind: int) -> Iterator[tokenize.TokenInfo]:
    return (token for token in tokenize.generate_tokens(io.StringIO(code).readline) if token.type == kind)


def _is_told(value: object, sources: Sources) -> bool:
    match value:
        case str():
            return sources.name([value])
        case int() | float() | Decimal() if not isinstance(value, bool):
            return abs(Decimal(str(value))) in sources.amounts
    return True
