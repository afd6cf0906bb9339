"""Words that take back what they stand beside: an answer that is denied, doubted or withdrawn was not given."""

from __future__ import annotations

import re

from evals.scorers.words import words

DENIALS = words("""
    not no never none neither nor cannot without wrong wrongly incorrect incorrectly false untrue unlikely doubt
    doubtful impossible except hardly barely refuse rejected unable unknown unclear unsure nothing nobody mistaken
    deny denied disagree invalid nope
""")
"""In small letters; "n't" counts as well."""
CONDITIONS = words("if unless whether suppose supposing maybe perhaps claim claims claimed")
"""Words before an answer that leave open whether it is one."""
_IDIOMS = re.compile(
    r"\b(?:there(?:'s| is) )?(?:no|without(?: a| any)?|beyond(?: a| any| all)?) (?:doubt|question)s?"
    r"(?: about (?:it|that))?\b|"
    r"\bundoubtedly\b|\bnot only\b",
    re.IGNORECASE,
)
"""What sounds like a denial and affirms."""
_INTERJECTION = re.compile(r"\bno(?=,)", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:['’]t\b)?")
_CLAUSE = re.compile(r"[.;:!?\n]|\b(?:but|however|so|therefore|hence|thus)\b")
_WITHDRAWN = re.compile(
    r"\bwait\b(?=[,.!…-])|\bhmm+|\bactually,|\bcorrection\b|\bscratch that\b|\bon second thought\b|"
    r"\bi made (?:a|an) (?:mistake|error)\b|\b(?:that|this)(?:'s| is| was) (?:wrong|incorrect|not right)\b|"
    r"\bno,(?! (?:i|it|they|he|she|we)\b)",
    re.IGNORECASE,
)
_NEAR = 2
"""Words before a box or tag among which a denial belongs to it."""


def affirmed(text: str) -> str:
    """A text without the idioms that affirm by a denial ("no doubt")."""
    return _IDIOMS.sub(" ", text)


def denies(word: str) -> bool:
    """Whether a word, in small letters, takes something back."""
    return word in DENIALS or word.endswith(("n't", "n’t"))


def words_of(text: str) -> list[str]:
    """The words of a text in small letters, idioms and interjections left out."""
    return _WORD.findall(_INTERJECTION.sub(" ", affirmed(text)).lower())


def has_denial(text: str) -> bool:
    """Whether any word of a text takes something back."""
    return any(map(denies, words_of(text)))


def is_open(clause: str) -> bool:
    """Whether the clause before an announced answer denies it or leaves it open ("I doubt that the answer is")."""
    clause = _CLAUSE.split(clause[-200:].lower())[-1]
    # "As 27 is no prime, the answer is" denies something else; "if it is odd, the answer is" leaves this one open.
    return has_denial(clause.rsplit(",", 1)[-1]) or any(word in CONDITIONS for word in words_of(clause))


def is_denied_nearby(before: str) -> bool:
    """Whether the last words before an answer deny it ("not \\\\boxed{27}")."""
    return any(map(denies, words_of(before[-60:])[-_NEAR:]))


def is_withdrawn(after: str) -> bool:
    """Whether what follows an answer takes it back ("wait, that is wrong")."""
    return _WITHDRAWN.search(after[:2000]) is not None
