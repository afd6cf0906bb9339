"""The executor's prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import BaseTool

from graph.checks.plans import Doubts
from graph.prompts.examples import example_reply, example_request
from graph.rendering import arguments_text, clip
from graph.state import Plan, ToolCall
from graph.wording import STANDARD, Wording
from tools.card import Example, card_of, fence_of

ASKED = "Question (for reference): "
"""What stands before the question."""


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
    goal = _goal(
        results=facts.results,
        question="" if doubts.leave_out_question else facts.question,
        sub_goal="" if doubts.leave_out_goal else plan["sub_goal"],
        context="" if doubts.leave_out_context else plan["context"],
    )
    goal += "".join(f"\nBut {warning}." for warning in doubts.warnings)
    if facts.failed and facts.failed["error"]:
        call, problem = clip(arguments_text(facts.failed), 600), clip(facts.failed["error"]["message"], 400)
        goal += f"\n\nThis was tried and failed, so write it differently:\n{call}\n{problem}"
    work = f"{' '.join(tool.description.split())}\nInput: {card.input}{advice}"
    system = wording.system(
        "executor",
        standard=(
            f"You prepare the input of the tool {tool.name}.\n{work}",
            f"{form}\nServe the sub-goal alone, with the facts given.",
        ),
        fixed=(f"Tool: {tool.name}\n{work}", form),
    )
    return [system, *(_examples(card.programs, fence) if fence else ()), HumanMessage(goal)]


def _examples(programs: Sequence[Example], fence: str) -> Iterator[BaseMessage]:
    """Example exchanges."""
    for program in programs:
        results = f"1. Result: {program.given}" if program.given else ""
        yield example_request(_goal(results, f"{ASKED}{program.question}", program.sub_goal, program.context))
        yield example_reply(f"```{fence}\n{program.input}\n```")


def _goal(results: str, question: str, sub_goal: str, context: str) -> str:
    """What the input has to serve. The question comes after long results: small models forget what stands far above."""
    parts = [f"Results so far:\n{results}"] if results else []
    parts += [question] if question else []
    aim = [f"Sub-goal: {sub_goal}"] if sub_goal else []
    aim += [f"Context: {context}"] if context else []
    return "\n\n".join([*parts, "\n".join(aim)] if aim else parts)
