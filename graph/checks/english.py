"""Whether a question is in English: the checks know English words, and abstain on other languages."""

from __future__ import annotations

import re

from graph.checks.questions import TITLES

_LETTER = re.compile(r"[^\W\d_]")
_LATIN_LETTER = re.compile("[A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿⱠ-ⱿꜢ-ꟿꬰ-ꭤＡ-Ｚａ-ｚ]")
_FEW = 0.2
"""Share of other letters allowed in a Latin text: formulas, names in their own script."""

_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH_WORDS = """the and or to by for from with than that this there it they you what which who whose when where
why how does did are were have be many much"""
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_OTHER_WORDS = """wie wer wann wo warum welche welcher welches hat ist und der das qui que quel quelle quand combien
comment pourquoi où est et les des qué quién cuál cuándo cuánto cuántos cuántas cómo dónde es los del chi che quale
quanti quante quando dove perché è il di wat waar wanneer waarom welk welke hoe hoeveel heeft het een van"""
_OTHER = frozenset(_OTHER_WORDS.split())
"""Words that ask and join in English, and in German, French, Spanish, Italian and Dutch."""
_SHARE = 8
"""Of so many words one has to be of the first kind; with fewer, or figures and names alone, there may be none."""


def in_english(question: str, *texts: str) -> bool:
    """Whether a question is in English, and it and the texts that belong to it are in Latin script."""
    words = _WORD.findall(TITLES.sub(" ", question).casefold())
    english, other = (sum(word in known for word in words) for known in (_ENGLISH, _OTHER))
    return english >= max(other, len(words) // _SHARE) and in_latin_script(question, *texts)


def in_latin_script(*texts: str) -> bool:
    """Whether every text is in Latin script; a text without letters counts as Latin."""
    for text in texts:
        if text.isascii():
            continue
        letters = len(_LETTER.findall(text))
        if letters - len(_LATIN_LETTER.findall(text)) > _FEW * letters:
            return False
    return True
