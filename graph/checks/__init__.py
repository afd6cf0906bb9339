"""Checks that need no model, as declared lists.

`STEP_CHECKS` belong to the agent: a step that cannot be read, fails, finds nothing or repeats an accepted call is
rejected whatever model runs it. The other lists hold *small* models to what they were told, and can be switched off
with `Context(checks=...)`: a strong model may know what no result says, and these checks would overrule it.

| list | whose words | when |
| --- | --- | --- |
| `PLAN_CHECKS` | the planner's | before the executor reads its plan; doubtful parts are left out |
| `ARGUMENT_CHECKS` | the executor's | before its calls are made; a complaint asks it to write them again |
| `STEP_CHECKS` | the planner's, and the tool's results | after the calls; a failure rejects the step. Always on |
| `ANSWER_CHECKS` | the verifier's | when it stops with an answer; a complaint asks it once more |
| `VERDICT_CHECKS` | the verifier's | before its verdict takes effect; they revise it |

Checks that read words and figures know the Latin script alone, and abstain on any other.

A new check is a function in the module of its kind and an entry here.
"""

from __future__ import annotations

from graph.checks.answers import AnswerCheck, not_in_sources, wrong_form
from graph.checks.arguments import ArgumentCheck, asked_before, failed_before, guessed_name, invented_value
from graph.checks.plans import PlanCheck, guessed_goal, sufficient_goal, untold_context
from graph.checks.steps import StepCheck, all_failed, empty, nothing_to_finish, repeated, unreadable
from graph.checks.verdicts import (
    VerdictCheck,
    number_not_computed,
    rejection_of_near_passages,
    rejection_that_quotes,
)

PLAN_CHECKS: tuple[PlanCheck, ...] = (untold_context, guessed_goal, sufficient_goal)
ARGUMENT_CHECKS: tuple[ArgumentCheck, ...] = (
    ArgumentCheck(invented_value),
    ArgumentCheck(failed_before),
    ArgumentCheck(asked_before, once=True),
    ArgumentCheck(guessed_name, once=True),
)
STEP_CHECKS: tuple[StepCheck, ...] = (unreadable, nothing_to_finish, all_failed, empty, repeated)
ANSWER_CHECKS: tuple[AnswerCheck, ...] = (wrong_form, not_in_sources)
VERDICT_CHECKS: tuple[VerdictCheck, ...] = (number_not_computed, rejection_that_quotes, rejection_of_near_passages)
