"""The form of a structured response: a pydantic class, another type, or a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from graph.errors import ConfigError
from graph.parsing import json_values, without_thinking

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


_INSTEAD = "give a pydantic class, a dataclass, a TypedDict, or a JSON schema of an object"


@dataclass(frozen=True)
class Filled:
    """A valid structured response."""

    value: Any
    """An instance of the class; for a JSON schema, plain data."""


class ResponseFormat:
    """A form and its parser.

    Args:
        form: A pydantic class, dataclass or TypedDict, or a JSON schema.

    Raises:
        ConfigError: it is none of these.
    """

    def __init__(self, form: type | Mapping[str, Any]) -> None:
        self._adapter: TypeAdapter[Any] | None = None
        if isinstance(form, Mapping):
            self.schema = dict(form)
            self._check_schema()
        else:
            try:
                self._adapter = TypeAdapter(form)
                self.schema = self._adapter.json_schema()
            except PydanticUserError as error:
                raise ConfigError(f"`response_format` is {form!r}, which has no JSON schema: {_INSTEAD}.") from error
        if self.schema.get("type", "object") != "object":
            raise ConfigError(f"`response_format` is a form of type {self.schema['type']!r}: {_INSTEAD}.")

    @property
    def schema_for_servers(self) -> dict[str, Any]:
        """The schema with a title, which servers require."""
        return {"title": "structured_response", **self.schema}

    def read(self, reply: str) -> Filled | str:
        """The structured response, or a sentence that says what is wrong with the reply."""
        values = [found.value for found in json_values(without_thinking(reply))]
        if not values:
            return "the reply holds no JSON"
        complaint = ""
        for value in reversed(values):
            filled = self._filled(value)
            if isinstance(filled, Filled):
                return filled
            complaint = complaint or filled
        return complaint

    def _filled(self, value: Any) -> Filled | str:
        if self._adapter is None:
            from jsonschema.exceptions import best_match

            problem = best_match(self._validator.iter_errors(value))
            return Filled(value) if problem is None else f"{problem.json_path}: {problem.message}"
        try:
            return Filled(self._adapter.validate_python(value))
        except ValidationError as error:
            first = error.errors()[0]
            return f"{'.'.join(map(str, first['loc'])) or 'the value'}: {first['msg']}"

    @cached_property
    def _validator(self) -> Validator:
        from jsonschema.validators import validator_for

        return validator_for(self.schema)(self.schema)

    def _check_schema(self) -> None:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for

        try:
            validator_for(self.schema).check_schema(self.schema)
        except SchemaError as error:
            raise ConfigError(f"`response_format` is no JSON schema: {error.message}.") from error
