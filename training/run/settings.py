"""Settings as frozen dataclasses: types of options, YAML files and overrides, help text.

Marks on a field (`graph.options.option`) say what kind of setting it is:

- `resumable`: may change when a run is resumed; a change of any other setting makes another run.
- `matters`: affects a measurement of the policy.
- `context`: is passed to the graph under the same name (`graph.context.Context`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from graph.command_line import did_you_mean
from graph.errors import ConfigError
from graph.misfits import misfit
from tools.secrecy import without_credentials

_LARGEST = 2**32 - 1
"""The largest seed that the libraries beneath take; their sizes and counts end not far above."""
MOST_OF_A_TASK = 10_000
"""Runs of one task that are begun together."""

Positive = Annotated[int, Field(ge=1, le=_LARGEST)]
Count = Annotated[int, Field(ge=0, le=_LARGEST)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]

NOTED = frozenset({"command", "checkpoint", "samples"})
"""What stands in a `config.yaml` beside the settings."""

S = TypeVar("S")


def check_types(settings: Any, lists: Sequence[str] = (), mappings: Sequence[str] = ()) -> None:
    """Converts each value of a frozen dataclass of settings to the type of its field.

    Args:
        settings: the object, in its `__post_init__`.
        lists: fields that may be written as one comma-separated text.
        mappings: fields that may be written as one text in YAML, `{key: value}`.

    Raises:
        ConfigError: a value has the wrong type, or is out of range.
    """
    for name in lists:
        value = getattr(settings, name)
        if isinstance(value, str | list):
            parts = value.split(",") if isinstance(value, str) else value
            named = (part.strip() if isinstance(part, str) else part for part in parts)
            object.__setattr__(settings, name, tuple(part for part in named if part != ""))
    for name in mappings:
        value = getattr(settings, name)
        if isinstance(value, str):
            try:
                object.__setattr__(settings, name, yaml.safe_load(value))
            except (yaml.YAMLError, ValueError, RecursionError):
                raise ConfigError(f"The setting `{name}` is {value!r}; write it as {{key: value, ...}}.") from None
    for name, choices in _choices_of(settings.__class__).items():
        value = getattr(settings, name)
        if isinstance(value, bool):  # YAML 1.1 reads `on` and `off` as booleans
            word = "on" if value else "off"
            object.__setattr__(settings, name, word if word in choices else value)
    for name, adapter in _adapters(settings.__class__).items():
        value = getattr(settings, name)
        try:
            read = adapter.validate_python(value)
        except ValidationError as error:
            place, value, wanted = misfit(name, value, error)
            raise ConfigError(f"The setting `{place}` is {value!r}; it has to be {wanted}.") from None
        if isinstance(value, bool) and read is not value:  # it would be 0 or 1
            raise ConfigError(f"The setting `{name}` is {value!r}; it has to be a number.")
        if isinstance(value, str) and "\0" in value:
            raise ConfigError(f"The setting `{name}` is {value!r}; take the null character out.")
        object.__setattr__(settings, name, read)


@functools.cache
def _adapters(kind: type) -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


@functools.cache
def _choices_of(kind: type) -> dict[str, tuple[Any, ...]]:
    """The values of settings that are a choice of words."""
    return {name: get_args(hint) for name, hint in get_type_hints(kind).items() if get_origin(hint) is Literal}


def marked(kind: type, mark: str) -> frozenset[str]:
    """The settings whose fields have a mark."""
    return frozenset(item.name for item in fields(kind) if item.metadata.get(mark))


def plain_values(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as plain values, for YAML."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def load_settings(kind: type[S], path: Path | None, overrides: Mapping[str, Any]) -> S:
    """Reads a dataclass of settings from a YAML file and overrides, which win.

    Raises:
        ConfigError: the file cannot be read, or a name or value is wrong.
    """
    values = _merged(kind, path, overrides)
    for name in _missing(kind, values):
        description = next(item.metadata["description"] for item in fields(kind) if item.name == name)  # type: ignore[arg-type]
        raise ConfigError(f"The setting `{name}` is missing: {description}")
    return kind(**values)


def shown_settings(kind: type, path: Path | None, overrides: Mapping[str, Any]) -> str:
    """The settings from a file and overrides, as YAML; a comment names those still missing.

    Raises:
        ConfigError: the file cannot be read, or a name or value is wrong.
    """
    values = _merged(kind, path, overrides)
    missing = _missing(kind, values)
    settings = kind(**values, **{name: f"({name})" for name in missing})
    plain = {name: value for name, value in plain_values(settings).items() if name not in missing}
    head = f"# still missing: {', '.join(missing)}\n" if missing else ""
    return head + without_credentials(yaml.safe_dump(plain, sort_keys=False))


def _merged(kind: type, path: Path | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    values = {**(_from_file(kind, path) if path else {}), **overrides}
    names = [item.name for item in fields(kind)]
    if "command" in values and "command" not in names:  # written by a command, which notes what it was given beside
        values = {name: value for name, value in values.items() if name in names or name not in NOTED}
    for name in values:
        if name not in names:
            raise ConfigError(f"There is no setting {name!r}.{did_you_mean(name, names)} --help lists them all.")
    return values


def _missing(kind: type, values: Mapping[str, Any]) -> list[str]:
    return [item.name for item in fields(kind) if item.default is MISSING and item.name not in values]


def _from_file(kind: type, path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        loaded = yaml.safe_load(text)
        written = yaml.load(text, yaml.BaseLoader)  # noqa: S506  # it reads every value as a text
        root = yaml.compose(text, yaml.BaseLoader)
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read ({error.strerror}); check --config.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}," if place else ""
        problem = getattr(error, "problem", None)
        reason = f" ({problem})" if problem else ""
        raise ConfigError(f"The configuration {path}{where} is not YAML{reason}; fix it.") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"The configuration {path} must be a list of `setting: value` lines.")
    hints = get_type_hints(kind)
    names = {key: _name(key) for key in loaded}
    lines: dict[str, int] = {}
    for key, _ in root.value if isinstance(root, yaml.MappingNode) else ():
        name, line = _name(key.value), key.start_mark.line + 1
        if lines.setdefault(name, line) != line:
            raise ConfigError(f"The configuration {path} sets `{name}` in line {lines[name]} and in {line}; keep one.")
    # YAML's merge keys (`<<`) are only followed by the first reading.
    return {
        name: (written if _is_text(hints.get(name), loaded[key]) and key in written else loaded)[key]
        for key, name in names.items()
    }


def _name(key: object) -> str:
    """The setting that a key of the file names."""
    return str(key).replace("-", "_")


def _is_text(hint: Any, value: Any) -> bool:
    """Whether a setting stays as it is written, even if it looks like a date or a number: all texts but null."""
    return hint in (str, str | None) and value is not None


def parsed_value(text: str, hint: Any = None) -> Any:
    """The value of a setting on the command line, read as YAML.

    Args:
        text: what stands there.
        hint: the type of the setting.
    """
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    if _is_text(hint, value):
        return value if isinstance(value, str) else text
    if isinstance(value, dict):  # "judge:" is a string here; settings that are mappings parse it themselves
        return text
    if isinstance(value, str):  # YAML 1.1 reads 1e-6 as a string
        try:
            return float(value)
        except ValueError:
            return value
    return value


def described(kind: type, groups: Mapping[str, str]) -> str:
    """All settings with descriptions and defaults, as text.

    Args:
        kind: a dataclass of settings.
        groups: headings, by the first setting under each.
    """
    hints = get_type_hints(kind)
    lines: list[str] = []
    for item in fields(kind):
        if item.name in groups:
            lines += ["", f"{groups[item.name]}:"]
        default = "required" if item.default is MISSING else f"default: {_as_yaml(item.default)}"
        choices = _choices(hints[item.name])
        lines.append(f"  --{item.name:<22} {item.metadata['description']} ({choices}{default})")
    return "\n".join(lines[1:])


def _choices(hint: Any) -> str:
    return f"{' or '.join(get_args(hint))}; " if get_origin(hint) is Literal else ""


def _as_yaml(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    return "null" if value is None else str(yaml.safe_dump(value, default_flow_style=True)).split("\n")[0]
