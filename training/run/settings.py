"""Settings as frozen dataclasses: option types, YAML and `--key value` pairs, help text."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from graph.errors import ConfigError

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]


S = TypeVar("S")


def option(description: str, default: Any = MISSING) -> Any:
    metadata = {"description": description}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def check_types(settings: Any, lists: Sequence[str] = ()) -> None:
    """Brings each value of a frozen dataclass of settings to the type of its field.

    Args:
        settings: the object in the making.
        lists: fields that may be written as one text, separated by commas.

    Raises:
        ConfigError: a value cannot be of its type, or is out of range.
    """
    for name in lists:
        value = getattr(settings, name)
        if isinstance(value, str | list):
            parts = value.split(",") if isinstance(value, str) else value
            object.__setattr__(settings, name, tuple(part.strip() for part in parts if str(part).strip()))
    for name, adapter in _adapters(settings.__class__).items():
        try:
            object.__setattr__(settings, name, adapter.validate_python(getattr(settings, name)))
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Input ").removeprefix("Value ")
            raise ConfigError(f"The setting `{name}` is {getattr(settings, name)!r}; it {said}.") from None


def plain_values(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as plain values, for YAML."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


@functools.cache
def _adapters(kind: type) -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


def described(kind: type, groups: Mapping[str, str]) -> str:
    """All settings with what they mean and their defaults, as text."""
    hints = get_type_hints(kind)
    lines: list[str] = []
    for item in fields(kind):
        if item.name in groups:
            lines += ["", f"{groups[item.name]}:"]
        default = "required" if item.default is MISSING else f"default: {_written(item.default)}"
        choices = _choices(hints[item.name])
        lines.append(f"  --{item.name:<22} {item.metadata['description']} ({choices}{default})")
    return "\n".join(lines[1:])


def _choices(hint: Any) -> str:
    return f"{' or '.join(get_args(hint))}; " if get_origin(hint) is Literal else ""


def _written(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, tuple):
        value = list(value)
    return "null" if value is None else str(yaml.safe_dump(value, default_flow_style=True)).split("\n")[0]


def load_settings(kind: type[S], path: Path | None, overrides: Sequence[str] = ()) -> S:
    """A dataclass of settings from a YAML file and `--key value` pairs, which win.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong.
    """
    values = dict(_from_file(path)) if path else {}
    values |= _from_pairs(overrides)
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    unknown = next((name for name in values if name not in known), None)
    if unknown is not None:
        raise ConfigError(f"There is no setting {unknown!r}{_meant(unknown, known)}; --help lists them all.")
    missing = [name for name, item in known.items() if item.default is MISSING and name not in values]
    if missing:
        raise ConfigError(f"The setting `{missing[0]}` is missing: {known[missing[0]].metadata['description']}")
    return kind(**values)


def _meant(name: str, known: Mapping[str, Any]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _from_file(path: Path) -> Mapping[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read ({error.strerror}); check --config.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}," if place else ""
        raise ConfigError(f"The configuration {path}{where} is not YAML; mend it.") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"The configuration {path} must be a list of `setting: value` lines.")
    return {str(key).replace("-", "_"): value for key, value in loaded.items()}


def _from_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    rest = list(pairs)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise ConfigError(f"{word!r} is no setting; write --setting value.")
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"The setting --{name} has no value; write --{name} value.")
            text = rest.pop(0)
        if not text:
            raise ConfigError(f"The setting --{name} has an empty value; write null to leave it unset.")
        values[name.replace("-", "_")] = _value(text)
    return values


def _value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, dict):  # "judge:" is a text here; no setting is a mapping
        return text
    if isinstance(value, str):  # YAML 1.1 takes 1e-6 for a text
        try:
            return float(value)
        except ValueError:
            return value
    return value
