"""The second hop: what results bring up, and nothing was looked up about, is searched for.

A small model finds the birthplace and takes another place's inhabitants for its own, or asks for the birthplace of a
founder once more where the founder's name has just been found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from graph.checks.english import in_english
from graph.checks.evidence import Evidence
from graph.checks.excerpts import sentences_of, titles_of
from graph.checks.foreseen import Foreseen, NextStep
from graph.checks.grounding import FULL_NAME, content_words
from graph.checks.literals import literals_of
from graph.checks.provenance import CUSTOMARY_NAMES
from graph.checks.questions import is_amount
from graph.state import Verdict

_MORE_ABOUT = "more about "
_WHOLE_NAME = re.compile(r"[^\W\d_a-z][\w'’.-]+(?: [\w'’.-]+){0,4}")
"""A text of a program that is a name and nothing else."""
_STEM = 4
"""Letters by which words are compared."""
_MOST_NAMES = 3
"""Names of one sentence that are searched for together."""


def name_in_program(evidence: Evidence) -> Foreseen | None:
    """What follows a program for an amount that names what no passage is about: a search for that."""
    if evidence.failed or not evidence.searched or evidence.tool != evidence.computes_with:
        return None
    if not is_amount(evidence.question):
        return None
    texts = (literal.value for literal in literals_of(evidence.inputs[0]))
    names = (text for text in texts if isinstance(text, str) and _WHOLE_NAME.fullmatch(text))
    return _search(_unfollowed(names, evidence)[:1], evidence)


def name_after_repetition(evidence: Evidence) -> Foreseen | None:
    """What follows a step that was taken before: a search for the names in the sentence nearest to the question."""
    if evidence.failed is None or evidence.failed["kind"] != "repeat":
        return None
    asked = _stems(evidence.question)
    sentences = [sentence for result in evidence.old for sentence in sentences_of(result)]
    for sentence in sorted(sentences, key=lambda text: -len(asked & _stems(text))):
        if names := _unfollowed(FULL_NAME.findall(sentence), evidence):
            whole = [name for name in names if " " in name]
            return _search((whole or names)[:_MOST_NAMES], evidence)
    return None


def _stems(text: str) -> set[str]:
    """The beginnings of a text's words: founder and founded are one."""
    return {word[:_STEM] for word in content_words(text)}


def follows_a_name(evidence: Evidence) -> bool:
    """Whether the step is such a search."""
    return bool(evidence.asked_for) and evidence.asked_for[-1].startswith(_MORE_ABOUT)


def _unfollowed(names: Iterable[str], evidence: Evidence) -> list[str]:
    """The names that are not in the question and that no passage is about; none where passages have no titles."""
    titles = [content_words(title) for result in evidence.old for title in titles_of(result)]
    if not titles:
        return []
    known = content_words(evidence.question) | CUSTOMARY_NAMES

    def is_new(name: str) -> bool:
        words = content_words(name)
        return not words <= known and not any(words <= title for title in titles)

    return list(dict.fromkeys(filter(is_new, names)))


def _search(names: list[str], evidence: Evidence) -> Foreseen | None:
    told = " and ".join(names)
    missing = f"{_MORE_ABOUT}{told}"
    if not (told and evidence.searches_with) or missing in evidence.asked_for:
        return None
    if not in_english(evidence.question, *evidence.texts):
        return None
    verdict = Verdict(accepted=False, stop=False, reason="", answer="", missing=missing, source="rules")
    return Foreseen(verdict, search_for(told, evidence.searches_with))


def search_for(names: str, tool: str) -> NextStep:
    """A search for names."""
    return NextStep(
        tool, justification="What it is about has to be looked up.", context=names, sub_goal=f"Find {names}"
    )
