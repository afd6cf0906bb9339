"""JSON schemas as tools bring them, made into one self-contained form that a model can be shown and held to.

Schemas come from pydantic (`$defs`), from older generators (`definitions`) and from servers that point anywhere
(`#/properties/start`). A model is shown only the schema of one call, inside a larger one, where such references lead
nowhere; so each is replaced by what it names. What refers to itself is cut after a few levels, in words.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

LARGEST = 16_000
"""Characters of a schema as JSON; one that is larger is cut at a smaller depth."""
_LARGEST_AGAIN = 4_000
"""The same for one that appears inside itself: the first level says what the others are."""
_CUTS = (
    (3, 40, _LARGEST_AGAIN),
    (2, 40, _LARGEST_AGAIN),
    *((1, depth, LARGEST) for depth in (40, 12, 8, 6, 4, 3)),
)
"""What is tried in turn: how often a schema may appear inside itself, how deep it may be nested, its size."""
_FLATTEST = (1, 2)
_MOST_NODES = 4_000
"""Schemas in an expansion; only the flattest one may have more."""

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_BOOKKEEPING = frozenset(
    (
        "$defs",
        "definitions",
        "$schema",
        "$id",
        "$anchor",
        "$dynamicAnchor",
        "$recursiveAnchor",
        "$comment",
        "$vocabulary",
    )
)
"""Keywords that say nothing about a value once references are gone."""
_ONE = frozenset(
    (
        "items",
        "additionalItems",
        "contentSchema",
        "unevaluatedItems",
        "contains",
        "additionalProperties",
        "unevaluatedProperties",
        "propertyNames",
        "not",
        "if",
        "then",
        "else",
    )
)
"""Keywords whose value is a schema."""
_SEVERAL = frozenset(("anyOf", "oneOf", "allOf", "prefixItems", "items"))
"""Keywords whose value is a list of schemas."""
_NAMED = frozenset(("properties", "patternProperties", "dependentSchemas"))
"""Keywords whose value maps names to schemas."""
_DATA = frozenset(("default", "const", "example", "dependentRequired"))
"""Keywords whose value may be an object that is no schema; an unknown keyword with one is a store of definitions."""
_REMARKS = frozenset(("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"))
"""Keywords that comment on a value without restricting it: whoever refers to a schema may say something else."""


def self_contained(schema: Mapping[str, Any]) -> Schema:
    """The schema of an object without references, and with a usable `properties`.

    A schema that is plain already comes back as it is, keywords in their order.

    Args:
        schema: The schema of a tool's arguments, as a library or a server made it.

    Raises:
        ValueError: the schema is of something else than an object.
    """
    for levels, depth, largest in _CUTS:
        try:
            made = _Expansion(schema, levels, depth, _MOST_NODES).whole()
        except _TooManyNodes:
            continue
        if len(json.dumps(made, default=str)) <= largest:
            return _as_object(made)
    return _as_object(_Expansion(schema, *_FLATTEST, sys.maxsize).whole())


def _as_object(schema: Schema) -> Schema:
    kind = schema.get("type", "object")
    kinds = [kind] if isinstance(kind, str) else kind
    if "object" not in kinds:
        raise ValueError(f"its arguments are of the type {' or '.join(map(str, kinds))} and not an object")
    made = {**schema, "type": "object"}
    if not isinstance(made.get("properties"), dict):
        made["properties"] = {}
    if "required" in made:
        required = made["required"]
        made["required"] = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        if not made["required"]:
            del made["required"]
    return made


class _TooManyNodes(Exception):
    """The expansion grows beyond what anybody would read."""


class _Expansion:
    """One walk over a schema that replaces its references.

    Args:
        root: The whole schema.
        levels: How often a schema may appear inside itself.
        depth: How deep schemas may be nested.
        nodes: How many schemas there may be.
    """

    def __init__(self, root: Mapping[str, Any], levels: int, depth: int, nodes: int) -> None:
        self._root = root
        self._levels = levels
        self._depth = depth
        self._nodes_left = nodes
        self._lookup: Any = None

    def whole(self) -> Schema:
        """The root without references."""
        return self._schema(self._root, (id(self._root),), 0)

    def _schema(self, node: Any, trail: tuple[int, ...], depth: int) -> Schema:
        """A schema without references; `trail` holds the identities of the schemas that it was reached through."""
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise _TooManyNodes
        if node is False:
            return {"not": {}}
        if not isinstance(node, Mapping):  # `true`, or something odd that says nothing
            return {}
        if depth > self._depth:
            return _cut(node, "a value")
        own = {key: value for key, value in node.items() if key not in _REFERENCES and key not in _BOOKKEEPING}
        made = self._keywords(own, trail, depth)
        reference = next((node[key] for key in _REFERENCES if isinstance(node.get(key), str)), None)
        parts = [made]
        if reference is not None:
            parts.append(self._target(reference, trail, depth))
        if isinstance(made.get("allOf"), list):
            parts[0] = {key: value for key, value in made.items() if key != "allOf"}
            parts += made["allOf"]
        return made if len(parts) == 1 else _merged(parts)

    def _keywords(self, node: Mapping[str, Any], trail: tuple[int, ...], depth: int) -> Schema:
        made: Schema = {}
        for key, value in node.items():
            if key in _SEVERAL and isinstance(value, list):
                made[key] = [self._schema(part, trail, depth + 1) for part in value]
            elif key in _NAMED and isinstance(value, Mapping):  # a field whose schema is `false` may not be there
                fields = {str(name): part for name, part in value.items() if part is not False}
                made[key] = {name: self._schema(part, trail, depth + 1) for name, part in fields.items()}
            elif key in _ONE and isinstance(value, Mapping):
                made[key] = self._schema(value, trail, depth + 1)
            elif key in _DATA or not isinstance(value, Mapping):
                made[key] = value
        return made

    def _target(self, reference: str, trail: tuple[int, ...], depth: int) -> Schema:
        target = self._resolved(reference)
        if target is None:
            return {"description": f"defined elsewhere ({reference}), which cannot be read here"}
        name = _name(target, reference)
        if trail.count(id(target)) >= self._levels:
            return _cut(target, f"{name} again")
        return self._schema(target, (*trail, id(target)), depth)

    def _resolved(self, reference: str) -> Mapping[str, Any] | bool | None:
        """What a reference names inside the root, or None."""
        if reference in ("#", ""):
            return self._root
        from referencing import Registry
        from referencing.jsonschema import DRAFT202012, specification_with

        if self._lookup is None:
            dialect = str(self._root.get("$schema", ""))
            resource = specification_with(dialect, default=DRAFT202012).create_resource(self._root)
            base = resource.id() or ""
            self._lookup = Registry().with_resource(base, resource).resolver(base).lookup
        try:
            contents = self._lookup(reference).contents
        except Exception:  # noqa: BLE001 - odd pointers fail in many ways, and each of them leads nowhere
            return None
        return contents if isinstance(contents, Mapping | bool) else None


def _name(target: Any, reference: str) -> str:
    title = target.get("title") if isinstance(target, Mapping) else None
    return str(title or reference.rsplit("/", 1)[-1].lstrip("#") or "this object")


def _cut(target: Any, what: str) -> Schema:
    """What stands for a schema that is not shown: its type, and words."""
    kind = target.get("type") if isinstance(target, Mapping) else None
    words = f"{what}; deeper levels are not shown here, so leave it out where that is possible"
    return ({"type": kind} if isinstance(kind, str) else {}) | {"description": words}


def _merged(parts: Sequence[Schema]) -> Schema:
    """One schema for values that follow all of them: its keywords side by side, or `allOf` where they disagree."""
    made: Schema = {}
    for part in parts:
        for key, value in part.items():
            if key not in made:
                made[key] = value
            elif key == "required" and isinstance(value, list) and isinstance(made[key], list):
                made[key] = [*made[key], *(name for name in value if name not in made[key])]
            elif key == "properties" and _agree(made[key], value):
                made[key] = {**made[key], **value}
            elif key not in _REMARKS and made[key] != value:
                return {**parts[0], "allOf": list(parts[1:])}
    return made


def _agree(some: Any, others: Any) -> bool:
    """Whether what two maps have in common is equal."""
    return (
        isinstance(some, dict)
        and isinstance(others, dict)
        and all(some[name] == others[name] for name in some.keys() & others.keys())
    )


def outline(schema: Mapping[str, Any], depth: int = 4) -> str:
    """The names of an object's fields, those of nested objects in braces: `ship_to {street, city}, items [{sku}]`.

    Args:
        schema: A self-contained schema.
        depth: How deep it is told.

    Returns:
        The names; empty for an object without fields.
    """
    fields = schema.get("properties")
    if isinstance(fields, Mapping) and fields:
        return ", ".join(name + _inside(field, depth) for name, field in fields.items())
    choices = [
        part for key in ("anyOf", "oneOf", "allOf") for part in schema.get(key) or () if isinstance(part, Mapping)
    ]
    return " or ".join(dict.fromkeys(text for part in choices if (text := outline(part, depth))))


def _inside(field: Any, depth: int) -> str:
    """The nested fields of a field, with a space before them; empty for a plain value."""
    if not isinstance(field, Mapping):
        return ""
    if depth <= 1:
        return " {…}" if _inside(field, 2) else ""
    if text := outline(field, depth - 1):
        return f" {{{text}}}"
    entries = field.get("items", field.get("prefixItems"))
    kinds = entries if isinstance(entries, list) else [entries]
    if text := " or ".join(dict.fromkeys(inside.strip() for kind in kinds if (inside := _inside(kind, depth)))):
        return f" [{text}]"
    values = field.get("additionalProperties")
    if isinstance(values, Mapping) and (text := _inside(values, depth)):
        return f" {{any name{text}}}"
    choices = [part for key in ("anyOf", "oneOf", "allOf") for part in field.get(key) or ()]
    return " or".join(dict.fromkeys(text for part in choices if (text := _inside(part, depth))))
