"""Named parts of a reply: `Label: value` lines, tags and JSON keys, under any Markdown."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

_LINE = re.compile(
    r"""^[ \t]*+(?:[-+>\#][ \t]*+|\*[ \t]++|\d++[.)][ \t]*+)*+   # bullet, heading, quote or number
        (?P<opening>[*_`<"]*+)                                   # emphasis, tag or quote before the label
        (?P<label>[A-Za-z][A-Za-z _-]{1,20}?)
        (?P<inside>[*_`>"]*+)[ \t]*+[:=：](?P<outside>\*\*|__)?[ \t]*+   # the colon is inside the emphasis or outside
        (?P<value>.*)$""",
    re.VERBOSE,
)
_BETWEEN_WORDS = re.compile(r"[\s_-]+")
_TAG = re.compile(r"<(?P<closes>/?)(?P<label>[A-Za-z][A-Za-z _-]{1,20})>")


class Labels:
    """The fields that a reply may hold.

    Args:
        fields: The labels of each field, in lower case with spaces.
    """

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self._field_of = {label: name for name, labels in fields.items() for label in labels}

    def field(self, label: str) -> str | None:
        """The field that a label stands for, however it is spelled (`Sub-Goal`, `sub_goal`)."""
        return self._field_of.get(_BETWEEN_WORDS.sub(" ", label).strip().lower())

    def line(self, line: str) -> tuple[str, str] | None:
        """The field and the value of a line that begins with a label."""
        match = _LINE.match(line)
        name = self.field(match["label"]) if match else None
        if match is None or name is None:
            return None
        value: str = match["value"]
        if match["opening"] and not match["inside"] and not match["outside"]:  # `**Label: value**`
            value = value.rstrip().removesuffix(match["opening"])
        return name, value

    def in_tags(self, text: str) -> dict[str, str]:
        """The fields that stand in tags; of two alike, the last. What stands inside another tag is its value's."""
        tags = list(_TAG.finditer(text))
        closing: dict[str, list[int]] = {}
        for tag in tags:
            if tag["closes"]:
                closing.setdefault(tag["label"], []).append(tag.start())
        fields, end = {}, 0
        for tag in tags:
            if tag["closes"] or tag.start() < end:
                continue
            ends = closing.get(tag["label"], [])
            if (first := bisect_left(ends, tag.end())) < len(ends):
                end = ends[first]
                if name := self.field(tag["label"]):
                    fields[name] = text[tag.end() : end].strip()
        return fields

    def in_json(self, value: object) -> dict[str, str]:
        """The fields of a JSON object; values that are no text are written as JSON."""
        if not isinstance(value, dict):
            return {}
        items = {name: item for key, item in value.items() if (name := self.field(str(key)))}
        return {
            name: item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
            for name, item in items.items()
        }

    def value_of(self, field: str, value: Mapping[str, Any]) -> Any:
        """What a JSON object holds for a field; None if nothing."""
        return next((item for key, item in value.items() if self.field(str(key)) == field), None)
