"""Formulas as LaTeX, calculators and sympy write them, compared by value."""

from __future__ import annotations

import pytest

from evals.scorers.formulas.reader import read
from evals.scorers.formulas.tree import UnreadableError
from evals.scorers.formulas.worker import verdict

EQUAL = [
    ('Piecewise((x, x > 0), (-x, True))', 'x if x > 0 else -x'),
    ('Piecewise((x, x > 0), (-x, True))', 'x if x > 0, -x otherwise'),
    ('Piecewise((x, x > 0), (-x, True))', 'f(x) = x for x > 0; -x for x \\le 0'),
    ('Piecewise((x, x > 0), (-x, True))', 'x if x > 0, -x if x <= 0'),
    ('Piecewise((1, x > 1), (x, x > 0), (0, True))', '1 if x > 1 else x if x > 0 else 0'),
    ('Piecewise((1, x > 1), (x, x > 0), (0, True))', '1 if x > 1 else (x if x > 0 else 0)'),
    ('x > 3', '\\{x \\mid x > 3\\}'), ('x > 3', '{x : x > 3}'), ('x > 3', '{x | x > 3}'), ('x > 3', '(3, oo)'),
    ('x < 5', '(-oo < x) & (x < 5)'), ('x >= 3', '(3 <= x) & (x < oo)'),
    ('(-oo, 1) \\cup (3, oo)', '((-oo < x) & (x < 1)) | ((3 < x) & (x < oo))'), ('x = 5', 'Eq(x, 5)'),
    ('5', '{x: 5}'), ('5', '[{x: 5}]'), ('5', '[5]'), ('\\{1, 2, 3\\}', '[1, 2, 3]'), ('(1, 2)', '[(1, 2)]'),
    ('(1,2),(3,4)', '[(1, 2), (3, 4)]'), ('x=1, y=2', '{x: 1, y: 2}'), ('x=1, y=2', '[{x: 1, y: 2}]'),
    ('Ei(x)', 'Ei(x) + 0'), ('polygamma(1, x)', 'polygamma(1, x)*1'), ('loggamma(x)', 'log(gamma(x))'),
    ('harmonic(n)', 'digamma(n+1) + EulerGamma'), ('uppergamma(2,x)', '(x+1)*exp(-x)'), ('\\text{Let } x = 5', '5'),
    ('x = 5', 'x = 5.0'), ('\\frac{-1+\\sqrt{5}}{2}, \\frac{-1-\\sqrt{5}}{2}', '\\frac{-1 \\pm \\sqrt{5}}{2}'),
    ('\\frac{-1+\\sqrt{5}}{2}, \\frac{-1-\\sqrt{5}}{2}', '[-1/2 + sqrt(5)/2, -sqrt(5)/2 - 1/2]'),
    ('y = 3x - 2', 'y = 3x + -2'), ('y = 3x - 2', '3x - y = 2'), ('x^2 + y^2 = 4', 'x^2 + y^2 - 4 = 0'),
    ('\\left(\\frac{1}{2}, -\\frac{3}{4}\\right)', '(0.5, -0.75)'),
    ('2\\mathbf{i} + 3\\mathbf{j}', '3\\mathbf{j} + 2\\mathbf{i}'),
    ('\\vec{a} + 2\\vec{b}', '2\\vec{b} + \\vec{a}'), ('x \\in [1,2] \\cup [3,4]', '[1,2] U [3,4]'),
    ('[1,2] \\cup \\{5\\}', '{5} U [1,2]'), ('\\pm\\frac{\\sqrt{2}}{2}', '-sqrt(2)/2, sqrt(2)/2'),
    ('e^{i\\pi/3}', '1/2 + sqrt(3)*I/2'), ('\\frac{\\pi}{4} + k\\pi', 'pi/4 + pi*k'),
    ('\\cos\\frac{\\pi}{5}', '(1 + sqrt(5))/4'), ('\\sqrt{3 + 2\\sqrt{2}}', '1 + sqrt(2)'),
    ('0.1\\overline{6}', '1/6'), ('1.5\\%', '0.015'), ('4!', '24'), ('10 \\text{ or } 20', '20, 10'),
    ('\\frac{2}{3}\\pi', '2*pi/3'), ('2\\frac{2}{3}', '8/3'), ('\\log_3 9', '2'),
    ('\\left\\lfloor 3.7 \\right\\rfloor', '3'), ('|{-5}|', '5'), ('\\left|\\frac{-5}{2}\\right|', '5/2'),
    ('{5 \\choose 2}', '10'), ('a_n = 2n+1', '2n + 1'), ('S_n = \\frac{n(n+1)}{2}', 'n*(n+1)/2'),
    ('\\angle ABC = 30^\\circ', '30^\\circ'), ('P(A) = \\frac{1}{3}', '1/3'), ('7:3', '7 : 3'),
    ('2^{n+1} - 1', '2*2**n - 1'), ('(-1)^n', 'cos(pi n)'), ('n(n+1)', 'n^2+n'), ('\\sin^2 x', '1 - cos(x)**2'),
    ('\\tan^2 x + 1', 'sec(x)**2'), ('5 + 3i', '(5+3i)'), ('3.0 \\times 10^{8}', '3e8'),
    ('\\left(-\\infty, \\frac{1}{2}\\right]', '(-oo, 1/2]'), ('x\\le\\frac12', '(-oo, 0.5]'),
    ('\\{(1,2),(3,4)\\}', '{(3,4),(1,2)}'), ('\\emptyset', '\\{\\}'), ('\\sqrt{x^2+1}', 'sqrt(1 + x**2)'),
    ('(a+b)^3', 'a^3+3a^2b+3ab^2+b^3'), ('\\frac{1}{1+\\frac{1}{x}}', 'x/(x+1)'), ('x^{-1/2}', '1/sqrt(x)'),
    ('\\dfrac{\\ln 3}{\\ln 2}', 'log(3)/log(2)'), ('\\log_2 3', 'log(3)/log(2)'), ('\\mathrm{e}^{-1}', 'exp(-1)'),
    ('e^{-1}', '1/e'), ('2.5', '5/2'), ('x\\cdot y', 'xy'), ('12xy^2', '12*x*y**2'),
    ('-\\frac{1}{2}x + 3', '3 - x/2'), ('\\frac{x}{2} - \\frac{y}{3} = 1', '3x - 2y = 6'), ('A = 5', '5'),
    ('n \\ge 5', 'n >= 5'), ('k > 0', 'k > 0'), ('\\binom{n+1}{2}', 'n(n+1)/2'),
]  # fmt: skip
DIFFERENT = [
    ("-2, 2", "[-2, 2]"), ("(1, 2)", "[1, 2]"), ("{1, 2}", "(1, 2)"), ("x = 5", "2x = 10"), ("x = 5", "y = 5"),
    ("f(x) = 2x", "g(x) = 2x"), ("x > 3", "x >= 3"), ("{x : x > 3}", "{x : x < 3}"), ("x=1, y=2", "{x: 2, y: 1}"),
    ("Piecewise((x, x > 0), (-x, True))", "x if x >= 1 else -x"), ("10**100000", "10**100000 + 1"),
    ("e^{484}", "e^{484} + 1"), ("sqrt(2)", "sqrt(2) + 10**(-220)"), ("exp(x)", "exp(x) + 10**(-60)"),
    ("|x - 1000|", "1000 - x"), ("|x - 10^9|", "10^9 - x"), ("floor(x)", "floor(x + 10**(-9))"), ("x", "|x|"),
    ("\\ln(x^2)", "2\\ln x"), ("\\pi", "355/113"), ("1", "0.9999999999999999999999"), 
    ("e^{\\pi\\sqrt{163}}", "262537412640768744"),
    ("x^2", "x^2 + sin(2*pi*x)/10^9"), ("3", "\\pm 3"), ("y = x", "y = -x"), ("x + y = 1", "x - y = 1"),
    ("Matrix([[1, 2], [3, 4]])", "Matrix([[1, 3], [2, 4]])"), ("Matrix([1, 2])", "Matrix([[1, 2]])"), ("i", "-i"),
    ("(x < 1) | (x > 3)", "(x > 1) & (x < 3)"), ("a*b", "a*B"), ("x_1", "x_2"), ("log(2, 3)", "log(3, 2)"),
]  # fmt: skip
UNREADABLE = [
    "2 3", "5 million", "12 miles", "1/2x", "a/bc", "\\sin x/2", "\\sqrt23", "5 or", "(5", "5)", "x^", "5 +", "27?",
    "5–7",
    "1.2.3", "not 5", "yes", "__import__('os').system('true')", "x.__class__", "print(1)", "f'{x}'",
    "9!!!!", "√2x", "3, ..., 9",
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), EQUAL)
def test_equal_by_value(gold: str, answer: str) -> None:
    assert verdict(gold, answer)["equal"], verdict(gold, answer)["why"]


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different_however_near(gold: str, answer: str) -> None:
    assert not verdict(gold, answer)["equal"]
    assert verdict(gold, gold)["equal"]
    assert verdict(answer, answer)["equal"]


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_not_understood_as_a_whole_is_refused(text: str) -> None:
    with pytest.raises(UnreadableError):
        read(text)
