"""What a verdict is held to: the words and figures of the results that it judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from graph.checks.evidence import Evidence
from graph.checks.grounding import in_latin_script, shared_words, unsupported_numbers
from graph.state import Verdict

VerdictCheck: TypeAlias = Callable[[Verdict, Evidence], Verdict]
"""The verdict as it takes effect: the same one where the check finds nothing."""

_NEAR = 0.5
"""Share of a question's words in passages that makes a rejection of them implausible."""


def revised(verdict: Verdict, evidence: Evidence, checks: Sequence[VerdictCheck]) -> Verdict:
    """The verdict after all checks."""
    if not in_latin_script(verdict["reason"], verdict["answer"], *evidence.texts):
        return verdict
    for check in checks:
        verdict = check(verdict, evidence)
    return verdict


def number_not_computed(verdict: Verdict, evidence: Evidence) -> Verdict:
    """A stop on a number that stands in no result goes on.

    The number was computed in the model's head, or remembered, and tools are for that.
    """
    if not verdict["stop"]:
        return verdict
    # A figure of the question is no finding; where only the reason tells the answer, it may quote the question.
    claim, known = (verdict["answer"], ()) if verdict["answer"] else (verdict["reason"], (evidence.question,))
    unsupported = unsupported_numbers(claim, [*known, *evidence.results])
    if not unsupported:
        return verdict
    return {**verdict, "stop": False, "answer": "", "missing": f"{unsupported[0]} stands in no result: compute it"}


def rejection_that_quotes(verdict: Verdict, evidence: Evidence) -> Verdict:
    """A rejection whose reason holds a number that it can only have from the rejected results accepts."""
    if verdict["accepted"]:
        return verdict
    fresh = unsupported_numbers(verdict["reason"], [evidence.question, *evidence.old])
    quoted = len(unsupported_numbers(" ".join(fresh), evidence.new)) < len(fresh)
    return {**verdict, "accepted": quoted}


def rejection_of_near_passages(verdict: Verdict, evidence: Evidence) -> Verdict:
    """A rejection of passages that hold most words of the question accepts: a part of the answer is in them."""
    if verdict["accepted"] or not evidence.passages:
        return verdict
    return {**verdict, "accepted": shared_words(evidence.question, " ".join(evidence.new)) >= _NEAR}
