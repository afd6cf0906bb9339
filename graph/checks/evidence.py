"""What verdicts and answers are compared with: the question, the chat and the results."""

from __future__ import annotations

from dataclasses import dataclass

from graph.memory import accepted_turns, chat_texts
from graph.rendering import arguments_text
from graph.state import State


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
    computes_with: str = ""
    """The name of the tool that runs Python programs, if there is one."""

    @classmethod
    def of(cls, state: State, *, passages: bool, computes_with: str = "") -> Evidence:
        """Collect the evidence from a state."""
        calls = state.get("calls", [])
        earlier = [call for turn in accepted_turns(state) for call in turn["calls"]]
        made = [call for call in (*calls, *earlier) if call["error"] is None]
        return cls(
            question=state["question"],
            new=tuple(call["result"] for call in calls if call["error"] is None),
            old=tuple(call["result"] for call in earlier if call["error"] is None),
            passages=passages,
            said=tuple(chat_texts(state)),
            inputs=tuple(arguments_text(call) for call in made),
            asked_for=tuple(turn["verdict"]["missing"] for turn in state.get("memory", [])),
            computes_with=computes_with,
        )

    @property
    def results(self) -> tuple[str, ...]:
        """All results."""
        return self.new + self.old

    @property
    def texts(self) -> tuple[str, ...]:
        """The question, the chat and all results."""
        return (self.question, *self.said, *self.results)
