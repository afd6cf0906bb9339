"""Checks of a verdict against the results it judges."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeAlias

from graph.checks.amounts import told_in
from graph.checks.answers import AnswerCheck, answer_complaint
from graph.checks.english import in_english
from graph.checks.evidence import Evidence
from graph.checks.grounding import shared_words, unsupported_numbers, unsupported_weekdays
from graph.state import Verdict

VerdictCheck: TypeAlias = Callable[[Verdict, Evidence], Verdict]
"""Returns the verdict that takes effect; the same one if the check finds nothing."""

_NEAR = 0.5
"""Passages with at least this share of the question's words are not worth rejecting."""


def revised(verdict: Verdict, evidence: Evidence, checks: Sequence[VerdictCheck]) -> Verdict:
    """The verdict after all checks."""
    if not checks or not in_english(evidence.question, verdict["reason"], verdict["answer"], *evidence.texts):
        return verdict
    for check in checks:
        verdict = check(verdict, evidence)
    return verdict


def value_not_computed(verdict: Verdict, evidence: Evidence) -> Verdict:
    """If the verifier stops on a number or a weekday that is in no result, the run continues.

    The model computed it in its head or remembered it; that is what tools are for.
    """
    if not verdict["stop"]:
        return verdict
    # A number from the question is no result; a weekday may be (the first Monday of a month). Only a reason, where it
    # takes the place of the answer, may quote a number.
    if verdict["answer"]:
        unsupported = unsupported_numbers(verdict["answer"], evidence.results)
        unsupported += unsupported_weekdays(verdict["answer"], evidence.texts)
    else:
        unsupported = unsupported_numbers(verdict["reason"], evidence.texts)
    if not unsupported:
        return verdict
    return {**verdict, "stop": False, "answer": "", "missing": "the answer is in no result: compute it from them"}


_LONGEST_RESULT = 80
"""Characters of a result that may be an answer."""


def result_of_the_program(verdict: Verdict, evidence: Evidence) -> Verdict:
    """If the verifier stops on what the program starts from, the answer is what it computes: on 980, of 980 * 150.

    So it is for names, of which the program prints one; but a name may be read from a number, as a weekday from its
    place in the week. Asked once more, the model repeats itself.
    """
    is_program = evidence.computes_with and evidence.tool == evidence.computes_with
    if not (verdict["stop"] and is_program and len(evidence.new) == 1):
        return verdict
    result = evidence.new[0].strip()
    given, printed, program = map(_said, (verdict["answer"], result, evidence.inputs[0]))
    one_line = result and "\n" not in result and len(result) <= _LONGEST_RESULT
    same_kind = bool(told_in(verdict["answer"])) == bool(told_in(result))
    if not (one_line and same_kind and given) or given & printed or not given <= program:
        return verdict
    return {**verdict, "answer": result}


def _said(text: str) -> set[str | Decimal]:
    """The words and amounts of a text."""
    return {*re.findall(r"[^\W\d_]+", text.casefold()), *told_in(text)}


def rejection_that_quotes(verdict: Verdict, evidence: Evidence) -> Verdict:
    """A rejection becomes an acceptance if its reason quotes a number that is only in the rejected results."""
    if verdict["accepted"]:
        return verdict
    fresh = unsupported_numbers(verdict["reason"], [evidence.question, *evidence.said, *evidence.old])
    return {**verdict, "accepted": not set(fresh) <= set(unsupported_numbers(verdict["reason"], evidence.new))}


def rejection_of_the_answer(verdict: Verdict, evidence: Evidence, checks: Sequence[AnswerCheck]) -> Verdict:
    """A rejection that gives the rejected result as its answer becomes an acceptance, and the run ends.

    It stands where the checks of answers find that the result cannot be the answer.
    """
    answer = verdict["answer"].strip().casefold()
    if verdict["accepted"] or not answer or answer not in (result.strip().casefold() for result in evidence.new):
        return verdict
    accepted: Verdict = {**verdict, "accepted": True, "stop": True, "missing": ""}
    return verdict if answer_complaint(accepted, evidence, checks) else accepted


def rejection_of_near_passages(verdict: Verdict, evidence: Evidence) -> Verdict:
    """A rejection of passages with most of the question's words becomes an acceptance: they hold part of the answer."""
    if verdict["accepted"] or not evidence.passages:
        return verdict
    return {**verdict, "accepted": shared_words(evidence.question, " ".join(evidence.new)) >= _NEAR}
