"""All prompts.

Each prompt starts with what never changes, followed by the question and then by what grows, so that servers can reuse
the common prefix. The planner's prompt is a transcript: turn t+1 is turn t, the planner's reply, and one message with
the outcome. Nothing that was sent is ever rewritten (AgentFlow, section 3.1; the roles follow its appendix on prompts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import BaseTool

from graph.checks.plans import Doubts
from graph.memory import accepted_turns
from graph.rendering import arguments_text, calls_text, clip, failure_text, results_text, step_text
from graph.state import FINISH, Failure, Plan, State, ToolCall, Verdict
from graph.wording import STANDARD, Wording
from tools.card import card_of, fence_of


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


def analyst_messages(question: str, conversation: str, wording: Wording = STANDARD) -> list[BaseMessage]:
    """Ask for the analysis of a question.

    The prompt does not list the tools: a small analyst would discuss them, and the planner would take that as a choice.
    """
    return [wording.system("analyst", standard=(_ANALYST,)), HumanMessage(f"{conversation}Question: {question}")]


_STEP_FORMAT = """Reply with exactly these four lines and nothing else, each short and without formulas:
Justification: why this step comes next
Context: the numbers, names and earlier results that this step needs
Sub-Goal: what this one step must find out or compute
Tool Name: one of {names}"""

_DIRECT_FORMAT = """Reply with exactly these two lines and nothing else:
Tool: one of {names}
Input: what the tool is given, as it is"""


_EXAMPLES_SHOWN = 3
"""Maximum per tool. From examples small models learn the reply format, and which question calls for which tool."""


_FINISHED = f"Question: What is 17 * 3 + 2?\nResult: 53\nTool: {FINISH}\nInput: nothing"


def _examples(tools: Sequence[BaseTool], *, direct: bool, can_finish: bool) -> str:
    """Example replies from the tools' cards, alternating between tools: a tool whose examples come last is overused."""
    replies = []
    for place in range(_EXAMPLES_SHOWN):
        for tool in tools:
            for example in card_of(tool).examples[place : place + 1]:
                if direct:
                    replies.append(f"Question: {example.question}\nTool: {tool.name}\nInput: {example.input}")
                else:
                    replies.append(
                        f"Question: {example.question}\nJustification: {example.reason}\nContext: {example.context}\n"
                        f"Sub-Goal: {example.sub_goal}\nTool Name: {tool.name}"
                    )
    if replies and direct and can_finish:
        replies.append(_FINISHED)
    return "Examples:\n\n" + "\n\n".join(replies) if replies else ""


_PLANNER = """You are the planner of a team that answers questions with tools. You choose the next step; others carry \
it out, check it and write the answer."""


def planner_system(
    tools: Sequence[BaseTool], *, direct: bool, can_finish: bool, wording: Wording = STANDARD
) -> SystemMessage:
    """The planner's system message; it is the same for all questions, so all runs share it."""
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
    form = (_DIRECT_FORMAT if direct else _STEP_FORMAT).format(names=names)
    examples = _examples(tools, direct=direct, can_finish=can_finish)
    return wording.system(
        "planner",
        standard=(_PLANNER, _toolbox(tools), "\n".join(rules), form, examples),
        fixed=(_toolbox(tools), form, examples),
    )


def planner_messages(
    system: SystemMessage, state: State, conversation: str, max_turns: int, *, direct: bool
) -> list[AnyMessage]:
    """The planner's transcript so far.

    Captured tokens travel with their message (`additional_kwargs["captured"]`), so that the policy can extend the exact
    tokens instead of encoding the text again.
    """
    analysis = state.get("analysis", "")
    opening = f"{conversation}Question: {state['question']}"
    if analysis:
        opening += f"\n\nAnalysis: {analysis}"
    messages: list[AnyMessage] = [system, HumanMessage(f"{opening}\n\n{turns_left(max_turns, direct=direct)}")]
    captured = state.get("planner_turns", [])
    for index, turn in enumerate(state.get("memory", [])):
        tokens = {"captured": captured[index]} if index < len(captured) else {}
        messages.append(AIMessage(turn["reply"], additional_kwargs=tokens))
        messages.append(HumanMessage(turn["observation"]))
    return messages


