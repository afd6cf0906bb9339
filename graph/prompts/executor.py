"""The executor's prompt."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import BaseTool

from graph.checks.plans import Doubts
from graph.rendering import arguments_text, clip
from graph.state import Plan, ToolCall
from graph.wording import STANDARD, Wording
from tools.card import card_of, fence_of


@dataclass(frozen=True)
class Facts:
    """Facts for writing a tool's input."""

    question: str
    """The question, after the conversation that it continues."""
    results: str
    """The accepted results, numbered."""
    failed: ToolCall | None
    """The tool's last call, if it failed because of its arguments: unless told, a model writes the same again."""


def executor_messages(
    tool: BaseTool, plan: Plan, facts: Facts, doubts: Doubts, form: str, wording: Wording = STANDARD
) -> list[BaseMessage]:
    """Ask for the arguments of the planned step; `form` describes the format of the reply."""
    card = card_of(tool)
    fence = fence_of(tool)
    advice = "".join(f"\n{practice}" for practice in card.best_practices)
    example = ""
    if fence and card.program:
        example = f"\n\nExample:\n\nSub-goal: {card.program.sub_goal}\n```{fence}\n{card.program.input}\n```"
    goal = "" if doubts.leave_out_question else f"{facts.question}\n\n"
    goal += f"Sub-goal: {plan['sub_goal']}"
    if plan["context"] and not doubts.leave_out_context:
        goal += f"\nContext: {plan['context']}"
    goal += "".join(f"\nBut {warning}." for warning in doubts.warnings)
    if facts.results:
        goal += f"\n\nResults so far:\n{facts.results}"
    if facts.failed and facts.failed["error"]:
        call, problem = clip(arguments_text(facts.failed), 600), clip(facts.failed["error"]["message"], 400)
        goal += f"\n\nThis was tried and failed, so write it differently:\n{call}\n{problem}"
    work = f"{' '.join(tool.description.split())}\nInput: {card.input}{advice}"
    system = wording.system(
        "executor",
        standard=(
            f"You prepare the input of the tool {tool.name}.\n{work}",
            f"{form}\nServe the sub-goal alone, with the facts given.{example}",
        ),
        fixed=(f"Tool: {tool.name}\n{work}", f"{form}{example}"),
    )
    return [system, HumanMessage(goal)]
