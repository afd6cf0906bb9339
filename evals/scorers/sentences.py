"""The one number that a short sentence states ("They meet after 27 miles."), and nothing that a sentence only mentions.

A sentence states its number when that number is the only one, stands where a value stands, and no word in it denies,
doubts, compares, counts on or offers a choice. Everything else states nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from evals.scorers.denials import denies
from evals.scorers.formulas.numerals import read_number
from evals.scorers.words import words

MAX_SENTENCE = 300

_NUMBER = re.compile(r"(?<![\w.,\\])[-−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?![\w^]|[.,]\d)")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_SIGNS = re.compile(r"[?^\\+*/=<>±≤≥≠%‰°|&_{}\[\]]|(?<=\s)[-–—−](?=\s)")
_SENTENCE_END = re.compile(r"[.!;:]\s+\S|\n")

_OTHERWISE = words("""
    less more under over above below least most almost nearly fewer greater larger smaller bigger higher lower
    exceed exceeds exceeding beyond between from to than upwards until till up within minimum maximum max min plus
    minus negative past or either maybe perhaps possibly might could may would should if unless whether guess assume
    assuming suppose supposing instead rather but however although though actually alternatively otherwise versus vs
    probably presumably likely unlike wait hmm half halves third thirds quarter quarters fifths tenths twice thrice
    double triple doubled tripled halved squared cubed square cube root factorial times divided multiplied modulo
    mod base power log sin cos tan sqrt pi choose percent percentage hundred thousand million billion trillion dozen
    dozens score pair pairs hundreds thousands millions billions increase decrease increased decreased added
    subtracted per every each another remainder multiple multiples factor inverse reciprocal ago bc bce ad ce
    infinity imaginary extra additional first second last two three four five six seven eight nine ten eleven twelve
    both respectively problem question step example exercise page chapter equation option choice line note verse
    case part figure table section attempt point
""")
_BEFORE = words("""
    is are was were be been equals equal equalling equaling get gets got have has had gives give gave yields yield
    makes make made totals total after in at by exactly takes take took needs need needed costs cost contains
    contain earns earned answer result value there only just precisely being becomes left sold bought used uses paid
    pays spent spends walked ran drove lasts lasted weighs scored won received obtain obtains found find remain
    remains therefore so thus hence it the a
""")
"""Words that a stated value stands directly behind."""
_COUNTED = words("""
    total number value answer result cost price distance length area age
""")
"""What a value can be of: `a total of 27`; of anything else it may be a half or a square."""
_ABOUT = frozenset(("about", "approximately", "around", "roughly", "circa", "approx"))


@dataclass(frozen=True)
class Stated:
    """The number of a sentence."""

    number: Fraction
    tail: str
    """What follows it, up to the end of the sentence."""
    about: bool


def stated_number(text: str) -> Stated | None:
    """The number that a sentence states, or None.

    Args:
        text: one sentence; a longer text states nothing.
    """
    if len(text) > MAX_SENTENCE or not _WORD.search(text) or _SENTENCE_END.search(text.strip()):
        return None
    matches = list(_NUMBER.finditer(text))
    rest = _NUMBER.sub(" ", text)
    if len(matches) != 1 or re.search(r"\d", rest) or _SIGNS.search(rest):
        return None
    before, tail = text[: matches[0].start()], text[matches[0].end() :]
    words = [word.lower() for word in _WORD.findall(rest)]
    if any(denies(word) or word in _OTHERWISE for word in words):
        return None
    leading = [word.lower() for word in _WORD.findall(before)]
    about = bool(leading) and leading[-1] in _ABOUT
    if not _introduces(leading[:-1] if about else leading, before):
        return None
    number = read_number(matches[0][0].replace("−", "-"))
    return None if number is None else Stated(number, tail.strip().rstrip(".!"), about)


def _introduces(leading: list[str], before: str) -> bool:
    """Whether a value can stand behind these words."""
    if not leading or before.rstrip().endswith(("$", "€", "£", ":")):
        return True
    if leading[-1] == "of":
        return len(leading) > 1 and leading[-2] in _COUNTED
    return leading[-1] in _BEFORE
