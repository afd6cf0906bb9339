"""Checks that have amounts and choices computed by a program once the facts are known.

Asked for an amount and shown passages, a small model answers with the first number it sees: of 26 rows of 32 seats, 26.
Asked for a program, the same model names the numbers and combines them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from graph.checks.amounts import told_in
from graph.checks.evidence import Evidence
from graph.checks.foreseen import Foreseen, NextStep
from graph.checks.grounding import content_words, in_latin_script, unsupported_names
from graph.checks.plans import Doubts, Planned
from graph.checks.provenance import CUSTOMARY_NAMES
from graph.memory import accepted_turns, chat_texts
from graph.state import Failure, Verdict
from tools.card import fence_of, search_tool

_COMPUTED = re.compile(
    r"""(?ix)
      \bhow\ (?:many|much|old|tall|long|high|far|deep|large|big|wide|heavy|fast)\b
    | \b(?:average|ratio|percentage|difference|sum|total|product|speed|area|age|costs?|price)\b
    | \b(?:which|who)\b [^.?!\n]* \b(?:first|last|most|fewest|least|more|fewer|earlier|later|\w+er\ than|\w{2,}est)\b
    | \bin\ (?:the\ )?order\b(?!\ to\b)
    | \b(?:same|different|before|after|than)\b [^.?!\n]* \?\ Answer\ (?:with\ |by\ )?yes\ or\ no
    """
)


_PROGRAM = (
    "The results tell what has to be known.",
    "the results so far",
    "Compute the answer to the question from the results",
)
_SEARCH = ("A program needs facts that have to be looked up.", "the question", "Find the facts that it asks about")

_ASKED = 500
"""Characters at the end of a long question that say what is asked."""


def is_computed(question: str) -> bool:
    """Whether a question in English asks for an amount, a choice or an order."""
    return _COMPUTED.search(question[-_ASKED:]) is not None


def names_in(question: str, told: Sequence[str] = ()) -> list[str]:
    """The names in a question that are in none of the texts told; a month or a weekday is no name."""
    return [name for name in unsupported_names(question, told) if not content_words(name) <= CUSTOMARY_NAMES]


def program_next(evidence: Evidence) -> Foreseen | None:
    """What follows passages found for an amount or a choice: a search for what they do not name, then a program.

    Each is asked for once; after that, the models judge and plan.
    """
    if evidence.failed or not (evidence.passages and evidence.computes_with and is_computed(evidence.question)):
        return None
    if not in_latin_script(*evidence.texts):
        return None
    told = [*evidence.results, *(text for text in evidence.said if text != evidence.question)]
    unknown = " and ".join(dict.fromkeys(names_in(evidence.question, told)))
    missing = f"a result about {unknown}" if unknown else _missing(evidence.computes_with)
    if missing in evidence.asked_for:
        return None
    search = NextStep(evidence.tool, "The question names what no result tells.", unknown, f"Find {unknown}")
    return Foreseen(
        Verdict(accepted=True, stop=False, reason="", answer="", missing=missing, source="rules"),
        search if unknown else NextStep(evidence.computes_with, *_PROGRAM),
    )


def search_next(evidence: Evidence) -> Foreseen | None:
    """What follows a program that could not be written before anything was looked up: a search."""
    failed, searches_with = evidence.failed, evidence.searches_with
    if failed is None or failed["kind"] != "arguments" or evidence.tool != evidence.computes_with:
        return None
    if evidence.old or not searches_with or searches_with in evidence.used or not in_latin_script(*evidence.texts):
        return None
    if not names_in(evidence.question):
        return None
    return Foreseen(
        Verdict(accepted=False, stop=False, reason="", answer="", missing="", source="rules"),
        NextStep(searches_with, *_SEARCH),
    )


def program_for_the_question(step: Planned) -> Doubts:
    """The program that was asked for serves the question: sub-goals of small models only repeat the search."""
    accepted = accepted_turns(step.state)
    whole = bool(accepted) and accepted[-1]["verdict"]["missing"] == _missing(step.tool.name)
    return Doubts(leave_out_context=whole, leave_out_goal=whole)


def search_first(step: Planned) -> Doubts:
    """A program for an amount or a choice of something with a name, before anything about it was looked up.

    A question or a chat that tells a number may tell all that the program needs.
    """
    question, searches_with = step.state["question"], search_tool(step.tools)
    if not (searches_with and fence_of(step.tool) == "python" and is_computed(question) and names_in(question)):
        return Doubts()
    if any(map(told_in, {question, *chat_texts(step.state)})):
        return Doubts()
    if any(turn["plan"]["tool_name"] == searches_with for turn in step.state.get("memory", [])):
        return Doubts()
    message = "nothing is known yet of what the question names; look that up first"
    return Doubts(refusal=Failure(kind="arguments", message=message))


def _missing(tool: str) -> str:
    return f"the answer; compute it from the results with the tool {tool}"
