"""What a verdict is held to: the words and figures of the results it judges."""

from __future__ import annotations

from graph.checks.answers import form_complaint, source_complaint
from graph.checks.grounding import shared_words, unsupported_numbers
from graph.memory import accepted_turns, known_calls
from graph.state import State, Verdict

_NEAR = 0.5
"""Share of a question's words in passages that makes a rejection of them implausible."""


def answer_complaint(verdict: Verdict, state: State, passages: bool) -> str | None:
    """Why a verdict that stops cannot have the answer, or None; see `graph.checks.answers`."""
    if not verdict["stop"] or not verdict["answer"]:
        return None
    question, answer = state["question"], verdict["answer"]
    results = [call["result"] for call in known_calls(state)]
    return form_complaint(question, answer) or (source_complaint(question, answer, results) if passages else None)


def grounded(verdict: Verdict, state: State, *, quotes_sources: bool) -> Verdict:
    """The verdict, held to the words and figures of the results.

    A stop on an answer with a number that stands in no result goes on: that number was computed in the model's head, or
    remembered, and tools are for that. A rejection of results whose own figures it quotes accepts, and so does one of
    passages that hold most words of the question: a part of the answer is in them, whatever else is missing.
    """
    calls = state.get("calls", [])
    new = [call["result"] for call in calls if call["error"] is None]
    old = [call["result"] for turn in accepted_turns(state) for call in turn["calls"] if call["error"] is None]
    if not verdict["accepted"]:
        told = _quotes(verdict["reason"], new, [state["question"], *old])
        near = quotes_sources and shared_words(state["question"], " ".join(new)) >= _NEAR
        return {**verdict, "accepted": told or near}
    # A figure of the question is no finding; where only the reason tells the answer, it may quote the question.
    claim, known = (verdict["answer"], []) if verdict["answer"] else (verdict["reason"], [state["question"]])
    unsupported = unsupported_numbers(claim, [*known, *old, *new]) if verdict["stop"] else []
    if not unsupported:
        return verdict
    return {**verdict, "stop": False, "answer": "", "missing": f"{unsupported[0]} stands in no result: compute it"}


def _quotes(reason: str, new: list[str], known: list[str]) -> bool:
    """Whether a reason holds a number that it can only have from the new results."""
    fresh = unsupported_numbers(reason, known)
    return len(unsupported_numbers(" ".join(fresh), new)) < len(fresh)
