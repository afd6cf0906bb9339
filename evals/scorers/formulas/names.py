"""The vocabulary of formulas: what a name may mean. A name that is not here is a variable of one letter, or nothing."""

from __future__ import annotations

from collections.abc import Mapping


def words(text: str) -> frozenset[str]:
    """The words of a text that is nothing but a list of them."""
    return frozenset(text.split())


_ONE = """
sin cos tan cot sec csc asin acos atan acot asec acsc sinh cosh tanh coth sech csch asinh acosh atanh acoth exp sqrt
cbrt abs floor ceiling sign re im conjugate arg factorial factorial2 subfactorial gamma loggamma digamma erf erfc erfi
zeta lambertw det Ei Si Ci li harmonic fibonacci sinc airyai airybi
"""
_TWO = """
atan2 root binomial mod beta besselj bessely besseli besselk polygamma polylog RisingFactorial FallingFactorial
uppergamma lowergamma legendre chebyshevt chebyshevu hermite
"""
FUNCTIONS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(_ONE.split(), (1, 1)), **dict.fromkeys(_TWO.split(), (2, 2)),
    "log": (1, 2), "max": (1, 50), "min": (1, 50), "gcd": (1, 50), "lcm": (1, 50),
}  # fmt: skip
"""Functions and how few and how many arguments each takes."""

SYNONYMS: Mapping[str, str] = {
    "ln": "log", "lg": "log10", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot",
    "arcsec": "asec", "arccsc": "acsc", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "arsinh": "asinh", "arcosh": "acosh", "artanh": "atanh", "tg": "tan", "ctg": "cot", "cosec": "csc",
    "Abs": "abs", "ceil": "ceiling", "sgn": "sign", "Max": "max", "Min": "min", "Mod": "mod", "LambertW": "lambertw",
    "Gamma": "gamma", "fac": "factorial", "conj": "conjugate", "Re": "re", "Im": "im", "arctg": "atan",
    "nCr": "binomial", "comb": "binomial",
}  # fmt: skip
PREFIX_FUNCTIONS = words("""
    sin cos tan cot sec csc asin acos atan acot sinh cosh tanh coth log log10 log2 exp max min gcd lcm arg det sqrt
    cbrt
""")
"""Functions whose argument may stand without brackets."""

CONSTANTS: Mapping[str, str] = {
    "pi": "pi", "e": "e", "E": "e", "i": "i", "I": "i", "oo": "oo", "inf": "oo", "infty": "oo", "infinity": "oo",
    "Infinity": "oo", "EulerGamma": "EulerGamma", "GoldenRatio": "GoldenRatio", "Catalan": "Catalan", "True": "true",
    "true": "true", "False": "false", "false": "false", "Reals": "reals", "EmptySet": "empty", "emptyset": "empty",
    "varnothing": "empty", "Integers": "integers", "Naturals": "naturals", "Complexes": "complexes",
    "Rationals": "rationals",
}  # fmt: skip

GREEK = words("""
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
    Delta Theta Lambda Xi Sigma Phi Psi Omega Gamma varphi varepsilon vartheta ell hbar
""")
"""Letters; `gamma`, `beta`, `zeta` and `Gamma` are functions where a bracket follows."""

CONSTRUCTORS = words("""
    Matrix ImmutableMatrix MutableDenseMatrix ImmutableDenseMatrix Piecewise Interval Interval.open Interval.Lopen
    Interval.Ropen Union FiniteSet Eq Ne Lt Le Gt Ge And Or Rational Integer Float Tuple Symbol
""")
"""What sympy prints that is no function of numbers."""

WORDS: Mapping[str, str] = {
    "or": "or", "and": "and", "otherwise": "otherwise", "else": "otherwise", "if": "if", "when": "if", "for": "if",
    "where": "if", "choose": "choose", "over": "over", "mod": "mod", "in": "in", "U": "union",
}  # fmt: skip
"""Words that join; `U` is one only between brackets."""

COMMANDS: Mapping[str, str] = {
    "cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "±", "mp": "∓", "le": "<=", "leq": "<=", "leqslant": "<=",
    "ge": ">=", "geq": ">=", "geqslant": ">=", "lt": "<", "gt": ">", "ne": "!=", "neq": "!=", "approx": "~", "sim": "~",
    "in": "in", "cup": "union", "cap": "intersection", "setminus": "minus", "backslash": "minus", "lor": "||",
    "vee": "||", "land": "&&", "wedge": "&&", "lvert": "|", "rvert": "|", "vert": "|", "lfloor": "⌊", "rfloor": "⌋",
    "lceil": "⌈", "rceil": "⌉", "langle": "⟨", "rangle": "⟩", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[",
    "rbrack": "]", "lparen": "(", "rparen": ")", "colon": ":", "bmod": "mod", "choose": "choose", "over": "over",
    "prime": "'", "circ": "°", "degree": "°", "simeq": "~", "cong": "~", "mid": "|", "equiv": "=",
}  # fmt: skip
"""LaTeX commands that are signs."""

INVISIBLE = words("""
    left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr middle displaystyle textstyle
    scriptstyle quad qquad limits nolimits thinspace enspace hspace mathstrut strut rm bf it
""")
DECORATIONS = words("""
    vec hat overrightarrow angle triangle bar tilde widehat dot ddot mathbf boldsymbol mathcal mathscr mathfrak
    overline measuredangle
""")
"""LaTeX commands that make another name of a letter."""
BLACKBOARD: Mapping[str, str] = {
    "R": "reals", "Z": "integers", "N": "naturals", "C": "complexes", "Q": "rationals",
}  # fmt: skip
MATRICES: Mapping[str, str] = {
    "pmatrix": "matrix", "bmatrix": "matrix", "Bmatrix": "matrix", "matrix": "matrix", "smallmatrix": "matrix",
    "array": "matrix", "vmatrix": "determinant", "cases": "cases", "dcases": "cases", "rcases": "cases",
}  # fmt: skip
"""LaTeX environments by what they are."""

NO_PRODUCT = words("""
    am an as at be by do go he if in is it me my no of on or so to up us we cm mm km kg mg ml mL dm nm ft lb oz mi
    hr Hz kW kJ Pa eV GB MB kB pm st nd rd th bn mn dx dy dt vs
""")
"""Pairs of letters that are words or units before they are products."""


def function_of(name: str) -> str | None:
    """The function that a name means, `log10` and `log2` included; None if it means none."""
    name = SYNONYMS.get(name, name)
    return name if name in FUNCTIONS or name in ("log10", "log2") else None
