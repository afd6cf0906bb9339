"""Prompts of the generator, and of the bare model for comparison."""

from __future__ import annotations

from typing import Literal

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from graph.memory import accepted_turns
from graph.rendering import results_text
from graph.state import State
from graph.wording import STANDARD, Wording

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


_UNANSWERED = ("stuck", "turns")
"""Ends of a run whose results may not answer the question."""
_BEST_GUESS = "If the results do not tell the answer, give your best guess from your own knowledge."

_RECALLED = "You write the final answer to a question from your own knowledge: nothing could be looked up or computed."
_RECALLED_FORM = """Reply in JSON:
{"sentence": "one sentence that answers the question, with your best guess", "answer": "the word, name or number of \
that sentence that was asked for"}"""
RECALLED_SCHEMA = {
    "title": "recalled_answer",
    "type": "object",
    "properties": {"sentence": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["sentence", "answer"],
    "additionalProperties": False,
}

Part = Literal["answer", "recalled_answer", "report", "structured_response"]
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
        part: What to write. The prompts of a report and a structured response include the answer. A recalled answer
            is one without results: small models know more when they first write a sentence.
        state: The run.
        conversation: Earlier exchanges.
        limit: Characters shown of each result.
        trust_verifier: Whether to include the verifier's reading of the results.
        schema: JSON schema of the structured response.
        wording: The application's own wording.
    """
    if part == "recalled_answer":
        system = wording.system("generator", standard=(_RECALLED, _RECALLED_FORM), fixed=(_RECALLED_FORM,))
        return [system, HumanMessage(f"{conversation}Question: {state['question']}")]
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
    if state.get("ended_by") in _UNANSWERED:
        text += f"\n\n{_BEST_GUESS}"
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
