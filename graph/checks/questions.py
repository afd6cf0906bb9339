"""What a question in English asks for: an amount, a choice or an order, about which names, out of which options."""

from __future__ import annotations

import re
from collections.abc import Sequence

from graph.checks.grounding import FULL_NAME, content_words
from graph.checks.provenance import CUSTOMARY_NAMES
from tools.passages import split_sentences

_MEASURES = """old young new earli lat larg small bigg great high low tall short long wid narrow deep shallow heavi
light fast slow quick near clos cheap rich poor hott cold warm strong weak thick thinn steep busi dens"""
_COMPARED = rf"(?:(?:{'|'.join(_MEASURES.split())})(?:er\ than|est)|(?:far|fur)the(?:r\ than|st))"
_HOW = r"\bhow\ (?:many|much|old|tall|long|high|far|deep|large|big|wide|heavy|fast)\b"
_COMPUTED = re.compile(
    rf"""(?ix)
      \b(?:day\ of\ the\ week|weekday)\b
    | {_HOW}
    | \b(?:average|ratio|percentage|difference|sum|speed)\b
    | \b(?:what\ (?:is|are|was|were)|find|give|tell|calculate|compute|determine)\ (?:[\w'’]+\ ){{0,3}}
      (?:total|product|area|age|costs?|price)\b
    | \b(?:what|which)\ (?:\w+\ )?(?:total|area(?!\ of)|age|price)\b
    | \bwhat\ (?:(?:do|does|did|would)\b [^.?!\n]* \bcost|(?:is|are|was|were)\b [^.?!\n]* \bworth)\b
    | \b(?:which|who)\b [^.?!\n]*
      \b(?:(?<!the\ )(?:first|last)|most|fewest|least|more|fewer|earlier|later|{_COMPARED})\b
    | \bin\ (?:the\ )?order\b(?!\ to\b)
    | \b(?:same|different|before|after|than)\b [^.?!\n]* \?\ Answer\ (?:with\ |by\ )?yes\ or\ no
    """
)
_AMOUNT = re.compile(_HOW, re.IGNORECASE)
_QUOTED = r"""(?<=[\w,;] )(?:"[^"\n]*"|“[^“”\n]*”)"""
TITLES = re.compile(rf"{FULL_NAME.pattern}|{_QUOTED}")
"""Names and quotations inside the sentences of a question."""
_SPELLED = re.compile(
    r"(?i)\b(?:letters?|vowels?|consonants?|syllables?|characters?|words?|names?|spell(?:ed|ing)?|spelt|backwards"
    r"|permutations?|anagrams?|palindromes?|numerals?|digits?|primes?|(?:prime|fibonacci) numbers?)\b"
)
_LETTERED = re.compile(r"(?m)^[ \t]*\(?[A-H][).:]\s")

_ROUNDED = re.compile(
    r"(?i)\b(?:round(?:ed)?|to|with)(?: \w+){1,2}? (?:decimals?(?: places?)?|significant (?:digits?|figures?))\b"
)

_ASKED = 500
"""Characters at the end of a long question that say what is asked."""


def asking_part(question: str) -> str:
    """What a question asks; before it may stand a long text that it is about."""
    return question[-_ASKED:]


def is_computed(question: str) -> bool:
    """Whether a question asks for an amount, a choice or an order; the words of names and titles ask for nothing."""
    return _COMPUTED.search(TITLES.sub("X", asking_part(question))) is not None


def is_amount(question: str) -> bool:
    """Whether a question asks how many, how old and the like, whose answer is no name."""
    return _AMOUNT.search(asking_part(question)) is not None


def is_about_words(question: str) -> bool:
    """Whether a question may be about a word or a number itself: the letters of a name, the value of a numeral."""
    return _SPELLED.search(asking_part(question)) is not None


def without_rounding(question: str) -> str:
    """A question without how exact its answer has to be: the number in that is no fact."""
    return _ROUNDED.sub(" ", question)


def names_in(question: str, told: Sequence[str] = ()) -> list[str]:
    """The names in a question, each once, that no sentence of the texts has whole; a month or a weekday is no name."""
    names = {name: content_words(name) - CUSTOMARY_NAMES for name in FULL_NAME.findall(asking_part(question))}
    sentences = [content_words(part) for text in told for line in text.splitlines() for part in split_sentences(line)]
    return [name for name, words in names.items() if words and not any(words <= sentence for sentence in sentences)]


def has_options(question: str) -> bool:
    """Whether a question offers options with letters: `A) Paris`."""
    return _LETTERED.search(question) is not None
