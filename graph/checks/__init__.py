"""Checks that need no model, as declared lists.

`STEP_CHECKS` are part of the agent: a step that cannot be parsed, fails, returns nothing or repeats an accepted call
is rejected whichever model is used. The other lists hold *small* models to the texts they were shown, and
`Context(checks=...)` switches them off: a strong model may know what no result says, and they would overrule it.

| list | checks the words of | when |
| --- | --- | --- |
| `PLAN_CHECKS` | the planner | before the executor reads it; doubtful parts are left out, a repeated step is refused |
| `ARGUMENT_CHECKS` | the executor | before its calls are made; on a complaint it writes them again |
| `STEP_CHECKS` | the planner, and the tool's results | after the calls; a failure rejects the step. Always on |
| `FORESEEN_INPUTS` | nobody | before the executor is asked; an input that it would only copy is used without it |
| `FORESEEN_STEPS` | nobody | before the verifier is asked; what follows in any case is done without asking |
| `EXCERPTS` | nobody | before the verifier reads the memory; it is shown the part that tells |
| `ANSWER_CHECKS` | the verifier | when it stops; on a complaint it is asked once more, and the step stays accepted |
| `VERDICT_CHECKS` | the verifier | before its verdict takes effect; they revise it |

Checks that compare words and numbers only work for Latin script; they abstain on any other.

To add a check, write a function in the module of its kind and add it to the list here.
"""

from __future__ import annotations

from collections.abc import Callable

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
from graph.checks.computing import program_for_the_question, program_next, search_first, search_next
from graph.checks.coverage import unanswered_part, unused_number
from graph.checks.excerpts import Excerpt, sentences_with_values
from graph.checks.foreseen import Foresight
from graph.checks.options import left_out, none_of_the_options
from graph.checks.plans import PlanCheck, guessed_goal, invented_context, planned_before, sufficient_goal
from graph.checks.programs import about_nothing_known, marked_as_made_up, stated_result
from graph.checks.steps import StepCheck, all_failed, empty, nothing_to_finish, repeated, unreadable
from graph.checks.verdicts import (
    VerdictCheck,
    rejection_of_near_passages,
    rejection_of_the_answer,
    rejection_that_quotes,
    value_not_computed,
)
from graph.state import Plan, State

PLAN_CHECKS: tuple[PlanCheck, ...] = (
    search_first,
    planned_before,
    invented_context,
    guessed_goal,
    sufficient_goal,
    program_for_the_question,
)
ARGUMENT_CHECKS: tuple[ArgumentCheck, ...] = (
    ArgumentCheck(invented_fact),
    ArgumentCheck(about_nothing_known),
    ArgumentCheck(marked_as_made_up),
    ArgumentCheck(stated_result),
    ArgumentCheck(failed_before),
    ArgumentCheck(asked_before, once=True),
    ArgumentCheck(guessed_name, once=True),
)
STEP_CHECKS: tuple[StepCheck, ...] = (unreadable, nothing_to_finish, all_failed, empty, repeated)
ANSWER_CHECKS: tuple[AnswerCheck, ...] = (
    wrong_form,
    none_of_the_options,
    left_out,
    lost_sign,
    not_in_sources,
    unused_number,
    unanswered_part,
)
VERDICT_CHECKS: tuple[VerdictCheck, ...] = (
    value_not_computed,
    rejection_of_the_answer,
    rejection_that_quotes,
    rejection_of_near_passages,
)
FORESEEN_INPUTS: tuple[Callable[[Plan, BaseTool, State], str | None], ...] = (plain_query,)
EXCERPTS: tuple[Excerpt, ...] = (sentences_with_values,)
FORESEEN_STEPS: tuple[Foresight, ...] = (program_next, search_next)
