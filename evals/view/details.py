"""A run as shown on the page: its whole document, worded as in the terminal, with the texts of tokens if available."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from evals.view.documents import key_of
from evals.view.tokens import TokenTexts
from evals.view.values import listing, mapping, number, text
from graph.words import USAGE_COLUMNS, ended_words, judged_words, planned_words, tool_label


def details(run: dict[str, Any], tokens: TokenTexts) -> dict[str, Any]:
    """The details of a run, for when it is opened.

    Args:
        run: The run, from `documents.plain`.
        tokens: The tokenizer of the run's folder.
    """
    memory, trace = run["memory"], _trace(run["trace"])
    kept = ("task", "sample", "step", "benchmark", "question", "answer", "references", "outcome", "value",
            "reason", "reward", "rewards", "report", "leaks", "judge", "failure", "seed", "attempts", "captured",
            "ended_by", "seconds")  # fmt: skip
    return {name: run[name] for name in kept if name in run} | {
        "analysis": run["analysis"] or _said_by("analyst", trace),
        "key": key_of(run),
        "turns": [_turn(turn) for turn in memory],
        "ended": ended_words(len(memory), run["seconds"], run["ended_by"]),
        "usage": {"columns": USAGE_COLUMNS, "rows": [_cost(role, cost) for role, cost in run["usage"].items()]},
        "trace": trace,
        "drawn": [_drawn(turn, tokens) for turn in run.get("drawn", ())],
    }


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn in words; one of another graph (`role`) is a reply alone, without plan and verdict."""
    plan, verdict, error = mapping(turn.get("plan")), mapping(turn.get("verdict")), mapping(turn.get("error"))
    fault = mapping(plan.get("error"))
    named = {name: text(value) for name, value in plan.items()}
    judged = {name: value if isinstance(value, bool) else text(value) for name, value in verdict.items()}
    failure = {"message": text(error.get("message"))} if error else None
    role, reply = text(turn.get("role")), text(turn.get("reply")) or named.get("reply", "")
    told = text(fault.get("message"))
    return {
        "role": role,
        "tool": tool_label(turn),
        "fault": told,
        "planned": reply
        if role
        else planned_words({**named, "error": {"message": text(fault.get("message"))} if fault else None}),
        "plan_failed": bool(fault),
        **{name: named.get(name, "") for name in ("justification", "context", "sub_goal", "input")},
        "reply": reply,
        "calls": [_call(mapping(call)) for call in listing(turn.get("calls"))],
        "accepted": bool(verdict.get("accepted")),
        "stop": bool(verdict.get("stop")),
        "judged": judged_words(judged, failure) if verdict and not role else "",
        "verdict_by": text(verdict.get("source")),
        "verdict_answer": text(verdict.get("answer")),
        "error": {"kind": text(error.get("kind")), "message": text(error.get("message"))} if error else None,
        "observation": text(turn.get("observation")),
    }


def _call(call: dict[str, Any]) -> dict[str, Any]:
    error = mapping(call.get("error"))
    return {
        "tool": text(call.get("tool")),
        "given": _given(mapping(call.get("arguments"))),
        "result": text(call.get("result")),
        "error": {"kind": text(error.get("kind")), "message": text(error.get("message"))} if error else None,
        "seconds": number(call.get("seconds")) or 0.0,
    }


def _given(arguments: dict[str, Any]) -> str:
    """As in `graph.rendering.arguments_text`: a single string as it is, anything else as JSON."""
    values = list(arguments.values())
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return json.dumps(arguments, ensure_ascii=False, default=str)


def _cost(role: str, cost: dict[str, Any]) -> list[Any]:
    return [role, *(number(cost.get(name)) or 0 for name in ("calls", "input_tokens", "output_tokens", "seconds"))]


def _trace(trace: dict[str, Any]) -> dict[str, Any]:
    """The trace with all fields of the right type, so that the page need not check them."""
    texts = [text(each) for each in listing(trace.get("texts"))]

    def words(place: Any) -> int:
        return place if isinstance(place, int) and 0 <= place < len(texts) else -1

    steps = []
    for step in map(mapping, listing(trace.get("steps"))):
        common: dict[str, Any] = {
            "turn": int(number(step.get("turn")) or 0),
            "started": number(step.get("started")) or 0.0,
            "seconds": number(step.get("seconds")) or 0.0,
        }
        if "tool" in step:
            steps.append(common | {"tool": text(step["tool"])})
            continue
        pairs = [pair for pair in listing(step.get("prompt")) if isinstance(pair, list) and len(pair) == 2]
        steps.append(
            common
            | {
                "role": text(step.get("role")),
                "prompt": [[text(kind), words(place)] for kind, place in pairs],
                "reply": words(step.get("reply")),
                "input_tokens": number(step.get("input_tokens")) or 0,
                "output_tokens": number(step.get("output_tokens")) or 0,
            }
        )
    return {"texts": texts, "steps": steps}


def _said_by(role: str, trace: dict[str, Any]) -> str:
    """The last reply of a role that works once per run; empty if there is none."""
    replies = [step["reply"] for step in trace["steps"] if step.get("role") == role and step["reply"] >= 0]
    return trace["texts"][replies[-1]] if replies else ""


def _drawn(turn: dict[str, Any], tokens: TokenTexts) -> dict[str, Any]:
    """A captured call of the policy: token ids, log-probs and, with a tokenizer, texts."""
    prompt = [each for each in listing(turn.get("prompt_ids")) if isinstance(each, int)]
    ids = [each for each in listing(turn.get("completion_ids")) if isinstance(each, int)]
    return {
        "ids": ids,
        "logprobs": [number(each) for each in listing(turn.get("logprobs"))],
        "pieces": tokens.pieces(ids),
        "prompt_ids": prompt,
        "prompt": tokens.text(prompt),
        "policy_version": turn.get("policy_version"),
        "temperature": number(turn.get("temperature")),
        "finish_reason": text(turn.get("finish_reason")),
        "role": text(turn.get("role")),
    }
