"""Reading what models write, forgivingly and without guessing.

Small models wrap a good step in Markdown, JSON, tags or chatter. All of that is read. What is never done is to invent
a choice: a reply that names no known tool is a failure with a reason, and a sentence that both stops and goes on is
undecided.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from graph.state import Failure, Plan

FIELDS = {
    "justification": ("justification", "reason", "reasoning", "why"),
    "context": ("context",),
    "sub_goal": ("sub goal", "subgoal", "goal"),
    "tool_name": ("tool name", "tool", "toolname", "tool to use", "selected tool", "action"),
    "input": ("input", "tool input", "action input", "arguments", "code"),
}
_FIELD_OF = {label: name for name, labels in FIELDS.items() for label in labels}
_LABEL = re.compile(
    r"""^[ \t]*(?:[-*+>\#]+[ \t]*|\d+[.)][ \t]*)*      # bullet, heading, quote or number
        [*_`<"]*                                        # emphasis, tag or quote before the label
        (?P<label>[A-Za-z][A-Za-z _-]{1,20}?)
        [*_`>"]*[ \t]*[:=](?:\*\*|__)?[ \t]*             # the colon may stand inside or outside the emphasis
        (?P<value>.*)$""",
    re.VERBOSE,
)
_TAG = re.compile(r"<(?P<label>[A-Za-z][A-Za-z _-]{1,20})>(?P<value>.*?)</(?P=label)>", re.DOTALL)
_THINK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_FENCE = re.compile(r"```[ \t]*([\w+-]*)[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)


def without_thinking(text: str) -> str:
    """The reply without a reasoning model's `<think>` part."""
    return _THINK.sub("", text).strip()


def fenced_blocks(text: str, language: str) -> list[str]:
    """The contents of all fenced blocks that are in `language` or name none."""
    return [body.strip("\n") for tag, body in _FENCE.findall(text) if tag.lower() in ("", language, language[:2])]


def find_json(text: str) -> Any | None:
    """The first JSON object in a text (bare, fenced, or amid prose), or None."""
    decoder = json.JSONDecoder(strict=False)
    for start in (match.start() for match in re.finditer(r"\{", text)):
        try:
            value, _ = decoder.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            continue
        return value
    return None


def _plain(label: str) -> str:
    return re.sub(r"[\s_-]+", " ", label).strip().lower()


def _split_fields(text: str) -> dict[str, str]:
    """Field values by name; a value reaches to the next label."""
    tagged = {
        _FIELD_OF[_plain(m["label"])]: m["value"].strip()
        for m in _TAG.finditer(text)
        if _plain(m["label"]) in _FIELD_OF
    }
    if "tool_name" in tagged:
        return tagged
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        match = _LABEL.match(line)
        name = _FIELD_OF.get(_plain(match["label"])) if match else None
        if match and name and name not in found and "input" not in found:  # the input is last and may hold any line
            current = found[name] = [match["value"]]
        elif current is not None:
            current.append(line)
        elif line.strip():
            current = found[""] = [line]
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def _fields_of_json(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    known = {_FIELD_OF[_plain(str(key))]: item for key, item in value.items() if _plain(str(key)) in _FIELD_OF}
    return {name: item if isinstance(item, str) else json.dumps(item) for name, item in known.items()}


def match_tool(text: str, tools: Iterable[str]) -> str | None:
    """The one known tool that a text names, or None.

    Case, spaces, quotes and a trailing remark do not matter (`` `Python` (to compute) `` is `python`). A text that
    starts with a tool's name names it; otherwise exactly one known name must occur in it.
    """

    def words(value: str) -> str:
        return f" {' '.join(re.findall(r'[a-z0-9]+', value.lower()))} "

    names = {words(name): name for name in tools}
    for candidate in [*text.strip().splitlines()[:1], text]:
        said = words(candidate)
        for suffix in ("", " tool ", " tools "):
            if said.removesuffix(suffix).rstrip() + " " in names:
                return names[said.removesuffix(suffix).rstrip() + " "]
        starts = [name for spelled, name in names.items() if said.startswith(spelled)]
        if starts:
            return max(starts, key=len)
        inside = [(spelled, name) for spelled, name in names.items() if spelled in said]
        whole = [
            name for spelled, name in inside if not any(spelled in other and other != spelled for other, _ in inside)
        ]
        if len(whole) == 1:
            return whole[0]
    return None


def parse_plan(reply: str, tools: Iterable[str]) -> Plan:
    """Read one step from a planner's reply.

    Args:
        reply: The text as the model wrote it.
        tools: Names of the tools that may be chosen.

    Returns:
        The step. When no known tool can be read its `error` says why (kind `plan` or `unknown_tool`) and `tool_name`
        holds what was written instead.
    """
    tools = tuple(tools)
    text = without_thinking(reply)
    fields = _fields_of_json(find_json(text))
    if "tool_name" not in fields:
        fields = _split_fields(_unfenced(text))
    unlabelled = fields.pop("", "")
    if "tool_name" not in fields and unlabelled:  # at temperature 0 small models drop the first label
        first = re.sub(r"[`*\s]", "", unlabelled.splitlines()[0])
        if first in tools:
            fields["tool_name"] = first
    named = fields.get("tool_name", "")
    tool = match_tool(named, tools) if named else None
    error: Failure | None = None
    if not named:
        error = {"kind": "plan", "message": "the reply names no tool; it needs a line 'Tool Name: ...'"}
    elif tool is None:
        error = {
            "kind": "unknown_tool",
            "message": f"there is no tool {_clip(named)!r}; the tools are {', '.join(tools)}",
        }
    return Plan(
        justification=fields.get("justification", ""),
        context=fields.get("context", ""),
        sub_goal=fields.get("sub_goal", ""),
        tool_name=tool or _clip(named),
        input=_unfence_input(fields.get("input", "")),
        reply=reply,
        error=error,
    )


def _clip(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _unfenced(text: str) -> str:
    """A reply that is one fenced block as a whole, without its fence."""
    match = re.fullmatch(r"```[\w+-]*[ \t]*\n(.*?)\n?```", text, re.DOTALL)
    return match[1] if match else text


def _unfence_input(text: str) -> str:
    match = re.match(r"```[\w+-]*[ \t]*\n(.*?)(?:```|\Z)", text, re.DOTALL)
    if match:
        return match[1].strip()
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == "`" else text


_NEGATED_STOP = re.compile(
    r"\b(?:not|n't|never|cannot|isn't|don't|shouldn't|can't|no need to|too early to|premature to|rather than"
    r"|instead of)\b"
    r"[\w\s',]{0,25}?\bstop(?:ped|ping)?\b",
    re.IGNORECASE,
)
_NEGATED_GO_ON = re.compile(
    r"\b(?:not|n't|never|cannot|don't|shouldn't|no need to|no reason to|unnecessary to|rather than|instead of)\b"
    r"[\w\s',]{0,25}?\b(?:continue|continuing|go on|going on|proceed)\b",
    re.IGNORECASE,
)
_STOP = re.compile(r"\bstop(?:ped|ping)?\b", re.IGNORECASE)
_GO_ON = re.compile(r"\b(?:continue|continuing|go on|going on|proceed)\b", re.IGNORECASE)


def reads_as_stop(text: str) -> bool | None:
    """Whether a sentence says to stop (True), to go on (False), or neither clearly (None).

    "We should not stop yet" goes on; "no need to continue" stops.
    """
    go_on = bool(_NEGATED_STOP.search(text))
    stop = bool(_NEGATED_GO_ON.search(text))
    rest = _NEGATED_GO_ON.sub(" ", _NEGATED_STOP.sub(" ", text))
    stop = stop or bool(_STOP.search(rest))
    go_on = go_on or bool(_GO_ON.search(rest))
    return None if stop == go_on else stop


_VERDICT_FIELDS = {
    "reason": ("reason", "analysis", "explanation", "justification"),
    "result": ("result", "verdict", "judgement", "judgment"),
    "answer": ("answer", "final answer"),
    "missing": ("missing",),
    "next": ("next", "decision", "conclusion", "recommendation", "stop signal"),
}
_VERDICT_OF = {label: name for name, labels in _VERDICT_FIELDS.items() for label in labels}


class Judgement(NamedTuple):
    """A verifier's reply, read."""

    accepted: bool
    stop: bool
    reason: str
    answer: str = ""
    """The question's answer, where the verifier named one."""
    missing: str = ""
    """What has still to be found or computed."""


_NOTHING = re.compile(r"(?i)(nothing|none|n/a|no|unknown|not (?:yet )?known|not provided|null)\b")


def parse_verdict(reply: str) -> Judgement | str:
    """Read a verifier's judgement.

    One that wants to stop and names what is missing, or calls the answer unknown, contradicts itself; it is read as
    wanting to go on.

    Returns:
        The judgement, or a sentence that says what could not be read.
    """
    text = without_thinking(reply)
    value = find_json(text)
    if isinstance(value, dict):
        fields = {_VERDICT_OF[_plain(str(k))]: str(v) for k, v in value.items() if _plain(str(k)) in _VERDICT_OF}
        if isinstance(value.get("stop"), bool):
            fields["next"] = "stop" if value["stop"] else "continue"
        if isinstance(value.get("accepted"), bool):
            fields["result"] = "accept" if value["accepted"] else "reject"
    else:
        fields = {}
        for line in text.splitlines():
            match = _LABEL.match(line)
            name = _VERDICT_OF.get(_plain(match["label"])) if match else None
            if match and name:
                fields[name] = match["value"]
        fields.setdefault("next", text.splitlines()[-1] if text else "")
        fields.setdefault("reason", text)
    stop = reads_as_stop(fields.get("next", ""))
    if stop is None:
        return "the judgement does not say whether to stop or to continue"
    rejected = re.search(r"\breject", fields.get("result", ""), re.IGNORECASE) is not None
    reason = " ".join(fields.get("reason", "").split())
    missing, answer = (" ".join(fields.get(name, "").split()) for name in ("missing", "answer"))
    if _NOTHING.match(missing):
        missing = ""
    if missing or _NOTHING.match(answer):
        answer, stop = "", False
    return Judgement(not rejected, stop, reason, answer, missing.rstrip("."))


_ANSWER_LABEL = r"[ \t>#*_]*(?:final |short )?answer[*_]*[ \t]*:"
_ANSWER = re.compile(rf"^{_ANSWER_LABEL}[*_ \t]*(.*(?:\n(?!\s*\n|{_ANSWER_LABEL}).*)*)", re.IGNORECASE | re.MULTILINE)


def parse_answer(reply: str) -> str:
    """The short answer in a generator's reply: what stands after the last `Answer:`, or the whole reply."""
    text = without_thinking(reply)
    marked = [match[1] for match in _ANSWER.finditer(text)]
    answer = next((part.strip() for part in reversed(marked) if part.strip()), text)
    return answer.strip("*` \n") or text
