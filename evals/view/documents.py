"""Reads the three kinds of document that contain a run: saved runs, lines of evaluations, and rollouts.

`plain` converts all of them into the same structure; the index stores `row_of` and `searchable`. No field is assumed to
exist or to have the right type: files may be old, hand-written or damaged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_uppercase
from typing import Any, Literal, get_args

from evals.reports.tools import tool_use
from evals.view.values import listing, mapping, number, read, text
from graph.state import FINISH
from graph.words import speakers, tool_label

Kind = Literal["run", "evaluation", "training"]

KINDS: tuple[Kind, ...] = get_args(Kind)

SCHEMAS = {"run": (1, None), "evaluation": (1,), "training": (1,)}
"""Supported versions (`graph.__main__`, `evals.results`, `training.rollouts.records`); old runs have none."""

CLIPPED = 200
"""Maximum length of a text in a row, in characters; the full text is read when the run is opened."""

FIELDS = (
    "key", "task", "sample", "step", "benchmark", "question", "answer", "outcome", "value", "reward", "turns", "tools",
    "rejected", "errors", "ended_by", "seconds", "usage", "leaks", "exact", "roles",
    "path", "failed_turns", "steps",
)  # fmt: skip
"""The columns of a row. `outcome` is right (by the lenient rules, if any), wrong, failed, running or empty;
`exact` says whether it is right under the exact rules, null if there is only one verdict; `tools` has one name per
turn; `rejected` is null where nobody judged; `errors` are kinds of error; `usage` has calls, tokens in, tokens out and
seconds by role; `roles` are those that the policy played, in training runs, one name for each call; `path` are the
tools in the order in which they were used, and `failed_turns` counts the turns whose call failed
(`evals.reports.tools`); `steps` is how many the task itself says that its answer takes, 0 if it does not say."""


class Unreadable(ValueError):
    """An invalid document, or one with another schema; the message says which."""


def plain(data: bytes, kind: Kind) -> dict[str, Any]:
    """Convert a document of any kind into the common structure.

    Raises:
        Unreadable: it is not such a document.
    """
    try:
        whole = read(data)
    except ValueError:
        raise Unreadable("is not JSON") from None
    if not isinstance(whole, dict):
        raise Unreadable("is no JSON object")
    if whole.get("schema") not in SCHEMAS[kind]:
        raise Unreadable(f"has schema {text(whole.get('schema'))[:20]}, this version reads {SCHEMAS[kind][0]}")
    if kind == "run":
        return _saved(whole)
    return _result(whole) if kind == "evaluation" else _rollout(whole)


def _common(whole: dict[str, Any], memory: Any) -> dict[str, Any]:
    return {
        "analysis": text(whole.get("analysis")),
        "memory": [mapping(turn) for turn in listing(memory)],
        "usage": {str(role): mapping(cost) for role, cost in mapping(whole.get("usage")).items()},
        "ended_by": text(whole.get("ended_by")),
        "seconds": number(whole.get("seconds")) or 0.0,
        "trace": mapping(whole.get("trace")),
        "failure": mapping(whole.get("failure")) or None,
        "seed": whole.get("seed"),
        "attempts": whole.get("attempts", 1),
    }


def _saved(whole: dict[str, Any]) -> dict[str, Any]:
    running = whole.get("finished") is False
    return _common(whole, whole.get("memory")) | {
        "question": text(whole.get("question")),
        "answer": text(whole.get("answer")),
        "report": text(whole.get("report")),
        "outcome": "running" if running else "",
    }


def _result(whole: dict[str, Any]) -> dict[str, Any]:
    failure = mapping(whole.get("failure"))
    return _common(whole, whole.get("turns")) | {
        "task": text(whole.get("task")),
        "sample": whole.get("sample", 0),
        "benchmark": text(whole.get("benchmark")),
        "question": text(whole.get("question")),
        "answer": text(whole.get("prediction")),
        "references": [text(answer) for answer in listing(whole.get("gold"))],
        "outcome": "failed" if failure else "right" if whole.get("correct") else "wrong",
        "exact": None if failure else whole.get("exact") if isinstance(whole.get("exact"), bool) else None,
        "value": number(whole.get("value")),
        "reason": _reason(whole),
        "leaks": [text(leak) for leak in listing(whole.get("leaks"))],
        "judge": mapping(whole.get("judge")) or None,
    }


def _reason(whole: dict[str, Any]) -> str:
    """Why an answer is right or wrong, and whether only under the lenient rules."""
    only_lenient = bool(whole.get("correct")) and whole.get("exact") is False
    return text(whole.get("reason")) + (" (under the lenient rules)" if only_lenient else "")


def _rollout(whole: dict[str, Any]) -> dict[str, Any]:
    task = mapping(whole.get("task"))
    reward, rewards = number(whole.get("reward")), mapping(whole.get("rewards"))
    outcome = number(rewards.get("outcome")) if "outcome" in rewards else reward
    drawn = [mapping(turn) for turn in listing(whole.get("turns"))]
    benchmark = text(task.get("benchmark"))
    return _common(whole, _with_speakers(listing(whole.get("memory")), drawn)) | {
        "id": text(whole.get("id")),
        "task": text(task.get("id")),
        "sample": whole.get("index", 0),
        "step": whole.get("step", 0),
        "benchmark": "" if benchmark == "own" else benchmark,  # tasks of a file, which the run's settings name
        "question": _asked(task),
        "answer": text(whole.get("answer")),
        "references": [text(answer) for answer in listing(task.get("answers"))],
        "outcome": "failed" if reward is None else "right" if (outcome or 0.0) >= 1.0 else "wrong",
        "steps": len(listing(mapping(task.get("metadata")).get("steps"))),
        "reward": reward,
        "rewards": rewards,
        "captured": whole.get("captured", True),
        "drawn": drawn,
    }


def _with_speakers(memory: list[Any], drawn: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns, those of another graph with the `role` that spoke."""
    turns = [mapping(turn) for turn in memory]
    roles = speakers(turns, [text(turn.get("role")) for turn in drawn])
    return [turn | {"role": role} for turn, role in zip(turns, roles, strict=True)]


