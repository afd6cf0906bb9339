"""A judgement, read from a verifier's reply."""

from __future__ import annotations

import re
import string
from typing import NamedTuple

from graph.parsing.json_text import json_values
from graph.parsing.labels import Labels
from graph.parsing.thinking import without_thinking

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


_LABELS = Labels(
    {
        "reason": ("reason", "analysis", "explanation", "justification"),
        "result": ("result", "verdict", "judgement", "judgment"),
        "answer": ("answer", "final answer"),
        "missing": ("missing",),
        "next": ("next", "decision", "conclusion", "recommendation", "stop signal"),
    }
)


class Judgement(NamedTuple):
    """A verifier's reply, read."""

    accepted: bool
    stop: bool
    reason: str
    answer: str = ""
    """The question's answer, where the verifier named one."""
    missing: str = ""
    """What has still to be found or computed."""


_AROUND = " \t\n" + string.punctuation
_REMARK = r"(?=\W*\Z|[*_`]*\s*[,;:(–—]|\s+-|\.\s+(?!\d)|\s+because\b)"
"""The end of a word that is all that a field says, or the beginning of a remark on it; "No. 5" is a name."""
_UNKNOWN = re.compile(
    r"(?i)(?:(?:still |as yet )?unknown|undetermined|n/a|null"
    r"|(?:it is |is )?not (?:yet )?(?:known|provided|given|stated|found)(?: yet)?"
    r"|(?:i |we )?(?:do not|don't|cannot|can't) (?:yet )?(?:know|say|tell)(?: yet)?)"
    r"(?: (?:from|by|in) (?:the|these|any) [\w ]{1,30})?" + _REMARK
)
"""An answer that is none."""
_NOTHING = re.compile(
    r"(?i)(?:(?:no|none|nothing|false)(?: (?:else|more|further|other|additional|information|data|facts?|steps?"
    r"|is|are|missing|needed|required|necessary|left|remains?|at all|to (?:be )?\w+))*|n/a|null)" + _REMARK
)
"""What `missing` says where nothing is missing."""
_LACKS = re.compile(
    r"(?i)\b(?:not?|\w+n't|nothing|none|nor|neither|never|without|but|except|besides|only|still|yet|missing|lack\w*"
    r"|need\w*|require\w*|insufficient|unknown|unclear|more|to be|must|should)\b"
)
"""Words of a remark that tell that something is missing after all."""
_IS_A_SENTENCE = re.compile(r"(?i)\b(?:is|are|has|have|had|tells?|gives?)\b")
"""After a bare no, a sentence is a remark ("No. All is known") and a noun is missing ("No, the year")."""
_TELLS_APART = re.compile(r"\d\S*(?: \w+)?|[A-Z]\S*(?: [A-Z]\S*)+")
"""What follows a title to tell it from others: "2011 film", "Liam Neeson"."""


def parse_verdict(reply: str) -> Judgement | str:
    """Read a verifier's judgement.

    One that wants to stop and names what is missing, or calls the answer unknown, contradicts itself; it is read as
    wanting to go on.

    Returns:
        The judgement, or a sentence that says what could not be read.
    """
    text = without_thinking(reply)
    if not text:
        return "the judgement is all thinking and decides nothing" if reply.strip() else "the judgement is empty"
    fields = _fields_in_json(text) or _LABELS.in_tags(text)
    if "next" not in fields and "result" not in fields:
        fields = dict(filter(None, map(_LABELS.line, text.splitlines())))
        fields.setdefault("next", text.splitlines()[-1])
        fields.setdefault("reason", text)
    # Where no field says it, the run stops if nothing is missing.
    stop = reads_as_stop(fields.get("next", "")) if "next" in fields or "missing" not in fields else True
    if stop is None:
        return "the judgement does not say whether to stop or to continue"
    rejected = re.search(r"\breject", fields.get("result", ""), re.IGNORECASE) is not None
    reason = " ".join(fields.get("reason", "").split())
    missing, answer = (" ".join(fields.get(name, "").split()) for name in ("missing", "answer"))
    if _says_nothing(missing):
        missing = ""
    if missing or _says_unknown(answer):
        answer, stop = "", False
    return Judgement(not rejected, stop, reason, answer, missing.rstrip("."))


def _says_nothing(missing: str) -> bool:
    """Whether nothing is missing; a remark on that must not name something after all."""
    bare = missing.strip(_AROUND)  # empty where JSON has an empty value
    if not bare or _UNKNOWN.fullmatch(bare):
        return True
    if (nothing := _NOTHING.match(bare)) is None:
        return False
    remark = _NOTHING.sub("", bare[nothing.end() :].strip(_AROUND)).strip(_AROUND)
    if _LACKS.search(remark) is not None:
        return False
    return not remark or nothing[0].casefold() not in ("no", "false") or _IS_A_SENTENCE.search(remark) is not None


def _says_unknown(answer: str) -> bool:
    """Whether an answer is none; a film may be called Unknown."""
    bare = answer.strip(_AROUND)
    if (unknown := _UNKNOWN.match(bare)) is None:
        return False
    remark = bare[unknown.end() :].strip(_AROUND)
    return _TELLS_APART.fullmatch(remark) is None or _LACKS.search(remark) is not None


def _fields_in_json(text: str) -> dict[str, str]:
    """The fields of the last JSON object that judges."""
    verdict: dict[str, str] = {}
    for part in json_values(text):
        value = part.value[-1] if isinstance(part.value, list) and part.value else part.value
        fields = _LABELS.in_json(value)
        if isinstance(value, dict) and isinstance(value.get("stop"), bool):
            fields["next"] = "stop" if value["stop"] else "continue"
        if isinstance(value, dict) and isinstance(value.get("accepted"), bool):
            fields["result"] = "accept" if value["accepted"] else "reject"
        if "next" in fields or "result" in fields:
            verdict = fields
    return verdict
