"""All prompts.

Each prompt starts with what never changes, followed by the question and then by what grows, so that servers can reuse
the common prefix. The planner's prompt is a transcript: turn t+1 is turn t, the planner's reply, and one message with
the outcome. Nothing that was sent is ever rewritten (AgentFlow, section 3.1; the roles follow its appendix on prompts).
"""

from graph.prompts.executor import Facts, executor_messages
from graph.prompts.generator import RECALLED_SCHEMA, Part, direct_messages, generator_messages
from graph.prompts.planner import (
    StepForm,
    analyst_messages,
    observation,
    planner_messages,
    planner_opening,
    step_reply,
    tool_card,
    turns_left,
)
from graph.prompts.verifier import verifier_messages

__all__ = [
    "RECALLED_SCHEMA",
    "Facts",
    "Part",
    "StepForm",
    "analyst_messages",
    "direct_messages",
    "executor_messages",
    "generator_messages",
    "observation",
    "planner_messages",
    "planner_opening",
    "step_reply",
    "tool_card",
    "turns_left",
    "verifier_messages",
]
