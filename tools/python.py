"""The `python` tool: code that the executor wrote, run in a sandbox, its output and last value returned as text."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from tools.card import Example, ToolCard
from tools.sandbox import Limits, Sandbox
from tools.text import Text

if TYPE_CHECKING:
    from tools.sandbox import SandboxResult

_START_ALLOWANCE = 20.0
"""Seconds added to the tool's time limit as others see it: under load a sandbox starts slowly, off the clock."""
_SHOWN_CHARS = 1000
"""How much of what was printed before a failure the planner is shown."""

_FENCE = re.compile(
    r"\s*```[ \t]*(?:python3?|py)?[ \t]*\r?\n(?P<code>.*?)\n?(?:(?<=\n)[ \t]*```)?\s*", re.DOTALL | re.IGNORECASE
)

_SEARCH = """\
from itertools import permutations

def expressions(numbers):
    if len(numbers) == 1:
        yield str(numbers[0])
    for i in range(1, len(numbers)):
        for left in expressions(numbers[:i]):
            for right in expressions(numbers[i:]):
                yield from (f"({left} {sign} {right})" for sign in "+-*/")

def search(numbers, target):
    for order in permutations(numbers):
        for text in expressions(order):
            try:
                if abs(eval(text) - target) < 1e-9:
                    return text
            except ZeroDivisionError:
                pass

print(search([2, 5, 9], 13))"""

CARD = ToolCard(
    input="Python code that prints its result",
    examples=(
        Example(
            question="On which day of the week was 4 July 1976?",
            reason="The date is given, so it can be computed.",
            context="4 July 1976",
            sub_goal="Compute the day of the week of 4 July 1976",
            input="from datetime import date; print(date(1976, 7, 4).strftime('%A'))",
        ),
        Example(
            question="What is 31 * (47 + 8**3) / 13?",
            reason="The numbers are given, so it can be computed.",
            context="31 * (47 + 8**3) / 13",
            sub_goal="Compute 31 * (47 + 8**3) / 13",
            input="print(31 * (47 + 8**3) / 13)",
            result="1333.0",
        ),
        Example(
            question="How many of the whole numbers from 20 to 90 are squares?",
            reason="The limits are given, so it can be computed.",
            context="20, 90",
            sub_goal="Count the squares from 20 to 90",
            input="print(sum(1 for n in range(1, 10) if 20 <= n * n <= 90))",
        ),
        Example(
            question="How many years after the Eiffel Tower was the film Metropolis finished?",
            reason="Both years are known from the results, so the difference can be computed.",
            given="[1] Eiffel Tower: It was built in 1889. [2] Metropolis: A film of 1927.",
            context="Eiffel Tower 1889, film Metropolis 1927",
            sub_goal="Compute 1927 - 1889",
            input="print(1927 - 1889)",
        ),
    ),
    limitations=("It knows no facts: names, places, events and figures have to be looked up with a search tool.",),
    programs=(
        Example(
            question="How can 2, 5 and 9 be combined by + - * / into 13?",
            reason="A program can try all combinations.",
            context="2, 5, 9 and the value 13",
            sub_goal="Find an expression of 2, 5 and 9 whose value is 13",
            input=_SEARCH,
        ),
        Example(
            question="How many years older is the Forth Bridge than the Tower Bridge?",
            reason="Both years are known from the results.",
            context="Tower Bridge, Forth Bridge",
            sub_goal="Compute how many years older the Forth Bridge is",
            given=(
                "[1] Tower Bridge\nThe Tower Bridge was built in 1894.\n"
                "[2] Forth Bridge\nThe Forth Bridge was built in 1890."
            ),
            input=(
                "tower_bridge_built = 1894\nforth_bridge_built = 1890\nprint(tower_bridge_built - forth_bridge_built)"
            ),
        ),
        Example(
            question="How many hens does the farm of Elmsted have?",
            reason="The result tells it.",
            context="farm of Elmsted",
            sub_goal="Find the number of hens",
            given="[1] Elmsted\nIts farm has 900 hens and sells 40 boxes of 12 eggs a day, on 5 days a week.",
            input="hens = 900\nprint(hens)",
        ),
        Example(
            question="Which was built first, the Tower Bridge or the Forth Bridge?",
            reason="Both years are known from the results.",
            context="Tower Bridge, Forth Bridge",
            sub_goal="Find the bridge that was built first",
            given=(
                "[1] Tower Bridge\nThe Tower Bridge was built in 1894.\n"
                "[2] Forth Bridge\nThe Forth Bridge was built in 1890."
            ),
            input='built = {"Tower Bridge": 1894, "Forth Bridge": 1890}\nprint(min(built, key=built.get))',
        ),
        Example(
            question="On which day of the week was the Tower Bridge opened?",
            reason="The date is known from the result.",
            context="Tower Bridge",
            sub_goal="Find the day of the week",
            given="[1] Tower Bridge\nThe Tower Bridge in London was opened on 30 June 1894.",
            input='from datetime import date\n\nprint(date(1894, 6, 30).strftime("%A"))',
        ),
        Example(
            question="Are there more hens in Elmsted than in Ashby? Answer yes or no.",
            reason="Both numbers are known from the results.",
            context="hens, Elmsted, Ashby",
            sub_goal="Compare the numbers of hens",
            given="[1] Elmsted\nIts farm has 900 hens.\n[2] Ashby\nA village with 1,200 hens.",
            input='hens_elmsted = 900\nhens_ashby = 1200\nprint("yes" if hens_elmsted > hens_ashby else "no")',
        ),
        Example(
            question="How many eggs does the farm of Elmsted sell in a week?",
            reason="The numbers are known from the result.",
            context="farm of Elmsted, boxes of eggs",
            sub_goal="Compute the eggs of a week",
            given="[1] Elmsted\nIts farm has 900 hens and sells 40 boxes of 12 eggs a day, on 5 days a week.",
            input=(
                "boxes_a_day = 40\neggs_in_a_box = 12\ndays_a_week = 5\n"
                "print(boxes_a_day * eggs_in_a_box * days_a_week)"
            ),
        ),
    ),
    best_practices=(
        "Each program stands alone, computes exactly, and prints only the result.",
        "Write figures from earlier results into the program exactly as they stand there.",
    ),
)


