"""Bring a short text to its comparable form: a list of tokens.

This is the normalisation that question-answering benchmarks use (case, punctuation, articles), with its known faults
mended: numbers keep their point and sign (`10.8` is not `108`), accents and dashes have one spelling, initials are one
token whether written `A.P.` or `A. P.`, and numbers, ordinals, percentages, currencies and the commonest units have
one form each.
"""

from __future__ import annotations

import re
import unicodedata

from evals.scorers.quantity import NUMBER, is_number, ordinal, plain_number, spell_numbers

_LETTERS = str.maketrans({
    "ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i",
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-", "⁄": "/",
    "'": None, "‘": None, "’": None, "`": None, "´": None, "ʻ": None, "ʼ": None, "′": None,
})  # fmt: skip
_ACCENT = re.compile(r"(?<=[^\W\d_])[\u0300-\u036f]+")
_SUPERSCRIPT = re.compile(r"(?<=\d)(?=[⁰¹²³⁴-⁻])")
_SUBSCRIPT = re.compile(r"(?<=\d)(?=[₀-₉])")
_VULGAR = re.compile(r"(?<=\w)(?=[¼-¾⅐-⅞])")
_CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee", "₽": "ruble", "₩": "won"}
_CURRENCY = re.compile(rf"(?:us)?([$€£¥₹₽₩])\s?({NUMBER.pattern}(?:\s(?:thousand|million|billion|trillion)\b)?)")
_NEGATIVE = re.compile(r"(?<![\w.,)])-(?=\d)")
_OPERATOR = re.compile(
    r"(?<=[0-9])\s?[/+*^_](?=\s?[0-9])|(?<=[0-9])\+(?!\w)"  # 1/2, 2 + 3, 10^2, 5+
    r"|(?<=\b[^\W\d_]\s)[-+*/](?=\s[^\W\d_]\b)|(?<=\b[^\W\d_])\+(?=[^\W\d_]\b)"  # x - y, a+b
    r"|[<>≤≥±](?=\s?[0-9.])|(?<=\S)\s?[=≠](?=\s?\S)"  # <5, a = b
)
"""Signs that make another answer of the same words; elsewhere a sign is punctuation."""
_TOKEN = re.compile(rf"\x02[0-9]+|-?{NUMBER.pattern}(?:(?:st|nd|rd|th)\b)?|[^\W\d_]+\d*[+#]*|[^\W_]+")
_SYNONYMS = {
    "%": "percent", "&": "and", "bce": "bc", "dollars": "dollar", "usd": "dollar", "euros": "euro", "eur": "euro",
    "pounds": "pound", "kilometers": "km", "kilometres": "km", "kilometer": "km", "kilometre": "km", "kms": "km",
    "meters": "m", "metres": "m", "meter": "m", "metre": "m", "miles": "mi", "mile": "mi", "feet": "ft", "foot": "ft",
    "kilograms": "kg", "kilogram": "kg", "kph": "kmh", "mph": "mih", "sq": "square", "km2": "squarekm",
    "mi2": "squaremi", "m2": "squarem", "ft2": "squareft",
}  # fmt: skip
_JOINED: dict[tuple[str, ...], str] = {
    ("per", "cent"): "percent", ("square", "km"): "squarekm", ("square", "mi"): "squaremi", ("square", "m"): "squarem",
    ("square", "ft"): "squareft", ("km", "h"): "kmh", ("mi", "h"): "mih", ("km", "per", "hour"): "kmh",
    ("mi", "per", "hour"): "mih",
}  # fmt: skip
_ARTICLES = frozenset(("a", "an", "the"))
CURRENCY_WORDS = frozenset(_CURRENCIES.values())


def fold(text: str) -> str:
    """One spelling for letters: compatibility forms, case, accents, dashes, no apostrophes, single spaces."""
    text = _VULGAR.sub(" ", _SUBSCRIPT.sub("_", _SUPERSCRIPT.sub("^", text)))  # 10² is not 102, 1½ is not 11/2
    text = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFC", _ACCENT.sub("", unicodedata.normalize("NFD", text))).translate(_LETTERS)
    return " ".join(text.split())


def tokens(text: str) -> list[str]:
    """The comparable form of a text; a text of symbols only is one token, an empty text has none."""
    folded = fold(text)
    marked = _OPERATOR.sub(lambda match: f" \x02{ord(match[0].strip())} ", folded.replace("\x02", " "))
    marked = _CURRENCY.sub(lambda match: f"{match[2]} {_CURRENCIES[match[1]]}", marked)
    marked = _NEGATIVE.sub("\x01", marked).replace("-", " ").replace("\x01", "-")
    marked = marked.replace("%", " percent ").replace("&", " and ")
    marked = re.sub(r"(?<=[^\W\d_])\.(?=[^\W\d_])", "", marked)
    found = [_canonical(token) for token in _TOKEN.findall(marked)]
    if not found:
        return [folded] if folded else []
    return _without_articles(_merged_initials(_with_units(spell_numbers(found))))


def _canonical(token: str) -> str:
    if token.startswith("\x02"):
        return token
    if token[-1].isdigit() and (token[0].isdigit() or token[0] == "-") and token.isascii():
        return plain_number(token)
    if token[0].isdigit() and token.isascii() and token[-2:] in ("st", "nd", "rd", "th"):
        return ordinal(plain_number(token[:-2]))
    return _SYNONYMS.get(token, token)


def _with_units(found: list[str]) -> list[str]:
    """Join the words of a compound unit; other words stay as they are."""
    joined: list[str] = []
    for token in found:
        joined.append(token)
        for length in (3, 2):
            if unit := _JOINED.get(tuple(joined[-length:])):
                joined[-length:] = [unit]
    return joined


def _merged_initials(found: list[str]) -> list[str]:
    """Make one token of a run of single letters: `b v radha` is `bv radha`."""
    merged: list[str] = []
    in_run = False
    for token in found:
        is_initial = len(token) == 1 and token.isalpha()
        if is_initial and in_run:
            merged[-1] += token
        else:
            merged.append(token)
        in_run = is_initial
    return merged


def _without_articles(found: list[str]) -> list[str]:
    """Drop articles, except at the end, where `a` is a letter (`vitamin A`) and where nothing else would be left."""
    return [token for token in found[:-1] if token not in _ARTICLES] + found[-1:]


def same_tokens(left: list[str], right: list[str]) -> bool:
    """Whether two comparable forms are equal; a currency may be left out on one side (`$59,039`, `59,039`)."""
    if left == right:
        return True
    bare_left = [token for token in left if token not in CURRENCY_WORDS]
    bare_right = [token for token in right if token not in CURRENCY_WORDS]
    one_sided = (bare_left == left) != (bare_right == right)
    return one_sided and bare_left == bare_right and any(is_number(token) for token in bare_left)
