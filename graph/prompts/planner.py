"""Prompts of the planner and of the analyst, its first look at the question."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langchain_core.tools import BaseTool

from graph.context import Context
from graph.prompts.examples import example_reply, example_request
from graph.rendering import calls_text, failure_text
from graph.state import FINISH, Failure, State, ToolCall, Verdict
from graph.wording import STANDARD, Wording
from tools.card import Example, Step, card_of


def tool_card(tool: BaseTool) -> str:
    """A tool as described to the planner."""
    card = card_of(tool)
    lines = [f"- {tool.name}: {' '.join(tool.description.split())}", f"  Input: {card.input}"]
    lines += [f"  Limit: {limitation}" for limitation in card.limitations]
    lines += [f"  Advice: {practice}" for practice in card.best_practices]
    return "\n".join(lines)


def _toolbox(tools: Sequence[BaseTool]) -> str:
    return "Tools:\n" + "\n".join(tool_card(tool) for tool in tools)


_ANALYST = """You analyse a question before a team of agents solves it. In one or two short sentences say exactly what \
is asked, and which facts or computations are needed in which order. Do not answer the question, and name no fact that \
it does not contain.

Examples:

Question: How old was the designer of the Forth Bridge when it was opened?
An age in years is asked. Needed are the designer, his year of birth, the year of the opening, and then the difference.

Question: What is the smallest number above 500 that 8 and 12 both divide?
A whole number is asked. One computation is needed: going up from 501 to the first that both divide."""


_IN_FULL = """Reply with this next question, rewritten so that it can be understood without the conversation: say what \
that, it, he or there stands for."""


def analyst_messages(question: str, conversation: str, wording: Wording = STANDARD) -> list[BaseMessage]:
    """Ask for the analysis of a question, or, if it continues a conversation, for the whole question in its place.

    The prompt does not list the tools: a small analyst would discuss them, and the planner would take that as a choice.
    """
    asked = f"Next question: {question}\n\n{_IN_FULL}" if conversation else f"Question: {question}"
    return [wording.system("analyst", standard=(_ANALYST,)), HumanMessage(f"{conversation}{asked}")]


_ASKS = "Plan the next step: "


class StepForm(enum.Enum):
    """The lines of a planner's reply."""

    JUSTIFIED = ("Justification", "Context", "Sub-Goal", "Tool Name")
    SHORT = ("Context", "Sub-Goal", "Tool Name")
    DIRECT = ("Tool", "Input")
    """The planner itself writes the tool's input."""

    @classmethod
    def of(cls, context: Context, *, is_small: bool = False) -> StepForm:
        """The form that the settings ask for; `is_small`: the planner's model is a small one."""
        if context.direct_arguments:
            return cls.DIRECT
        justified = not is_small if context.justify is None else context.justify
        return cls.JUSTIFIED if justified else cls.SHORT

    @classmethod
    def asked_in(cls, message: str) -> StepForm | None:
        """The form that a message to the planner asks for at its end; None if it asks for none."""
        asked = message.rpartition(_ASKS)[2]
        return next((form for form in cls if asked.startswith(f"{form.labels}.")), None)

    @property
    def is_direct(self) -> bool:
        return self is StepForm.DIRECT

    @property
    def labels(self) -> str:
        """The labels as a list in words."""
        return " and ".join((", ".join(self.value[:-1]), self.value[-1]))

    def request(self, names: str) -> str:
        """Ask for a reply in this form; `names` are the tools that may be chosen."""
        count = {2: "two", 3: "three", 4: "four"}[len(self.value)]
        short = "" if self.is_direct else ", each short and without formulas"
        lines = "\n".join(f"{label}: {_SAYS[label]}" for label in self.value).format(names=names)
        return f"Reply with exactly these {count} lines and nothing else{short}:\n{lines}"


_SAYS = {
    "Justification": "why this step comes next",
    "Context": "the numbers, names and earlier results that this step needs",
    "Sub-Goal": "what this one step must find out or compute",
    "Tool Name": "one of {names}",
    "Tool": "one of {names}",
    "Input": "what the tool is given, as it is",
}
"""What stands behind a label."""


_EXAMPLES_SHOWN = 4
"""Maximum per tool. From examples small models learn the reply format, and which question calls for which tool."""


def _examples(tools: Sequence[BaseTool], form: StepForm) -> str:
    """Example replies from the tools' cards."""
    replies = [
        "\n".join(
            (
                f"Question: {example.question}",
                *([f"Result: {example.given}"] if example.given else []),
                step_reply(form, example.reason, example.context, example.sub_goal, name),
            )
        )
        for name, example in _in_turn({tool.name: card_of(tool).examples for tool in tools})
    ]
    return "Examples:\n\n" + "\n\n".join(replies) if replies else ""


def step_reply(form: StepForm, justification: str, context: str, sub_goal: str, tool: str) -> str:
    """A step in the form of the planner's reply, which is not the direct one."""
    says = {"Justification": justification, "Context": context, "Sub-Goal": sub_goal, "Tool Name": tool}
    return "\n".join(f"{label}: {says[label]}" for label in form.value)


def _in_turn(examples: Mapping[str, Sequence[Example]]) -> list[tuple[str, Example]]:
    """Examples with their tool, alternating between tools: a tool whose examples come last is overused."""
    return [
        (name, example)
        for place in range(_EXAMPLES_SHOWN)
        for name, own in examples.items()
        for example in own[place : place + 1]
    ]