def _asked(task: dict[str, Any]) -> str:
    """The question, as in `evals.task.Task.prompt`."""
    choices = listing(task.get("choices"))
    question = text(task.get("question"))
    if not choices:
        return question
    options = "\n".join(f"{letter}. {text(choice)}" for letter, choice in zip(ascii_uppercase, choices, strict=False))
    return f"{question}\n\n{options}\n\nAnswer with the letter of the right option."


def key_of(run: dict[str, Any]) -> str:
    """Identifies a run within its set."""
    if "task" not in run:
        return "run"
    return run.get("id") or f"{run['task']}/{run['sample']}"


def row_of(run: dict[str, Any]) -> list[Any]:
    """The row of a run, with columns as in `FIELDS`."""
    memory = run["memory"]
    use = tool_use([turn | {"calls": listing(turn.get("calls"))} for turn in memory])
    verdicts = [mapping(turn.get("verdict")) for turn in memory if not turn.get("role")]
    return [
        key_of(run),
        _clipped(run.get("task", "")),
        run.get("sample", 0),
        _whole(run.get("step")),
        _clipped(run.get("benchmark", "")),
        _clipped(run["question"]),
        _clipped(run["answer"]),
        run["outcome"],
        run.get("value"),
        run.get("reward"),
        len(memory),
        [_clipped(tool_label(turn)) for turn in memory],
        None if memory and not verdicts else sum(not verdict.get("accepted") for verdict in verdicts),
        sorted({kind for turn in memory for kind in _error_kinds(turn)} | _failure_kind(run)),
        run["ended_by"],
        round(run["seconds"], 3),
        {role: _figures(cost) for role, cost in run["usage"].items()},
        len(run.get("leaks", ())),
        run.get("exact"),
        [_clipped(text(turn.get("role"))) for turn in run.get("drawn", ())],
        [_clipped(tool) for tool in use.path],
        use.failed,
        run.get("steps", 0),
    ]


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _error_kinds(turn: dict[str, Any]) -> Iterator[str]:
    for holder in (turn, *listing(turn.get("calls"))):
        error = mapping(mapping(holder).get("error"))
        if error:
            yield _clipped(text(error.get("kind")) or "unknown")


def _failure_kind(run: dict[str, Any]) -> set[str]:
    return {f"failed: {_clipped(text(run['failure'].get('kind')))}"} if run["failure"] else set()


def _figures(cost: dict[str, Any]) -> list[float]:
    return [number(cost.get(name)) or 0 for name in ("calls", "input_tokens", "output_tokens", "seconds")]


def _clipped(words: str) -> str:
    return words if len(words) <= CLIPPED else words[:CLIPPED] + " …"


def searchable(run: dict[str, Any]) -> str:
    """The searchable text of a run, in lower case: everything but the constant parts of prompts."""
    parts: list[str] = [key_of(run), run["question"], run["analysis"], run["answer"], run.get("report", "")]
    parts += [*run.get("references", ()), run.get("reason", ""), run["ended_by"]]
    if run["failure"]:
        parts += [text(value) for value in run["failure"].values()]
    for turn in run["memory"]:
        plan, verdict = mapping(turn.get("plan")), mapping(turn.get("verdict"))
        if plan.get("tool_name") != FINISH:
            parts.append(text(plan.get("tool_name")))
        parts += [text(turn.get("reply")) or text(plan.get("reply")), text(plan.get("context"))]
        parts += [text(plan.get("sub_goal")), text(plan.get("input"))]
        parts += [text(verdict.get(name)) for name in ("reason", "answer", "missing")]
        for call in map(mapping, listing(turn.get("calls"))):
            parts += [text(value) for value in mapping(call.get("arguments")).values()]
            parts += [text(call.get("result")), text(mapping(call.get("error")).get("message"))]
    return "\n".join(parts).lower()


_DRAWN = re.compile(rb', "turns": \[')
_ROLE = re.compile(rb'"role": ("(?:[^"\\]|\\.)*")')
_TRACE = re.compile(rb', "trace": \{')
_AFTER_TRACE = {"run": b']}, "', "evaluation": b']}, "usage": ', "training": b']}, "seconds": '}


def without_bulk(line: bytes, kind: Kind) -> bytes:
    """A line without token ids and trace, which are most of it; of the calls of the policy only the roles stay.

    Quotes inside JSON strings are escaped, so the markers can only be real keys. If they are keys of a nested object,
    the result is not valid JSON, and the caller must parse the whole line instead.
    """
    if kind == "training" and (found := _DRAWN.search(line)):
        end = line.find(b'], "reward": ', found.start())
        if end >= 0:
            roles = _ROLE.findall(line, found.end(), end)
            line = line[: found.end()] + b", ".join(b'{"role": %b}' % role for role in roles) + line[end:]
    if found := _TRACE.search(line):
        end = line.find(_AFTER_TRACE[kind], found.start())
        if end >= 0:
            line = line[: found.end()] + line[end + 1 :]
    return line
