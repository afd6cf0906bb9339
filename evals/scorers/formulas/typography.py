"""One spelling for the signs of a formula: Unicode's become ASCII or LaTeX, and nothing changes its value on the way.

Compatibility forms cannot simply be folded: that would make `1½` an 11/2 and `10²` a 102.
"""

from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙᵢ", "0123456789+-()ni")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ]+")
_SUBSCRIPT = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙᵢ]+")
_VULGAR = re.compile("[¼½¾⅐-⅞↉]")
_RANGE = re.compile(r"(?<=\d)\s*[‐‑‒–—]\s*(?=\d)")
_DASH = re.compile(r"[−﹣－]|(?<!\d)[‐‑‒–—]|[‐‑‒–—](?!\d)")
_TIMES_TEN = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*(?:\^|\*\*))")
_SAME_SIGN = ("<wide>", "<narrow>", "<font>")
_SIGNS = str.maketrans({
    "×": "*", "✕": "*", "✖": "*", "⋅": "*", "·": "*", "∙": "*", "∗": "*", "÷": "/", "∕": "/", "⁄": "/", "≤": "\\le ",
    "≥": "\\ge ", "⩽": "\\le ", "⩾": "\\ge ", "≠": "\\ne ", "≈": "\\approx ", "∼": "\\approx ", "≃": "\\approx ",
    "≅": "\\approx ", "∞": " oo ", "√": "\\sqrt ", "∛": "\\cbrt ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ",
    "∅": "\\emptyset ", "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}", "ℂ": "\\mathbb{C}",
    "ℚ": "\\mathbb{Q}", "∖": "\\setminus ", "∨": "\\lor ", "∧": "\\land ", "∣": "|", "ℯ": "e", "ⅈ": "i",
    "⟨": "\\langle ", "⟩": "\\rangle ", "⌊": "\\lfloor ", "⌋": "\\rfloor ", "⌈": "\\lceil ", "⌉": "\\rceil ",
    "±": "\\pm ", "∓": "\\mp ",
    "′": "'", "’": "'", "‘": "'", "º": "°", "˚": "°", "ϕ": "\\phi ", "ϵ": "\\epsilon ",
    "\u00a0": " ", "\u2002": " ", "\u2003": " ", "\u2007": " ", "\u2009": " ", "\u200a": " ", "\u202f": " ",
    "\u200b": "", "\u2060": "", "\ufeff": "", "\u2061": "", "\u2062": "*", "\u2064": "+",
})  # fmt: skip
_GREEK = {
    unicodedata.lookup(f"GREEK {size} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}"): f"\\{shown} "
    for name in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu",
                 "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega")
    for size, shown in (("SMALL", name), ("CAPITAL", name.capitalize()))
}  # fmt: skip


def one_spelling(text: str) -> str:
    """The text in ASCII and LaTeX as far as it can be; a dash between two numbers is a range and stays a dash."""
    text = _SUPERSCRIPT.sub(lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)
    text = _SUBSCRIPT.sub(lambda match: f"_{{{match[0].translate(_SUBSCRIPTS)}}}", text)
    text = _VULGAR.sub(_fraction, text).translate(_SIGNS)
    text = _TIMES_TEN.sub("*", _DASH.sub("-", _RANGE.sub("–", text)))
    return "".join(_GREEK.get(sign) or _plain(sign) for sign in text)


def _plain(sign: str) -> str:
    """A sign in another width or font is that sign; other compatibility forms would change what is beside them."""
    return unicodedata.normalize("NFKC", sign) if unicodedata.decomposition(sign).startswith(_SAME_SIGN) else sign


def _fraction(match: re.Match[str]) -> str:
    """`½` is 1/2; beside a digit or a letter it is set apart, so that `1½` is the mixed number 1 1/2."""
    numerator, _, denominator = unicodedata.normalize("NFKC", match[0]).partition("⁄")
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    fraction = f"{numerator}/{denominator or 1}"
    if before.isdigit():
        return f" {fraction}"
    return f"({fraction})" if before.isalnum() or after.isalnum() else fraction
