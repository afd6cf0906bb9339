"""Schemas of every make become one form that leads nowhere else and loses nothing that a model has to know."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tools.schemas import LARGEST, outline, self_contained

POINT = {"type": "object", "properties": {"lat": {"type": "number"}}}


def obj(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


def references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [found for value in schema.values() for found in references(value)]
    return [found for value in schema for found in references(value)] if isinstance(schema, list) else []


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"type": "object"}, obj()),
        ({}, obj()),
        ({"type": "object", "properties": None, "required": None}, obj()),
        ({**obj(a={"type": "string"}), "required": ["a"]}, {**obj(a={"type": "string"}), "required": ["a"]}),
        ({"type": ["object", "null"], "properties": {"a": True, "b": None, "c": False}}, obj(a={}, b={})),
        (obj(start=POINT, end={"$ref": "#/properties/start"}), obj(start=POINT, end=POINT)),
        ({**obj(a={"$ref": "#/definitions/p"}), "definitions": {"p": POINT}}, obj(a=POINT)),
        ({**obj(a={"$ref": "#/$defs/p"}), "$defs": {"p": {"$ref": "#/$defs/q"}, "q": POINT}}, obj(a=POINT)),
        ({**obj(a={"$ref": "#/components/schemas/p"}), "components": {"schemas": {"p": POINT}}}, obj(a=POINT)),
        ({**obj(a={"$ref": "#/$defs/a~1b%20c"}), "$defs": {"a/b c": POINT}}, obj(a=POINT)),
        ({**obj(a={"$ref": "#point"}), "$defs": {"p": {"$anchor": "point", **POINT}}}, obj(a=POINT)),
        (
            {**obj(a={"$ref": "https://x.test/s#/$defs/p"}), "$id": "https://x.test/s", "$defs": {"p": POINT}},
            obj(a=POINT),
        ),
        ({"$ref": "#/$defs/p", "$defs": {"p": POINT}}, POINT),
        (
            {
                **obj(a={"$ref": "#/$defs/p", "description": "mine"}),
                "$defs": {"p": {"type": "string", "description": "x"}},
            },
            obj(a={"description": "mine", "type": "string"}),
        ),
        (
            {**obj(a={"allOf": [{"$ref": "#/$defs/p"}], "default": 1}), "$defs": {"p": {"type": "integer"}}},
            obj(a={"default": 1, "type": "integer"}),
        ),
        (
            obj(
                a={
                    "allOf": [
                        {"properties": {"x": {}}, "required": ["x"]},
                        {"properties": {"y": {}}, "required": ["y"]},
                    ]
                }
            ),
            obj(a={"properties": {"x": {}, "y": {}}, "required": ["x", "y"]}),
        ),
        (obj(a={"allOf": [{"minimum": 1}, {"minimum": 2}]}), obj(a={"allOf": [{"minimum": 1}, {"minimum": 2}]})),
        (obj(a={"enum": [{"$ref": "#/data"}, None]}), obj(a={"enum": [{"$ref": "#/data"}, None]})),
        (obj(**{"$ref": {"type": "string"}}), obj(**{"$ref": {"type": "string"}})),
        (obj(definitions={"type": "string"}), obj(definitions={"type": "string"})),
    ],
)
def test_one_form(schema: dict[str, Any], made: dict[str, Any]) -> None:
    assert self_contained(schema) == made


@pytest.mark.parametrize(
    "reference", ["#/$defs/missing", "other.json", "https://x.test/y", "#/properties/a/0/b", "#no"]
)
def test_what_leads_nowhere_is_said(reference: str) -> None:
    made = self_contained(obj(a={"$ref": reference}))
    assert made == obj(a={"description": f"defined elsewhere ({reference}), which cannot be read here"})


@pytest.mark.parametrize("kind", ["string", ["array", "null"]])
def test_arguments_are_an_object(kind: Any) -> None:
    with pytest.raises(ValueError, match="and not an object"):
        self_contained({"type": kind})


class Node(BaseModel):
    value: int
    children: list[Node] = []
    parent: Node | None = None


@pytest.mark.parametrize(
    "schema", [Node.model_json_schema(), obj(a={"$ref": "#"}), obj(a=obj(b={"$ref": "#/properties/a"}))]
)
def test_what_holds_itself_is_cut_in_words(schema: dict[str, Any]) -> None:
    made = self_contained(schema)
    assert references(made) == []
    assert "again; deeper levels are not shown" in json.dumps(made)
    assert len(json.dumps(made)) <= LARGEST


def test_definitions_that_multiply_stay_readable() -> None:
    definitions = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2 + [obj(x=POINT)]} for n in range(30)}
    made = self_contained({**obj(a={"$ref": "#/$defs/d0"}), "$defs": {**definitions, "d30": POINT}})
    assert len(json.dumps(made)) <= LARGEST


def test_a_long_list_of_fields_is_kept_whole() -> None:
    schema = obj(**{f"field_{n}": {"type": "string", "description": "x" * 50} for n in range(5000)})
    assert self_contained(schema) == schema


def test_nested_fields_are_told() -> None:
    address = obj(street={"type": "string"}, city={"type": "string"})
    schema = obj(
        ship_to=address,
        items={"type": "array", "items": obj(sku={}, size={})},
        billing={"anyOf": [address, {"type": "null"}]},
        by_name={"type": "object", "additionalProperties": address},
        pair={"type": "array", "prefixItems": [{"type": "integer"}, address]},
        note={"type": "string"},
    )
    assert outline(self_contained(schema)) == (
        "ship_to {street, city}, items [{sku, size}], billing {street, city}, by_name {any name {street, city}}, "
        "pair [{street, city}], note"
    )
    assert outline({"anyOf": [obj(a={}), obj(b={})]}) == "a or b"
    assert (
        outline(self_contained(Node.model_json_schema()), 2)
        == "value, children [{value, children {…}, parent {…}}], parent {value, children {…}, parent {…}}"
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["a", "b", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("p", "q", "r")
REFERENCES = st.sampled_from([*(f"#/$defs/{name}" for name in NAMES), *(f"#/definitions/{name}" for name in NAMES)])
SCHEMAS = st.recursive(
    st.sampled_from(
        [True, {}, {"type": "string"}, {"type": "integer", "minimum": 0}, {"enum": ["a", 1, None]}, {"const": "b"}]
    )
    | st.builds(lambda ref: {"$ref": ref}, REFERENCES),
    lambda inner: st.one_of(
        st.builds(lambda item: {"type": "array", "items": item}, inner),
        st.builds(
            lambda fields, required: {"type": "object", "properties": fields, "required": sorted(required)},
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.sets(st.sampled_from("abc"), max_size=2),
        ),
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda parts: {"allOf": parts}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda ref, text: {"$ref": ref, "description": text}, REFERENCES, st.sampled_from(["x", "y"])),
    ),
    max_leaves=6,
)


@given(
    fields=st.dictionaries(st.sampled_from("abc"), SCHEMAS, min_size=1, max_size=3),
    definitions=st.fixed_dictionaries(dict.fromkeys(NAMES, SCHEMAS)),
    value=st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3),
)
def test_the_same_values_fit(fields: dict[str, Any], definitions: dict[str, Any], value: dict[str, Any]) -> None:
    """Without recursion both schemas allow the same; where something is cut, nothing is forbidden by that."""
    schema = {"type": "object", "properties": fields, "$defs": definitions, "definitions": definitions}
    made = self_contained(schema)
    assert references(made) == []
    assert self_contained(made) == made
    try:
        fits = jsonschema.Draft202012Validator(schema).is_valid(value)
    except RecursionError:  # a definition that is nothing but itself
        return
    if fits or "deeper levels" not in json.dumps(made):
        assert jsonschema.Draft202012Validator(made).is_valid(value) == fits
