"""What a graph allows in the context of a run.

A program that builds a graph and makes the contexts itself may put anything into them. A served graph gets its contexts
from whoever reaches the server, and some settings name things outside of the run: code to import, a file to read, an
address to send a key to. Those fields of `Context` are marked with `names`; in an untrusted context their values must
be names that the operator of the server gave, or model names that reach nothing of his. A kind of name without a list
is refused whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Final, Literal, TypeAlias

from graph.context import Context
from graph.errors import ConfigError
from graph.models.spec import HARMLESS_FORMS, is_harmless

TRUST: Final = "AGENTFLOW_TRUST_CONTEXT"
"""Environment variable: 1 lets whoever reaches a served graph name anything."""

Kind: TypeAlias = Literal["model", "tool", "file"]
"""What a setting marked with `names` names."""


@dataclass(frozen=True)
class Limits:
    """The limits of one graph.

    Args:
        max_turns: The most turns a context may ask for.
        own_names: What an untrusted context may name, by kind; None: contexts are trusted.
    """

    max_turns: int
    own_names: Mapping[Kind, Collection[str]] | None = None

    def check(self, context: Context) -> None:
        """Refuse a context that asks for more than the graph allows.

        Raises:
            ConfigError: it has too many turns, or names what only the operator may name.
        """
        if context.max_turns > self.max_turns:
            raise ConfigError(
                f"The setting `max_turns` is {context.max_turns}, but this graph was built for {self.max_turns} turns "
                "at most: ask for fewer, or build it with build_graph(max_turns=...)."
            )
        if self.own_names is not None:
            _refuse_foreign_names(context, self.own_names)


def _refuse_foreign_names(context: Context, own_names: Mapping[Kind, Collection[str]]) -> None:
    for setting in fields(context):
        kind: Kind | None = setting.metadata.get("names")
        value = getattr(context, setting.name)
        if kind is None or not value:  # an empty setting is one that is not set
            continue
        own = own_names.get(kind, ())
        for name in (value,) if isinstance(value, str) else value:
            if name not in own and not (kind == "model" and is_harmless(name)):
                raise ConfigError(
                    f"The setting `{setting.name}` names {name!r}, which only the operator of this server may choose "
                    f"({TRUST}, docs/deploy.md); {_choices(kind, own)}."
                )


def _choices(kind: Kind, own: Collection[str]) -> str:
    if kind == "tool":
        return f"the tools here are {', '.join(own)}"
    return f"name {HARMLESS_FORMS}, or leave it out" if kind == "model" else "leave it out"
