"""What an application changes in the prompts: instructions for all roles, and the text of single roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from langchain_core.messages import SystemMessage

from graph.errors import ConfigError

Prompt = Literal["analyst", "planner", "executor", "verifier", "generator", "report"]
"""The prompts that can be replaced; `report` is the generator's when it writes one."""

PROMPTS: tuple[Prompt, ...] = get_args(Prompt)


@dataclass(frozen=True)
class Wording:
    """An application's own words.

    What a reply must look like, and what a tool is, is told all the same: without it no reply could be read.

    Raises:
        ConfigError: there is no such prompt.
    """

    instructions: str = ""
    """Stands at the end of every role's system prompt."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """By role: takes the place of what the role is told about its work, rules and examples included."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.prompts) - set(PROMPTS))
        if unknown:
            raise ConfigError(f"There is no prompt {unknown[0]!r} to replace; the prompts are {', '.join(PROMPTS)}.")

    def system(self, prompt: Prompt, *, standard: Sequence[str], fixed: Sequence[str] = ()) -> SystemMessage:
        """The system message of a role.

        Args:
            prompt: Whose.
            standard: Its paragraphs.
            fixed: The paragraphs that follow an application's own prompt, which takes the place of all others.
        """
        own = self.prompts.get(prompt)
        parts = list(standard) if own is None else [own, *fixed]
        if self.instructions:
            parts.append(f"Instructions of the application:\n{self.instructions}")
        return SystemMessage("\n\n".join(part for part in parts if part))


STANDARD = Wording()