def turns_left(count: int, *, direct: bool) -> str:
    """The sentence with the planner's budget and, because small models drift, the format of its reply.

    It never mentions seconds: they would make runs irreproducible.
    """
    lines = "Tool and Input" if direct else "Justification, Context, Sub-Goal and Tool Name"
    return f"Turns left: {count}{' (the last)' if count == 1 else ''}. Plan the next step: {lines}."


@dataclass(frozen=True)
class Facts:
    """Facts for writing a tool's input."""

    question: str
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
    goal = "" if doubts.leave_out_question else f"Question (for reference): {facts.question}\n\n"
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


_VERIFIER = """You check the work of a team that answers a question with tools. Judge the last turn and decide what \
comes next.

First say what the results tell about the question, in a few words.
Accept the last turn if its result helps with the answer. Reject it only if it does not help at all.
Then give the answer to the question, in the form it asks for: one name, number, date or expression. It is unknown as \
long as a fact is missing or a number is not computed yet: a sum, a difference or a product must be computed by a \
tool, never by you.
Then name what is missing. Stop if nothing is missing. Continue if anything is."""

_VERDICT_FORM = """\
Reply with a JSON object: "reason" is what the results tell, "result" is accept or reject, "answer" is the answer or \
unknown, "missing" is what still has to be found or computed, "next" is stop or continue."""

_VERDICT_EXAMPLES = """Examples:

Question: Who designed the Forth Bridge?
Turn 1 (the last, to be judged): search: Find the designer of the Forth Bridge
Result: [1] Forth: The Forth is a river in Scotland.
{"reason": "the passage is about a river", "result": "reject", "answer": "unknown", "missing": "the designer of the \
bridge", "next": "continue"}

Question: How many people live in the capital of Peru?
Turn 1 (the last, to be judged): search: Find the capital of Peru
Result: [1] Peru: A country in South America. Its capital and largest city is Lima. [2] Cusco: An old city.
{"reason": "the capital of Peru is Lima", "result": "accept", "answer": "unknown", "missing": "how many people live \
in Lima", "next": "continue"}

Question: When was the owner of the Tay Ferry dissolved?
Turn 1 (the last, to be judged): search: Find when the owner of the Tay Ferry was dissolved
Result: [1] Tay Ferry: It was bought by the Moir Group. [2] Clyde Ferry: The company was dissolved in 1953.
{"reason": "the owner is the Moir Group; 1953 is about the Clyde Ferry", "result": "accept", "answer": "unknown", \
"missing": "when the Moir Group was dissolved", "next": "continue"}

Question: How many years older is the Tower Bridge than the Forth Bridge?
Turn 1 (the last, to be judged): search: Find when both bridges were built
Result: [1] Tower Bridge: built in 1894. [2] Forth Bridge: built in 1890.
{"reason": "1894 and 1890, the difference is not computed", "result": "accept", "answer": "unknown", "missing": \
"1894 - 1890", "next": "continue"}

Question: What is 6 * 7 + 3?
Turn 1 (the last, to be judged): python: Compute 6 * 7
Result: 42
{"reason": "6 * 7 is 42, 3 is not added", "result": "accept", "answer": "unknown", "missing": "42 + 3", "next": \
"continue"}

Question: What is 17 * 3 + 2?
Turn 1 (the last, to be judged): python: Compute 17 * 3 + 2
Result: 53
{"reason": "17 * 3 + 2 is 53", "result": "accept", "answer": "53", "missing": "nothing", "next": "stop"}

Question: How can 2, 5 and 9 be combined by + - * / into 13?
Turn 1 (the last, to be judged): python: Find an expression of 2, 5 and 9 whose value is 13
Result: (2 * 9) - 5
{"reason": "(2 * 9) - 5 is 13", "result": "accept", "answer": "(2 * 9) - 5", "missing": "nothing", "next": "stop"}

Question: Who designed the Forth Bridge?
Turn 1 (the last, to be judged): search: Forth Bridge designer
Result: [1] Forth Bridge: It was built in 1890. The designers were John Fowler and Benjamin Baker. [2] Forth: A river.
{"reason": "the designers were John Fowler and Benjamin Baker", "result": "accept", "answer": "John Fowler and \
Benjamin Baker", "missing": "nothing", "next": "stop"}"""


