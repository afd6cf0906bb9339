"""Checks that have amounts and choices computed by a program once the facts are known, and end what leads nowhere.

Asked for an amount and shown passages, a small model answers with the first number it sees: of 26 rows of 32 seats, 26.
Asked for a program, the same model names the numbers and combines them.
"""

from __future__ import annotations

from graph.checks.amounts import told_in
from graph.checks.english import in_english
from graph.checks.evidence import Evidence
from graph.checks.following import follows_a_name, search_for
from graph.checks.foreseen import Foreseen, NextStep
from graph.checks.plans import Doubts, Planned
from graph.checks.questions import is_about_words, is_computed, names_in, without_rounding
from graph.memory import accepted_turns, chat_texts
from graph.state import Failure, Verdict
from tools.card import fence_of

_MOST_NAMES = 6
"""Names that one search may be for."""


def program_next(evidence: Evidence) -> Foreseen | None:
    """What follows passages found for an amount or a choice: a search for what they do not name, then a program.

    Each is asked for once, the program again after a name was followed; after that, the models judge and plan.
    """
    if evidence.failed or not (evidence.passages and evidence.computes_with and is_computed(evidence.question)):
        return None
    if not in_english(evidence.question, *evidence.texts):
        return None
    told = [*evidence.results, *(text for text in evidence.said if text != evidence.question)]
    names = names_in(evidence.question, told)
    if names and not (evidence.searches_with and len(names) <= _MOST_NAMES):
        return None
    unknown = " and ".join(names)
    missing = f"a result about {unknown}" if unknown else _missing(evidence.computes_with)
    if missing in evidence.asked_for and (unknown or not follows_a_name(evidence)):
        return None
    program = NextStep(
        evidence.computes_with,
        justification="The results tell what has to be known.",
        context="the results so far",
        sub_goal="Compute the answer to the question from the results",
    )
    verdict = Verdict(accepted=True, stop=False, reason="", answer="", missing=missing, source="rules")
    return Foreseen(verdict, search_for(unknown, evidence.searches_with) if unknown else program)


def search_next(evidence: Evidence) -> Foreseen | None:
    """What follows a program that could not be written before anything was looked up: a search."""
    failed = evidence.failed
    if failed is None or failed["kind"] != "arguments" or evidence.tool != evidence.computes_with:
        return None
    if evidence.old or not evidence.can_be_looked_up or not in_english(evidence.question, *evidence.texts):
        return None
    search = NextStep(
        evidence.searches_with,
        justification="A program needs facts that have to be looked up.",
        context="the question",
        sub_goal="Find the facts that it asks about",
    )
    verdict = Verdict(accepted=False, stop=False, reason="", answer="", missing="", source="rules")
    return Foreseen(verdict, search)


def nothing_next(evidence: Evidence) -> Foreseen | None:
    """A run in which no search found anything and no program could be written ends: small models only repeat both.

    The generator answers from what it knows. Of fifteen such runs all went in circles (docs/measured.md).
    """
    failed = evidence.failed
    if failed is None or evidence.old:
        return None
    unwritten = evidence.tool == evidence.computes_with and failed["kind"] == "arguments"
    if not ((evidence.passages or evidence.searched) and (unwritten or evidence.unwritten)):
        return None
    return Foreseen(Verdict(accepted=False, stop=False, reason="", answer="", missing="", source="rules"), None)


def search_first(step: Planned) -> Doubts:
    """A program for an amount or a choice of something with a name, before anything about it was looked up.

    A question or a chat that tells a number may tell all that the program needs, and so may one about a word.
    """
    question = step.state["question"]
    if fence_of(step.tool) != "python" or not is_computed(question) or is_about_words(question):
        return Doubts()
    if not Evidence.of(step.state, step.tools).can_be_looked_up:
        return Doubts()
    if any(map(told_in, map(without_rounding, {question, *chat_texts(step.state)}))):
        return Doubts()
    message = "nothing is known yet of what the question names; look that up first"
    return Doubts(refusal=Failure(kind="arguments", message=message))


def program_for_the_question(step: Planned) -> Doubts:
    """The program that was asked for serves the question: sub-goals of small models only repeat the search."""
    accepted = accepted_turns(step.state)
    whole = bool(accepted) and accepted[-1]["verdict"]["missing"] == _missing(step.tool.name)
    return Doubts(leave_out_context=whole, leave_out_goal=whole)


def _missing(tool: str) -> str:
    return f"the answer; compute it from the results with the tool {tool}"
