"""The settings of one run: a frozen dataclass, which Studio shows as a form.

Values are validated when the object is created, because LangGraph does not validate dataclass contexts. An explicit
value always wins over the environment (`AGENTFLOW_MODEL`, `AGENTFLOW_PLANNER_MODEL`, ...).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from graph.command_line import did_you_mean
from graph.errors import ConfigError
from graph.misfits import misfit
from graph.options import option

DEFAULT_TOOLS = ("python", "wikipedia_search", "web_search", "read_url", "generalist")

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]

T = TypeVar("T")

_GIVEN = "_given"


def _refuse_unknown_settings(cls: type[T]) -> type[T]:
    """Answer a misspelt setting with the nearest one; LangGraph makes the object from whatever a client sends.

    The object also keeps which settings were given.
    """
    create = cls.__init__

    @functools.wraps(create)
    def checked(self: T, **settings: Any) -> None:
        names = {field.name for field in fields(cls)}  # type: ignore[arg-type]  # it is a dataclass
        for name in settings:
            if name not in names:
                raise ConfigError(f"There is no setting `{name}`.{did_you_mean(name, names)}")
        object.__setattr__(self, _GIVEN, frozenset(settings))
        create(self, **settings)

    cls.__init__ = checked  # type: ignore[assignment, method-assign]
    return cls


@_refuse_unknown_settings
@dataclass(frozen=True, kw_only=True)
class Context:
    """Settings of one run of the agent.

    Raises:
        ConfigError: a value is of the wrong type or out of range, or there is no such setting.
    """

    # A setting that names something outside of the run is marked with `names`; see `graph.limits`.
    model: str | None = option(
        "Model of every role, e.g. 'embedded', 'openai:gpt-4o', 'vllm:NAME@http://host/v1'.", None, names="model"
    )
    planner: str | None = option("Model of the planner; default: `model`.", None, names="model")
    analyst: str | None = option("Model that analyses the question; default: `model`.", None, names="model")
    executor: str | None = option("Model that writes tool arguments; default: `model`.", None, names="model")
    verifier: str | None = option("Model that judges each step; default: `model`.", None, names="model")
    generator: str | None = option("Model that writes the answer; default: `model`.", None, names="model")
    tools: tuple[str, ...] | None = option(
        "Tools the planner may choose from, by name or import path; default: all tools of the graph.",
        None,
        names="tool",
    )
    corpus: str | None = option("File or folder that `local_search` searches.", None, names="file")
    max_turns: Count = option("Maximum number of turns; the run then ends with an answer.", 10)
    max_seconds: Seconds = option("Time budget in seconds, pauses excluded; the run then ends with an answer.", 300.0)
    max_tokens: Count = option("Maximum length of a reply in tokens; an analysis gets a quarter of it.", 1024)
    max_result_chars: Count = option("Longest tool result kept in the memory, in characters.", 2000)
    max_chat_chars: Count = option("Characters shown of a chat's earlier messages, the newest first.", 4000)
    max_calls: Count = option("Maximum number of calls of a tool in one turn.", 4)
    temperature: Temperature = option("Sampling temperature of all roles.", 0.0)
    planner_temperature: Temperature | None = option(
        "Sampling temperature of the planner; default: `temperature`.", None
    )
    analyse: bool | None = option(
        "Analyse the question before the first step; default: unless the planner's model is an embedded one, which is "
        "led astray more often than helped. It then only has a question of a chat rewritten in full.",
        None,
    )
    justify: bool | None = option(
        "Let the planner justify each step; default: unless its model is an embedded one.", None
    )
    direct_arguments: bool = option(
        "Let the planner write the input of tools with a single text argument, which saves a model call.", False
    )
    verify: Literal["model", "rules"] = option("Who judges each turn: a model, or only the built-in rules.", "model")
    answer: Literal["model", "last_result"] = option(
        "Where the answer comes from: a model writes it, or it is the last accepted result.", "model"
    )
    checks: Literal["auto", "on", "off"] = option(
        "Apply the checks for small models (`graph.checks`) to replies; auto: only to those of embedded models.",
        "auto",
    )
    brief_verdicts: bool = option(
        "Tell the planner only that a step was accepted, without the verifier's reasons.",
        False,
    )
    speculate: bool = option(
        "Plan the next step while the last one is being judged. The answer stays the same; faster with "
        "`brief_verdicts`, at the cost of one wasted model call at each stop.",
        False,
    )
    report: bool = option("Write a long report as well.", False)
    ask_before: tuple[str, ...] = option("Tools whose calls need a human's approval (by an interrupt).", ())

    @property
    def given(self) -> frozenset[str]:
        """The settings that were given, whatever their values; they win where a run is resumed."""
        given: frozenset[str] | None = getattr(self, _GIVEN, None)
        if given is None:  # a subclass, which has a constructor of its own
            return frozenset(setting.name for setting in fields(self))
        return given

    def analyses(self, *, is_small: bool, chat: bool = False) -> bool:
        """Whether a question is analysed before the first step.

        Args:
            is_small: The planner's model is a small one.
            chat: The question continues a conversation.
        """
        return (chat or not is_small) if self.analyse is None else self.analyse

    def __post_init__(self) -> None:
        for name in ("tools", "ask_before"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise ConfigError(f"The setting `{name}` is a list of names, not a string: write ({value!r},).")
            if value is not None:  # a server sends JSON, which has lists only
                object.__setattr__(self, name, tuple(value))
        for name, adapter in _adapters().items():
            try:
                adapter.validate_python(getattr(self, name), strict=True)
            except ValidationError as error:
                place, value, wanted = misfit(name, getattr(self, name), error)
                raise ConfigError(f"The setting `{place}` is {value!r}; it has to be {wanted}.") from None
        if self.tools == ():
            raise ConfigError("The setting `tools` is empty: name at least one tool, or leave it out.")


@functools.cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    """A validator for each setting, from its annotation."""
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(Context, include_extras=True).items()}