def verifier_messages(state: State, conversation: str, wording: Wording = STANDARD) -> list[BaseMessage]:
    """Ask for a verdict on the turn in progress, given the memory."""
    plan = state.get("plan")
    assert plan is not None
    lines = [f"{conversation}Question: {state['question']}"]
    for number, turn in enumerate(state.get("memory", []), 1):
        mark = "accepted" if turn["verdict"]["accepted"] else "rejected"
        lines.append(f"Turn {number} ({mark}): {step_text(turn)}")
    number = len(state.get("memory", [])) + 1
    lines.append(f"Turn {number} (the last, to be judged): {plan['tool_name']}: {plan['sub_goal'] or plan['input']}")
    lines.append(
        "\n".join(
            f"Called with: {clip(arguments_text(call), 600)}\n{calls_text([call])}" for call in state.get("calls", [])
        )
    )
    lines.append(f"As far as these results tell: {state['question']}")  # small models forget what stands far above
    system = wording.system("verifier", standard=(_VERIFIER, _VERDICT_FORM, _VERDICT_EXAMPLES), fixed=(_VERDICT_FORM,))
    return [system, HumanMessage("\n\n".join(lines))]


_GENERATOR = """You write the final answer to a question from the results that a team has found and checked.

Trust the results more than your memory. Give the answer in the form the question asks for: a name, a number, a date, \
an expression, yes or no, the letter of an option. Where an expression with a given value is asked for, the answer is \
the expression, not the value. No explanation, no sentence around it, no unit unless asked for."""

_ANSWER_FORM = "Reply with one line:\nAnswer: the answer"

_REPORT = """You write a report on how a question was answered, from the results that a team has found and checked.

Open with the answer in one sentence. Then explain how it follows, step by step, naming the source of every fact. Say \
what remains uncertain. Use only the results below; where they are silent, say so."""


_STRUCTURE = """You fill in a form about a question from the answer and the results that a team has found and checked. \
Use only what stands there."""


Part = Literal["answer", "report", "structured_response"]
"""What the generator writes."""


def generator_messages(
    part: Part,
    state: State,
    conversation: str,
    *,
    limit: int,
    trust_verifier: bool = True,
    schema: str = "",
    wording: Wording = STANDARD,
) -> list[BaseMessage]:
    """Ask the generator for one part of its output, from accepted turns only.

    Args:
        part: What to write. The prompts of all parts but the answer include the answer.
        state: The run.
        conversation: Earlier exchanges.
        limit: Characters shown of each result.
        trust_verifier: Whether to include the verifier's reading of the results.
        schema: JSON schema of the structured response.
        wording: The application's own wording.
    """
    facts = results_text(accepted_turns(state), limit)
    if not facts:
        facts = "The tools found nothing that held. Answer from your own knowledge, with your best guess."
    text = f"{conversation}Question: {state['question']}\n\nResults:\n{facts}"
    if (accepted := accepted_turns(state)) and trust_verifier:
        verdict = accepted[-1]["verdict"]
        if verdict["answer"]:
            text += f"\n\nThe verifier reads from them that the answer is: {verdict['answer']}"
        elif verdict["source"] == "model":
            text += f"\n\nThe verifier's reading of them: {verdict['reason']}"
    if part != "answer":
        text += f"\n\nAnswer: {state.get('answer', '')}"
    if part == "report":
        system = wording.system("report", standard=(_REPORT,))
    elif part == "answer":
        system = wording.system("generator", standard=(_GENERATOR, _ANSWER_FORM), fixed=(_ANSWER_FORM,))
    else:
        form = f"Reply with a JSON value that follows this schema, and nothing else:\n{schema}"
        system = wording.system("generator", standard=(_STRUCTURE, form), fixed=(form,))
    return [system, HumanMessage(text)]


def direct_messages(question: str) -> list[BaseMessage]:
    """Ask the bare model, without tools and turns, for comparison."""
    return [
        SystemMessage("Answer the question. Think step by step, briefly; then end with one line:\nAnswer: the answer"),
        HumanMessage(f"Question: {question}"),
    ]


def observation(
    calls: Sequence[ToolCall],
    error: Failure | None,
    verdict: Verdict,
    left: int,
    *,
    direct: bool,
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
    ending = turns_left(left, direct=direct)
    if accepted and can_finish:
        how = f"reply with Tool: {FINISH}" if direct else f"choose the tool {FINISH}."
        ending += f" If this result is the answer already, {how}"
    if verdict["missing"]:
        ending = f"Still missing: {verdict['missing']}. {ending}"
    if not accepted and other_tools:
        ending += f" Choose another tool ({', '.join(other_tools)}), or ask this one for something else."
    lines.append(ending)
    return "\n".join(lines)
