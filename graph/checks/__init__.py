"""Checks that need no model, as declared lists.

`STEP_CHECKS` are part of the agent: a step that cannot be parsed, fails, returns nothing or repeats an accepted call
is rejected whichever model is used. The other lists hold *small* models to the texts they were shown, and
`Context(checks=...)` switches them off: a strong model may know what no result says, and they would overrule it.

| list | checks the words of | when |
| --- | --- | --- |
| `PLAN_CHECKS` | the planner | before the executor reads it; doubtful parts are left out, a repeated step is refused |
| `ARGUMENT_CHECKS` | the executor | before its calls are made; on a complaint it writes them anew, if that can help |
| `STEP_CHECKS` | the planner, and the tool's results | after the calls; a failure rejects the step. Always on |
| `PASSAGE_CHECKS` | nobody | after a search; a failure rejects the step |
| `FORESEEN_INPUTS` | nobody | before the executor is asked; an input that it would only copy is used without it |
| `FORESEEN_STEPS` | nobody | before the verifier is asked; what follows in any case, be it the end, is done unasked |
| `EXCERPTS` | nobody | before the verifier reads the memory; it is shown the part that tells |
| `ANSWER_CHECKS` | the verifier | when it stops; on a complaint it is asked once more, and the step stays accepted |
| `VERDICT_CHECKS` | the verifier | before its verdict takes effect; they revise it |

A check that raises an error is logged and says nothing (`graph.checks.guarded`).

Checks that compare words and numbers know English, and abstain where a question is in another language, or a text in
another script (`in_english`).

To add a check, write a function in the module of its kind and add it to the list here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from langchain_core.tools import BaseTool

from graph.checks.answers import AnswerCheck, lost_sign, not_in_sources, wrong_form
from graph.checks.arguments import (
    ArgumentCheck,
    asked_before,
    failed_before,
    guessed_name,
    invented_fact,
    plain_query,
)
from graph.checks.computing import (
    nothing_next,
    program_for_the_question,
    program_next,
    search_first,
    search_next,
)
from graph.checks.counts import other_count
from graph.checks.coverage import unanswered_part, unused_number
from graph.checks.excerpts import Excerpt, sentences_with_values
from graph.checks.following import name_after_repetition, name_in_program
from graph.checks.foreseen import Foresight
from graph.checks.guarded import guarded
from graph.checks.options import left_out, none_of_the_options
from graph.checks.passages import PassageCheck, about_something_else
from graph.checks.plans import (
    Doubts,
    PlanCheck,
    Planned,
    guessed_goal,
    invented_context,
    planned_before,
    sufficient_goal,
)
from graph.checks.programs import about_nothing_known, marked_as_made_up, stated_result
from graph.checks.steps import StepCheck, all_failed, empty, nothing_to_finish, repeated, unreadable
from graph.checks.things import value_of_another_thing
from graph.checks.verdicts import (
    VerdictCheck,
    rejection_of_near_passages,
    rejection_of_the_answer,
    rejection_that_quotes,
    result_of_the_program,
    value_not_computed,
)
from graph.state import Plan, State

P = ParamSpec("P")
T = TypeVar("T")


def _nothing(*_: object) -> None:
    return None


def _no_doubts(_: Planned) -> Doubts:
    return Doubts()


def _unchanged(seen: T, *_: object) -> T:
    return seen


def _all(otherwise: Callable[P, T], *checks: Callable[P, T]) -> tuple[Callable[P, T], ...]:
    return tuple(guarded(check, otherwise) for check in checks)


PLAN_CHECKS: tuple[PlanCheck, ...] = _all(
    _no_doubts,
    search_first,
    planned_before,
    invented_context,
    guessed_goal,
    sufficient_goal,
    program_for_the_question,
)
ARGUMENT_CHECKS: tuple[ArgumentCheck, ...] = (
    *(
        ArgumentCheck(check, wants_facts=True)
        for check in _all(_nothing, invented_fact, about_nothing_known, marked_as_made_up, stated_result)
    ),
    ArgumentCheck(guarded(failed_before, _nothing)),
    *(
        ArgumentCheck(check, once=True)
        for check in _all(_nothing, other_count, value_of_another_thing, asked_before, guessed_name)
    ),
)
STEP_CHECKS: tuple[StepCheck, ...] = _all(_nothing, unreadable, nothing_to_finish, all_failed, empty, repeated)
PASSAGE_CHECKS: tuple[PassageCheck, ...] = _all(_nothing, about_something_else)
ANSWER_CHECKS: tuple[AnswerCheck, ...] = _all(
    _nothing,
    wrong_form,
    none_of_the_options,
    left_out,
    lost_sign,
    not_in_sources,
    unused_number,
    unanswered_part,
)
VERDICT_CHECKS: tuple[VerdictCheck, ...] = _all(
    _unchanged,
    partial(rejection_of_the_answer, checks=ANSWER_CHECKS),
    rejection_that_quotes,
    rejection_of_near_passages,
    result_of_the_program,
    value_not_computed,
)
FORESEEN_INPUTS: tuple[Callable[[Plan, BaseTool, State], str | None], ...] = _all(_nothing, plain_query)
EXCERPTS: tuple[Excerpt, ...] = _all(_unchanged, sentences_with_values)
FORESEEN_STEPS: tuple[Foresight, ...] = _all(
    _nothing, program_next, search_next, name_in_program, name_after_repetition, nothing_next
)
