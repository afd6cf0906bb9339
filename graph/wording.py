"""An application's changes to the prompts: instructions for all roles, and replaced prompts of single roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from langchain_core.messages import SystemMessage

from graph.errors import ConfigError

Prompt = Literal["analyst", "planner", "executor", "verifier", "generator", "report"]
"""The prompts that can be replaced; `report` is the generator's prompt for reports."""

PROMPTS: tuple[Prompt, ...] = get_args(Prompt)


@dataclass(frozen=True)
class Wording:
    """An application's wording of the prompts.

    Reply formats and tool descriptions always stay: without them no reply could be parsed.

    Raises:
        ConfigError: there is no such prompt.
    """

    instructions: str = ""
    """Added at the end of every role's system prompt."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """By role; replaces the description of the role's work, including its rules and examples."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.prompts) - set(PROMPTS))
        if unknown:
            raise ConfigError(f"There is no prompt {unknown[0]!r} to replace; the prompts are {', '.join(PROMPTS)}.")

    def and_told(self, instructions: str) -> Wording:
        """The same with further instructions, of a chat."""
        parts = [part for part in (self.instructions, instructions) if part]
        return replace(self, instructions="\n\n".join(parts)) if instructions else self

    def changes(self, prompt: Prompt) -> bool:
        """Whether a role is told anything but the standard prompt."""
        return bool(self.instructions) or prompt in self.prompts

    def system(self, prompt: Prompt, *, standard: Sequence[str], fixed: Sequence[str] = ()) -> SystemMessage:
        """The system message of a role.

        Args:
            prompt: Which prompt.
            standard: The paragraphs of the standard prompt.
            fixed: The paragraphs that follow the application's own prompt.
        """
        own = self.prompts.get(prompt)
        parts = list(standard) if own is None else [own, *fixed]
        if self.instructions:
            parts.append(f"Instructions of the application:\n{self.instructions}")
        return SystemMessage("\n\n".join(part for part in parts if part))


STANDARD = Wording()