class PythonInput(BaseModel):
    """What the tool is called with."""

    code: Text = Field(description="A complete Python program that prints its result.")


def make_python_tool(*, time_limit: float = 20.0, memory_mb: int = 1024, sandbox: Sandbox | None = None) -> BaseTool:
    """The tool, served to `invoke` and `ainvoke` alike; cancelling the latter kills the code.

    The code runs as `tools.sandbox` describes. The tool answers with what was printed, then the value of a last
    expression. Code that fails, exceeds a limit or yields nothing raises `ToolException` with what to mend; a machine
    without sandbox raises `SandboxUnavailable` at the first call.

    Args:
        time_limit: seconds of wall time for the code.
        memory_mb: MiB of memory for all of its processes together.
        sandbox: where it runs; its own limits then stand in the place of the two above.

    Raises:
        ValueError: a limit is no usable number.
    """
    if sandbox is None:
        sandbox = Sandbox(Limits(seconds=time_limit, memory_mb=memory_mb))

    def run(code: str) -> str:
        return _answer(sandbox.run(strip_fence(code)), sandbox.limits)

    async def arun(code: str) -> str:
        return _answer(await sandbox.arun(strip_fence(code)), sandbox.limits)

    return StructuredTool.from_function(
        func=run,
        coroutine=arun,
        name="python",
        description=(
            "Runs Python code and returns what it prints. For calculation, algebra, counting, dates, simulation and "
            "search over many cases. The standard library, sympy and numpy are there; no network, no files."
        ),
        args_schema=PythonInput,
        metadata={"card": CARD, "time_limit": sandbox.limits.seconds + _START_ALLOWANCE, "fence": "python"},
    )


def strip_fence(code: str) -> str:
    """The code within a Markdown fence that encloses the whole text (its end may be cut off); else the text itself."""
    fenced = _FENCE.fullmatch(code)
    return fenced["code"] if fenced else code


def _answer(result: SandboxResult, limits: Limits) -> str:
    if result.outcome != "ok":
        raise ToolException(_failure(result, limits) + _printed(result))
    shown = [text for text in (result.stdout.rstrip(), result.value) if text]
    if not shown:
        warned = f"\nOn standard error:\n{result.stderr.strip()[-_SHOWN_CHARS:]}" if result.stderr.strip() else ""
        raise ToolException(f"The code ran without error but printed nothing: print the result.{warned}")
    return "\n".join(shown)


def _failure(result: SandboxResult, limits: Limits) -> str:
    """One sentence on what went wrong and what to do, followed by the traceback if there is one."""
    out_of_memory = f"The code needed more than {limits.memory_mb} MB of memory and was stopped: keep less at a time."
    if result.outcome == "time":
        return f"The code ran longer than {limits.seconds:g} s and was stopped: use a faster method or smaller numbers."
    if result.outcome == "memory":
        return out_of_memory
    if result.outcome == "output":
        return f"The code printed more than {limits.output_kb} KB and was stopped: print only the result."
    if result.outcome == "files":
        return "The code made too many files and was stopped: keep the data in memory."
    if result.error is not None:
        if result.error.type == "MemoryError":
            return f"{out_of_memory}\n{result.error.traceback}"
        where = f" in line {result.error.line}" if result.error.line else ""
        what = f"{result.error.type}: {result.error.message}" if result.error.message else result.error.type
        return f"The code failed{where} with {what}\n{result.error.traceback}"
    return _crash(result.exit_code)


def _crash(exit_code: int) -> str:
    if exit_code <= 128:
        return f"The code ended the interpreter with exit code {exit_code} before it was done."
    try:
        name = signal.Signals(exit_code - 128).name
    except ValueError:
        name = f"signal {exit_code - 128}"
    return f"The Python interpreter died of {name}: most often too deep a recursion, or too much memory in one step."


def _printed(result: SandboxResult) -> str:
    text = result.stdout.strip()
    if not text:
        return ""
    if result.outcome == "output":
        return f"\nIt began with:\n{text[:_SHOWN_CHARS]}"
    clipped = "..." if len(text) > _SHOWN_CHARS else ""
    return f"\nPrinted before that:\n{clipped}{text[-_SHOWN_CHARS:]}"
