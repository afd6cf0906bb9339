"""A run as it is shown in a terminal: one block per step, in the words that the page and the graph use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.status import Status
from rich.table import Table
from rich.text import Text

from graph.rendering import given_text
from graph.state import FINISH, Plan, State, Turn, Usage
from graph.words import USAGE_COLUMNS, ended_words, judged_words, planned_words

NEXT = {"planner": "executor", "executor": "verifier", "verifier": "planner", "generator": ""}
_LINES = 12
"""Lines of a result that are shown; the rest is counted."""


class RunView:
    """Prints each step when it has happened and says which module works meanwhile.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._turn = 1
        self._seconds = ""

    def __enter__(self) -> RunView:
        self._wait_for("planner")
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def _wait_for(self, module: str) -> None:
        if not self._console.is_terminal:
            return
        if self._status is None:
            self._status = self._console.status(f"{module} …")
            self._status.start()
        self._status.update(f"{module} …")

    def show(self, module: str, update: Mapping[str, Any]) -> None:
        """Print what a module has just written into the state."""
        if update.get("seconds"):
            self._seconds = f"{update['seconds']:.1f} s"
        if module == "planner":
            self._planned(update)
        elif module == "executor":
            self._executed(update)
        elif module == "verifier":
            self._judged(update["memory"][0])
        coming = "generator" if update.get("ended_by") else NEXT.get(module)
        if coming:
            self._wait_for(coming)

    def _planned(self, update: Mapping[str, Any]) -> None:
        if update.get("analysis"):
            self._console.print(
                Panel(Text(update["analysis"]), title="analysis", title_align="left", border_style="dim")
            )
        plan: Plan | None = update.get("plan")
        if plan is None:
            return
        self._console.rule(f"turn {self._turn}", align="left", style="dim")
        self._turn += 1
        self._line("planner", planned_words(plan), "red" if plan["error"] else "cyan")
        if plan["justification"] and not plan["error"] and plan["tool_name"] != FINISH:
            self._line("", plan["justification"], "dim")

    def _executed(self, update: Mapping[str, Any]) -> None:
        if (plan := update.get("plan")) and plan["error"]:
            self._line("executor", plan["error"]["message"], "red")
        for call in update["calls"]:
            self._line("executor", given_text(call), "blue")
            failed = call["error"]
            self._line("", failed["message"] if failed else call["result"], "red" if failed else "")

    def _judged(self, turn: Turn) -> None:
        verdict = turn["verdict"]
        self._line("verifier", judged_words(verdict, turn["error"]), "green" if verdict["accepted"] else "red")

    def _line(self, module: str, text: str, style: str) -> None:
        lines = text.strip().splitlines() or [""]
        if len(lines) > _LINES:
            lines = [*lines[:_LINES], f"… {len(lines) - _LINES} more lines"]
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(width=9, style="bold")
        grid.add_column(overflow="fold", ratio=1)
        grid.add_column(justify="right", style="dim")
        grid.add_row(module, Text("\n".join(lines), style=style), self._seconds if module else "")
        self._console.print(grid)

    def finish(self, state: State) -> None:
        """Print the answer and what it has cost."""
        if self._status:
            self._status.stop()
        if state.get("report"):
            self._console.print(Panel(Text(state["report"]), title="report", title_align="left"))
        answer = state.get("answer") or "(no answer)"
        self._console.print(Panel(Text(answer, style="bold"), title="answer", title_align="left", border_style="green"))
        self._console.print(usage_table(state.get("usage", {})))
        said = ended_words(len(state.get("memory", [])), state.get("seconds", 0.0), state.get("ended_by", ""))
        self._console.print(escape(said), style="dim")


def usage_table(usage: Mapping[str, Usage]) -> Table:
    """Calls, tokens and seconds of each role."""
    table = Table(box=None, pad_edge=False, header_style="dim", style="dim")
    table.add_column(USAGE_COLUMNS[0])
    for name in USAGE_COLUMNS[1:]:
        table.add_column(name, justify="right")
    for role, cost in usage.items():
        table.add_row(
            role,
            str(cost["calls"]),
            f"{cost['input_tokens']:,}",
            f"{cost['output_tokens']:,}",
            f"{cost['seconds']:.1f}",
        )
    return table
