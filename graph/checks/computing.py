"""Checks that have amounts and choices computed by a program once the facts are known.

Asked for an amount and shown passages, a small model answers with the first number it sees: of 26 rows of 32 seats, 26.
Asked for a program, the same model names the numbers and combines them.
"""

from __future__ import annotations

import re

from langchain_core.tools import BaseTool

from graph.checks.evidence import Evidence
from graph.checks.grounding import in_latin_script, unsupported_names
from graph.checks.plans import Doubts
from graph.memory import accepted_turns
from graph.state import Plan, State, Verdict

_COMPUTED = re.compile(
    r"""(?ix)
      \bhow\ (?:many|much|old|tall|long|high|far|deep|large|big|wide|heavy|fast)\b
    | \b(?:average|ratio|percentage|difference|sum|total|product|speed|area|age)\b
    | \b(?:which|who)\b [^.?!\n]* \b(?:first|last|most|fewest|least|more|fewer|earlier|later|\w+er\ than|\w{2,}est)\b
    | \bin\ (?:the\ )?order\b(?!\ to\b)
    | \b(?:same|different|before|after|than)\b [^.?!\n]* \?\ Answer\ (?:with\ |by\ )?yes\ or\ no
    """
)


_ASKED = 500
"""Characters at the end of a long question that say what is asked."""


def is_computed(question: str) -> bool:
    """Whether a question in English asks for an amount, a choice or an order."""
    return _COMPUTED.search(question[-_ASKED:]) is not None


def program_next(evidence: Evidence) -> Verdict | None:
    """What follows passages found for an amount or a choice: a search for what they do not name, then a program.

    Each is asked for once; after that, the model judges.
    """
    if not (evidence.passages and evidence.computes_with and is_computed(evidence.question)):
        return None
    if not in_latin_script(*evidence.texts):
        return None
    unknown = dict.fromkeys(unsupported_names(evidence.question, evidence.results))
    missing = f"a result about {' and '.join(unknown)}" if unknown else _missing(evidence.computes_with)
    if missing in evidence.asked_for:
        return None
    return Verdict(accepted=True, stop=False, reason="", answer="", missing=missing, source="rules")


def program_for_the_question(plan: Plan, tool: BaseTool, state: State) -> Doubts:
    """The program that was asked for serves the question: sub-goals of small models only repeat the search."""
    accepted = accepted_turns(state)
    whole = bool(accepted) and accepted[-1]["verdict"]["missing"] == _missing(tool.name)
    return Doubts(leave_out_context=whole, leave_out_goal=whole)


def _missing(tool: str) -> str:
    return f"the answer; compute it from the results with the tool {tool}"