def _example_runs(tools: Sequence[BaseTool], *, can_finish: bool, max_turns: int) -> list[AnyMessage]:
    """Examples as whole runs in the form of the transcript, for a planner that writes the tools' input itself.

    From runs a small model learns the form of a reply, to take a second step, and to end (docs/measured.md, "Examples
    as runs").
    """
    known = {tool.name: card_of(tool).examples for tool in tools}
    whole = {name: [example for example in own if example.result] or own for name, own in known.items()}
    messages: list[AnyMessage] = []
    for name, example in _in_turn(whole):
        first = Step(name, example.reason, example.context, example.sub_goal, example.input, example.result)
        steps = (first, *example.then)
        if len(steps) > max_turns:
            continue
        messages.append(example_request(_opening(example.question, max_turns, StepForm.DIRECT)))
        for left, step in zip(range(max_turns - 1, -1, -1), steps, strict=False):
            messages.append(example_reply(f"Tool: {step.tool}\nInput: {step.input}"))
            if step.result and left:
                ending = _how_to_go_on(left, StepForm.DIRECT, can_finish=can_finish)
                messages.append(example_request(f"Result: {step.result}\nAccepted.\n{ending}"))
        if can_finish and messages[-1].type == "human":
            messages.append(example_reply(f"Tool: {FINISH}\nInput: nothing"))
    return messages


_PLANNER = """You are the planner of a team that answers questions with tools. You choose the next step; others carry \
it out, check it and write the answer."""


def planner_opening(
    tools: Sequence[BaseTool], *, form: StepForm, can_finish: bool, max_turns: int, wording: Wording = STANDARD
) -> list[AnyMessage]:
    """What the planner's transcript begins with, the same for all questions, so that all runs share it.

    The system message; where the planner itself writes the tools' input, example runs after it.
    """
    names = ", ".join(tool.name for tool in tools)
    rules = [
        "A step is one use of one tool. Look up one fact at a time; let one program do a whole computation at once.",
        "Facts come from the question or from results, never from memory: a fact that is not there has to be looked "
        "up.",
        "Build on results you already have; never repeat a step that worked.",
        "When a step failed or was rejected, change the sub-goal, its wording or the tool.",
    ]
    if can_finish:
        names += f", {FINISH}"
        rules.append(f"When the last result answers the question, choose the tool {FINISH}.")
    request = form.request(names)
    examples = "" if form.is_direct else _examples(tools, form)
    system = wording.system(
        "planner",
        standard=(_PLANNER, _toolbox(tools), "\n".join(rules), request, examples),
        fixed=(_toolbox(tools), request, examples),
    )
    runs = _example_runs(tools, can_finish=can_finish, max_turns=max_turns) if form.is_direct else ()
    return [system, *runs]


def planner_messages(
    opening: Sequence[AnyMessage], state: State, conversation: str, max_turns: int, *, form: StepForm
) -> list[AnyMessage]:
    """The planner's transcript so far, after `planner_opening`.

    Captured tokens travel with their message (`additional_kwargs["captured"]`), so that the policy can extend the exact
    tokens instead of encoding the text again.
    """
    asked = _opening(state["question"], max_turns, form, before=conversation, analysis=state.get("analysis", ""))
    messages: list[AnyMessage] = [*opening, HumanMessage(asked)]
    captured = state.get("planner_turns", [])
    for index, turn in enumerate(state.get("memory", [])):
        tokens = {"captured": captured[index]} if index < len(captured) else {}
        messages.append(AIMessage(turn["reply"], additional_kwargs=tokens))
        messages.append(HumanMessage(turn["observation"]))
    return messages


def _opening(question: str, max_turns: int, form: StepForm, *, before: str = "", analysis: str = "") -> str:
    """The message that begins a run."""
    told = f"\n\nAnalysis: {analysis}" if analysis else ""
    return f"{before}Question: {question}{told}\n\n{turns_left(max_turns, form)}"


def turns_left(count: int, form: StepForm) -> str:
    """The sentence with the planner's budget and, because small models drift, the format of its reply.

    It never mentions seconds: they would make runs irreproducible.
    """
    return f"Turns left: {count}{' (the last)' if count == 1 else ''}. {_ASKS}{form.labels}."


def observation(
    calls: Sequence[ToolCall],
    error: Failure | None,
    verdict: Verdict,
    left: int,
    form: StepForm,
    *,
    other_tools: Sequence[str] = (),
    can_finish: bool = False,
) -> str:
    """The message that ends a turn in the planner's transcript.

    After a rejected step it names the `other_tools`: if only told to do something else, small models repeat themselves.
    After an accepted one it says how to finish, if the planner decides that itself (`can_finish`).
    """
    accepted, reason = verdict["accepted"], verdict["reason"]
    lines = [calls_text(calls)] if calls else []
    if error and not any(call["error"] == error for call in calls):
        lines.append(f"Step {failure_text(error)}")
    lines.append(
        f"{'Accepted' if accepted else 'Rejected'}: {reason}" if reason else ("Accepted." if accepted else "Rejected.")
    )
    ending = _how_to_go_on(left, form, can_finish=accepted and can_finish)
    if verdict["missing"]:
        ending = f"Still missing: {verdict['missing']}. {ending}"
    if not accepted and other_tools:
        ending += f" Choose another tool ({', '.join(other_tools)}), or ask this one for something else."
    lines.append(ending)
    return "\n".join(lines)


def _how_to_go_on(left: int, form: StepForm, *, can_finish: bool) -> str:
    ending = turns_left(left, form)
    if can_finish:
        how = f"reply with Tool: {FINISH}" if form.is_direct else f"choose the tool {FINISH}"
        ending += f" If this result answers the whole question, {how}; if not, take the next step."
    return ending
