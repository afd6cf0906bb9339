"""Tool cards: what the planner and the executor are told about a tool.

A LangChain tool has a name, a description and an `args_schema`. A card adds what a planner needs to choose well: when
the tool is the wrong one, how to use it well, and examples. Cards travel in `tool.metadata["card"]`, so any LangChain
tool works without one and any tool can be given one.
"""

from __future__ import annotations

from dataclasses import dataclass

from langchain_core.tools import BaseTool

from tools.schemas import outline

DEFAULT_TIME_LIMIT = 60.0
"""Seconds a call may take when the tool's metadata names no `time_limit`."""


@dataclass(frozen=True)
class Step:
    """A step of an example, with what it found."""

    tool: str
    reason: str
    context: str
    sub_goal: str
    input: str
    result: str


@dataclass(frozen=True)
class Example:
    """One good use of a tool, told as the planner sees it: from the question to the step."""

    question: str
    """A question whose first step is this one."""
    reason: str
    """What in the question calls for this tool."""
    context: str
    """What the step is given of the question."""
    sub_goal: str
    input: str
    """What the tool is called with."""
    result: str = ""
    """What it returns, for an example that goes on."""
    given: str = ""
    """The earlier results that the step works with."""
    then: tuple[Step, ...] = ()
    """The steps that follow it, to the answer: small models take a second step once they have seen one."""

    def __post_init__(self) -> None:
        if self.then and not self.result:
            raise ValueError(f"The example {self.question!r} goes on, so it has to tell the result of its first step.")


@dataclass(frozen=True)
class ToolCard:
    """What is said about a tool beyond its description (AgentFlow, tool cards: section 3 and appendix)."""

    input: str
    """What one call is given, in words, e.g. "Python code that prints the result"."""
    examples: tuple[Example, ...] = ()
    """Good uses, the most telling first."""
    programs: tuple[Example, ...] = ()
    """Uses that only whoever writes the input is shown, as a conversation."""
    limitations: tuple[str, ...] = ()
    """When another tool is the better choice."""
    best_practices: tuple[str, ...] = ()
    """How to get good results."""
    quotes_sources: bool = False
    """Whether results are passages of texts that exist, found by their words, and not a model's own."""
    plain_words: bool = False
    """Whether a question or a sub-goal, as it is, is as good an input as key words."""
    asks_role: str = ""
    """The role whose model the tool asks by itself, if it does: its calls are counted and traced as that role's."""


_MOST_WORDS = 400
"""Characters of the argument names on a card; nested names are left out until it fits."""


def card_of(tool: BaseTool) -> ToolCard:
    """The tool's card; for a tool without one, a card made from its argument names, those of nested objects included.

    Raises:
        ValueError: the tool has no card, and no JSON schema of its arguments can be made.
    """
    card = (tool.metadata or {}).get("card")
    if isinstance(card, ToolCard):
        return card
    known = _made.get(id(tool))
    if known is None or known[0] is not tool:
        while len(_made) >= _MOST_MADE:
            _made.pop(next(iter(_made)), None)
        known = _made[id(tool)] = (tool, _made_card(tool))
    return known[1]


_MOST_MADE = 256
_made: dict[int, tuple[BaseTool, ToolCard]] = {}
"""Cards that were made, by the tool's id; every prompt asks for them. The tools are held, so that ids stay theirs."""


def _made_card(tool: BaseTool) -> ToolCard:
    from tools.arguments import arguments_of

    schema = arguments_of(tool).schema
    told = (outline(schema, depth) for depth in (4, 3, 2, 1))
    names = next((text for text in told if len(text) <= _MOST_WORDS), ", ".join(schema["properties"]))
    return ToolCard(input=names or "nothing")


def fence_of(tool: BaseTool) -> str | None:
    """The language of a tool that takes one piece of code, e.g. "python"; None for all other tools."""
    fence = (tool.metadata or {}).get("fence")
    return fence if isinstance(fence, str) else None


def time_limit_of(tool: BaseTool) -> float:
    """Seconds that one call of this tool may take."""
    limit = (tool.metadata or {}).get("time_limit", DEFAULT_TIME_LIMIT)
    return float(limit)
