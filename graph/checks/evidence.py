"""What verdicts and answers are compared with: the question, the chat and the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.tools import BaseTool

from graph.checks.questions import names_in
from graph.memory import accepted_results, accepted_turns, chat_texts
from graph.rendering import arguments_text
from graph.state import Failure, State
from tools.card import card_of, fence_of


@dataclass(frozen=True)
class Evidence:
    """The texts an answer must come from."""

    question: str
    new: tuple[str, ...]
    """Results of the step being judged."""
    old: tuple[str, ...]
    """Accepted results of earlier steps."""
    passages: bool
    """Whether the step's results are passages from a search (`ToolCard.quotes_sources`)."""
    inputs: tuple[str, ...] = ()
    """The arguments of the calls that gave the results."""
    said: tuple[str, ...] = ()
    """The texts of the chat, the question among them."""
    asked_for: tuple[str, ...] = ()
    """What the verdicts before named as missing."""
    tool: str = ""
    """The name of the step's tool."""
    failed: Failure | None = None
    """Why the step has no result."""
    searched: bool = False
    """Whether an earlier step was a search."""
    unwritten: bool = False
    """Whether the arguments of an earlier program were refused, so that none was run."""
    computes_with: str = ""
    """The name of the tool that runs Python programs, if there is one."""
    searches_with: str = ""
    """The name of a search tool that takes plain words, if there is one: the step's own, or the first."""

    @classmethod
    def of(cls, state: State, tools: Sequence[BaseTool], failed: Failure | None = None) -> Evidence:
        """Collect the evidence from a state.

        Args:
            state: The state, with the step in progress.
            tools: The tools of the run.
            failed: Why the step has no result.
        """
        plan, memory = state.get("plan"), state.get("memory", [])
        tool = plan["tool_name"] if plan is not None else ""
        calls = state.get("calls", [])
        programs = [one.name for one in tools if fence_of(one) == "python"]
        searches = {one.name for one in tools if card_of(one).quotes_sources}
        plain = [one.name for one in tools if card_of(one).plain_words]
        earlier = [call for turn in accepted_turns(state) for call in turn["calls"]]
        made = [call for call in (*calls, *earlier) if call["error"] is None]
        return cls(
            question=state["question"],
            new=tuple(call["result"] for call in calls if call["error"] is None),
            old=tuple(accepted_results(state)),
            passages=tool in searches,
            said=tuple(chat_texts(state)),
            inputs=tuple(arguments_text(call) for call in made),
            asked_for=tuple(turn["verdict"]["missing"] for turn in memory),
            tool=tool,
            failed=failed,
            searched=any(turn["plan"]["tool_name"] in searches for turn in memory),
            unwritten=any(
                turn["plan"]["tool_name"] in programs and turn["error"] and turn["error"]["kind"] == "arguments"
                for turn in memory
            ),
            computes_with=next(iter(programs), ""),
            searches_with=tool if tool in plain else next(iter(plain), ""),
        )

    @property
    def can_be_looked_up(self) -> bool:
        """Whether the question names something, there is a search for it, and nothing was searched for yet."""
        return bool(self.searches_with and not self.searched and names_in(self.question))

    @property
    def results(self) -> tuple[str, ...]:
        """All results."""
        return self.new + self.old

    @property
    def texts(self) -> tuple[str, ...]:
        """The question, the chat and all results."""
        return (self.question, *self.said, *self.results)
