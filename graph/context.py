"""What a caller can set for one run: a frozen dataclass that Studio shows as a form.

Values are checked when the object is made, because LangGraph does not check dataclass contexts. A value given here
always wins over the environment (`AGENTFLOW_MODEL`, `AGENTFLOW_PLANNER_MODEL`, ...).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from graph.errors import ConfigError
from graph.options import option

DEFAULT_TOOLS = ("python", "wikipedia_search", "web_search", "read_url", "generalist")

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Context:
    """Settings of one run of the agent.

    Raises:
        ConfigError: a value is of the wrong type or out of range.
    """

    model: str | None = option(
        "Model of every role, e.g. 'embedded', 'openai:gpt-4o', 'vllm:NAME@http://host/v1'.", None
    )
    planner: str | None = option("Model of the planner, if not `model`.", None)
    analyst: str | None = option("Model that analyses the question, if not `model`.", None)
    executor: str | None = option("Model that writes tool arguments, if not `model`.", None)
    verifier: str | None = option("Model that judges the memory, if not `model`.", None)
    generator: str | None = option("Model that writes the answer, if not `model`.", None)
    tools: tuple[str, ...] | None = option(
        "Names (or import paths) of the tools the planner may choose from; unset: all that the graph was built with.",
        None,
    )
    corpus: str | None = option("File or folder that `local_search` searches.", None)
    max_turns: Count = option("Turns after which the run ends with an answer.", 10)
    max_seconds: Seconds = option("Seconds of work after which the run ends with an answer.", 300.0)
    max_tokens: Count = option("Longest reply of a model, in tokens; an analysis gets a quarter of it.", 1024)
    max_result_chars: Count = option("Longest tool result that is kept in the memory, in characters.", 2000)
    max_calls: Count = option("Most calls of a tool in one turn.", 4)
    temperature: Temperature = option("Sampling temperature of every role.", 0.0)
    planner_temperature: Temperature | None = option("Sampling temperature of the planner, if not `temperature`.", None)
    analyse: bool = option("Whether the question is analysed before the first step.", True)
    direct_arguments: bool = option(
        "Whether the planner itself writes the input of tools that take one text, which saves a model call.", False
    )
    verify: Literal["model", "rules"] = option("Whether a model judges each turn, or the rules alone.", "model")
    answer: Literal["model", "last_result"] = option(
        "Whether a model writes the answer, or the last accepted result is the answer.", "model"
    )
    checks: Literal["auto", "on", "off"] = option(
        "Whether replies are held to the checks for small models (`graph.checks`); auto: those of embedded models are.",
        "auto",
    )
    brief_verdicts: bool = option(
        "Whether the planner is told of an accepted step only that it was accepted, not what the verifier says of it.",
        False,
    )
    speculate: bool = option(
        "Whether the next step is planned while the last is judged, in the hope that it is accepted without a word: "
        "sooner with `brief_verdicts`, the same answer in any case, and a model call in vain at each stop.",
        False,
    )
    report: bool = option("Whether a long report is written as well.", False)
    ask_before: tuple[str, ...] = option("Tools before whose calls a human is asked (by an interrupt).", ())

    def __post_init__(self) -> None:
        for name in ("tools", "ask_before"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise ConfigError(f"The setting `{name}` is a list of names, not one text: write ({value!r},).")
            if value is not None:  # a server sends JSON, which has lists only
                object.__setattr__(self, name, tuple(value))
        for name, adapter in _adapters().items():
            try:
                adapter.validate_python(getattr(self, name), strict=True)
            except ValidationError as error:
                said = error.errors()[0]["msg"].removeprefix("Input ").removeprefix("Value ")
                raise ConfigError(f"The setting `{name}` is {getattr(self, name)!r}; it {said}.") from None
        if self.tools == ():
            raise ConfigError("The setting `tools` names no tool: name at least one, or leave it unset.")


@functools.cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    """A validator for each setting, from its annotation."""
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(Context, include_extras=True).items()}
