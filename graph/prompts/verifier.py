"""The verifier's prompt."""

from __future__ import annotations

from langchain_core.messages import BaseMessage, HumanMessage

from graph.rendering import arguments_text, calls_text, clip, step_text
from graph.state import State, ToolCall
from graph.wording import STANDARD, Wording

_VERIFIER = """You check the work of a team that answers a question with tools. Judge the last turn and decide what \
comes next.

First say what the results tell about the question, in a few words.
Accept the last turn if its result helps with the answer. Reject it only if it does not help at all.
Then give the answer to the question, in the form it asks for: one name, number, date or expression. It is unknown as \
long as a fact is missing or a number is not computed yet: a sum, a difference or a product must be computed by a \
tool, never by you.
Then name what is missing. The team stops when nothing is."""

_VERDICT_FORM = """\
Reply with a JSON object: "reason" is what the results tell, "result" is accept or reject, "answer" is the answer or \
unknown, "missing" is what still has to be found or computed, or nothing."""

_VERDICT_EXAMPLES = """Examples:

Question: Who designed the Forth Bridge?
Turn 1 (the last, to be judged): search: Find the designer of the Forth Bridge
Result: [1] Forth: The Forth is a river in Scotland.
{"reason":"the passage is about a river","result":"reject","answer":"unknown","missing":"the designer of the bridge"}

Question: How many people live in the capital of Peru?
Turn 1 (the last, to be judged): search: Find the capital of Peru
Result: [1] Peru: A country in South America. Its capital and largest city is Lima. [2] Cusco: An old city.
{"reason":"the capital of Peru is Lima","result":"accept","answer":"unknown","missing":"how many people live in Lima"}

Question: When was the owner of the Tay Ferry dissolved?
Turn 1 (the last, to be judged): search: Find when the owner of the Tay Ferry was dissolved
Result: [1] Tay Ferry: It was bought by the Moir Group. [2] Clyde Ferry: The company was dissolved in 1953.
{"reason":"the owner is the Moir Group; 1953 is about the Clyde Ferry",\
"result":"accept","answer":"unknown","missing":"when the Moir Group was dissolved"}

Question: How many years older is the Tower Bridge than the Forth Bridge?
Turn 1 (the last, to be judged): search: Find when both bridges were built
Result: [1] Tower Bridge: built in 1894. [2] Forth Bridge: built in 1890.
{"reason":"1894 and 1890, the difference is not computed","result":"accept","answer":"unknown",\
"missing":"1894 - 1890"}

Question: What is 6 * 7 + 3?
Turn 1 (the last, to be judged): python: Compute 6 * 7
Result: 42
{"reason":"6 * 7 is 42, 3 is not added","result":"accept","answer":"unknown","missing":"42 + 3"}

Question: What is 17 * 3 + 2?
Turn 1 (the last, to be judged): python: Compute 17 * 3 + 2
Result: 53
{"reason":"17 * 3 + 2 is 53","result":"accept","answer":"53","missing":"nothing"}

Question: How can 2, 5 and 9 be combined by + - * / into 13?
Turn 1 (the last, to be judged): python: Find an expression of 2, 5 and 9 whose value is 13
Result: (2 * 9) - 5
{"reason":"(2 * 9) - 5 is 13","result":"accept","answer":"(2 * 9) - 5","missing":"nothing"}

Question: Who designed the Forth Bridge?
Turn 1 (the last, to be judged): search: Forth Bridge designer
Result: [1] Forth Bridge: It was built in 1890. The designers were John Fowler and Benjamin Baker. [2] Forth: A river.
{"reason":"the designers were John Fowler and Benjamin Baker","result":"accept",\
"answer":"John Fowler and Benjamin Baker","missing":"nothing"}"""


def verifier_messages(state: State, conversation: str, wording: Wording = STANDARD) -> list[BaseMessage]:
    """Ask for a verdict on the turn in progress, given the memory."""
    plan = state.get("plan")
    assert plan is not None
    lines = [f"{conversation}Question: {state['question']}"]
    for number, turn in enumerate(state.get("memory", []), 1):
        mark = "accepted" if turn["verdict"]["accepted"] else "rejected"
        lines.append(f"Turn {number} ({mark}): {step_text(turn)}")
    number = len(state.get("memory", [])) + 1
    aim = plan["sub_goal"] or plan["input"]
    lines.append(f"Turn {number} (the last, to be judged): {plan['tool_name']}: {aim}")
    lines.append("\n".join(_call_text(call, aim) for call in state.get("calls", [])))
    lines.append(f"As far as these results tell: {state['question']}")  # small models forget what stands far above
    system = wording.system("verifier", standard=(_VERIFIER, _VERDICT_FORM, _VERDICT_EXAMPLES), fixed=(_VERDICT_FORM,))
    return [system, HumanMessage("\n\n".join(lines))]


def _call_text(call: ToolCall, aim: str) -> str:
    """A call with its outcome; its input too, where that is not the aim itself."""
    given = arguments_text(call)
    told = "" if given == aim else f"Called with: {clip(given, 600)}\n"
    return told + calls_text([call])
