"""Numbers and formulas as answers."""

from __future__ import annotations

import time

import pytest

from evals.scorers import score
from evals.scorers.formulas.process import FormulaWorker

from .asked import task

RIGHT = [
    ('12', '1 dozen'),
    ('3/2', '1 1/2'), ('3/2', '1½'), ('3/2', '1\\frac{1}{2}'), ('3/2', '1 \\frac12'), ('-3/2', '-1 1/2'),
    ('5000000', '5 million'), ('5000000', '5,000,000'), ('5 million', '5000000'), ('5i', '5i'), ('5i', '5*I'),
    ('1234', '1,234'), ('1234', '1 234'), ('1234567', '1 234 567'), ('1234567', "1'234'567"),
    ('1234567', '1’234’567'), ('1234567.89', '1.234.567,89'), ('1234.5', '1.234,5'), ('1234567', '1.234.567'),
    ('1234', '1{,}234'), ('1234', '1\\,234'), ('3.14', '3,14'), ('1234567', '12,34,567'), ('50%', '50%'),
    ('0.5', '50%'), ('1/2', '50\\%'), ('50%', '0.5'), ('50%', '50 percent'), ('50\\%', '50'), ('5', '500%'),
    ('30', '30°'), ('30', '30^\\circ'), ('30^\\circ', '30'), ('30^\\circ', '30 degrees'),
    ('30^\\circ', '\\frac{\\pi}{6}'), ('30', '30 radians'), ('100000', '1e5'), ('100000', '10^5'),
    ('100000', '1 \\times 10^5'), ('100000', '1×10⁵'), ('1.5e-3', '0.0015'), ('3e8', '3x10^8'),
    ('0.00005', '5e-05'), ('0.00005', '5 \\cdot 10^{-5}'), ('\\pm 3', '3, -3'), ('\\pm 3', '3 or -3'),
    ('\\pm 3', '\\{-3,3\\}'), ('2\\pm\\sqrt{3}', '2+\\sqrt{3}, 2-\\sqrt{3}'), ('2\\pm\\sqrt{3}', '2 ± √3'),
    ('5', '$5'), ('5', '$5.00'), ('\\$5', '5 dollars'), ('5', '€5'), ('$5.50', '5.5'), ('5000000', '$5 million'),
    ('27', '27.'), ('27', '27,'), ('27', 'They meet after 27 miles.'), ('27 miles', '27'),
    ('27', '27 \\text{ miles}'), ('27\\text{ cm}', '27 cm'), ('27 cm^2', '27 square centimeters'),
    ('27\\text{ cm}^2', '27 \\text{ cm}^2'), ('27', 'about 27'), ('27', 'approximately 27'), ('27', '≈ 27'),
    ('27', '\\approx 27'), ('-27', 'minus 27'), ('-27', '−27'), ('-27', '–27'), ('27', '20+7'),
    ('\\frac{1}{2}', '½'), ('\\frac{1}{2}', '0.5'), ('\\frac12', '1/2'), ('\\dfrac{1}{2}', '\\frac{2}{4}'),
    ('\\frac{1}{3}', '0.\\overline{3}'), ('\\infty', 'oo'), ('\\infty', '∞'), ('-\\infty', '-oo'),
    ('\\infty', 'infinity'), ('\\sqrt{2}+\\sqrt{3}', 'sqrt(2) + sqrt(3)'),
    ('sqrt(2) + sqrt(3)', '\\sqrt{3}+\\sqrt{2}'), ('e^{-x}\\sin x', 'sin(x)*exp(-x)'),
    ('e^{-x}\\sin x', 'exp(-x)*sin(x)'), ('x^2', 'x**2'), ('x^2', 'x²'),
    ('\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}', 'Matrix([[1, 2], [3, 4]])'),
    ('Matrix([[1, 2], [3, 4]])', '\\begin{bmatrix} 1 & 2 \\\\ 3 & 4 \\end{bmatrix}'),
    ('Matrix([[1, 2], [3, 4]])', '[[1,2],[3,4]]'), ('\\begin{pmatrix}1\\\\2\\end{pmatrix}', 'Matrix([[1], [2]])'),
    ('\\begin{pmatrix}1\\\\2\\end{pmatrix}', 'Matrix([1, 2])'),
    ('Piecewise((x, x > 0), (-x, True))', '\\begin{cases} x & x>0 \\\\ -x & \\text{otherwise}\\end{cases}'),
    ('Piecewise((x, x > 0), (-x, True))', '|x|'),
    ('\\begin{cases} x & \\text{if } x>0 \\\\ 1 & \\text{if } x \\le 0\\end{cases}',
     'Piecewise((x, x > 0), (1, True))'),
    ('\\arctan x', 'atan(x)'), ('\\arctan(x)', 'arctan(x)'), ('\\tan^{-1} x', 'atan(x)'), ('\\ln x', 'log(x)'),
    ('\\ln 2', 'log(2)'), ('\\log_2 8', '3'), ('e', 'E'), ('e^2', 'E**2'), ('e^2', 'exp(2)'), ('2\\pi', '2*pi'),
    ('2π', '2pi'), ('i', 'I'), ('1+2i', '1 + 2*I'), ('|x-1|', 'Abs(x - 1)'), ('5!', 'factorial(5)'), ('120', '5!'),
    ('\\binom{5}{2}', 'binomial(5, 2)'), ('10', '\\binom52'), ('x = 5', '5'), ('5', 'x = 5'), ('x<5', '5>x'),
    ('1<x<3', '(1,3)'), ('x<5', '(-\\infty,5)'), ('x<5', '(-oo, 5)'), ('y=2x+3', 'y = 3+2x'),
    ('y=2x+3', '2x-y+3=0'), ('x^2+y^2=1', 'y^2 + x^2 = 1'), ('(1,2)', '(1, 2)'), ('(1,2)', '\\left(1,2\\right)'),
    ('(\\frac{1}{2},3)', '(0.5, 3)'), ('\\{1,2,3\\}', '{3, 2, 1}'), ('[0,1)', '[0, 1)'),
    ('(-\\infty,1)\\cup(3,\\infty)', '(3, oo) U (-oo, 1)'), ('(-\\infty,1)\\cup(3,\\infty)', 'x<1 or x>3'),
    ('(-\\infty,1)\\cup(3,\\infty)', 'Union(Interval.open(-oo, 1), Interval.open(3, oo))'),
    ('(-\\infty,1)\\cup(3,\\infty)', '(x < 1) | (x > 3)'), ('[3, 4, 5]', '[3, 4, 5]'), ('[1, 2]', '$[1,2]$'),
    ('[1,2]', '[1, 2]'), ('-2, 2', 'x = -2 or x = 2'), ('-2, 2', '2, -2'), ('2\\sqrt{3}', '\\boxed{2\\sqrt{3}}'),
    ('2\\sqrt{3}', '$2\\sqrt3$'), ('2\\sqrt{3}', '\\sqrt{12}'), ('2\\sqrt{3}', '2√3'), ('2\\sqrt{3}', '2*sqrt(3)'),
    ('\\frac{3}{4}', '\\frac{3}{4} \\text{ cups}'), ('7', '\\boxed{7}'), ('27', '\\textbf{(C) }27'),
    ('27', '(C) 27'), ('12', '12.0'), ('12', '12/1'), ('12', '012'), ('0', '-0'), ('5', '{5}'), ('5', '(5)'),
    ('5', '5 = 5'), ('5', '2+3=5'), ('no solution', '\\text{no solution}'), ('no solution', 'no solutions'),
    ('\\emptyset', '∅'), ('2^{10^{10^{10}}}', '2^{10^{10^{10}}}'), ('1', '(-1)^{1000000000}'),
    ('x^2+2x+1', '(x+1)^2'), ('x^2+2x+1', '(x+1)(x+1)'), ('1 km', '1000 m'), ('3 hours', '180 minutes'),
    ('10:15', '10:15'), ('3:2', '3:2'), ('\\text{Evelyn}', 'Evelyn'), ('12', 'twelve'), ('0.5x', 'x/2'),
    ('3x+2', '2+3x'), ('(x-1)(x-2)', 'x^2-3x+2'), ('5', 'five'), ('5', '+5'),
    ('\\frac{\\sqrt{3}}{3}', '1/sqrt(3)'), ('\\frac{\\sqrt{3}}{3}', 'sqrt(3)/3'), ('\\frac{\\sqrt{3}}{3}', '√3/3'),
    ('6\\frac{1}{4}', '25/4'), ('6\\frac{1}{4}', '6.25'), ('\\frac{x}{y}', 'x/y'), ('x_1', 'x1'),
    ('\\theta', 'theta'), ('C1*exp(x)', 'C_1 e^x'), ('y = C1*exp(x)', 'Eq(y(x), C1*exp(x))'),
    ('{x: 1, y: 2}', 'x = 1, y = 2'), ('x=1, y=2', '(1,2)'),
]  # fmt: skip
"""References and answers that say the same."""
WRONG = [
    ('11/2', '1 1/2'), ('11/2', '1½'), ('1/2', '-1 1/2'), ('57', '5 or 7'), ('5', '5 or 7'), ('7', '5 or 7'),
    ('57', '5 \\text{ or } 7'), ('57', '5\\text{ or }7'), ('7', '5 \\text{ or } 7'), ('57', '5 and 7'),
    ('57', '5, 7'), ('57', '5 7'), ('57', '5;7'), ('57', '5\n7'), ('57', '5/7'), ('5', '5 million'), ('5', '5i'),
    ('5i', '5'), ('23', '2 3'), ('6', '2 3'), ('5', '2 3'), ('2', '2 3'), ('3', '2 3'), ('1.234', '1,234'),
    ('1234', '1.234'), ('12', '1,2'), ('314', '3,14'), ('50', '50%'), ('50%', '5%'), ('30^\\circ', '60^\\circ'),
    ('30^\\circ', '30 radians'), ('300', '30^0'), ('30', '30^0'), ('105', '10^5'), ('105', '10⁵'), ('3', '\\pm 3'),
    ('3', '±3'), ('-3', '±3'), ('\\pm 3', '3'), ('2\\pm\\sqrt{3}', '2+\\sqrt{3}'), ('\\$5', '5 cents'),
    ('\\$5', '€5'), ('27 miles', '27 km'), ('27\\text{ cm}', '27 cm^2'), ('27', '27 dozen'), ('27', '27 thousand'),
    ('27', '27 hundred'), ('27', 'not 27'), ('27', 'It is not 27.'), ('27', "It isn't 27"), ('27', 'less than 27'),
    ('27', 'more than 27'), ('27', 'at least 27'), ('27', '27 or more'), ('27', 'over 27'),
    ('27', 'between 26 and 28'), ('27', 'I doubt that the answer is 27'), ('27', '27th'), ('27', '27 is wrong'),
    ('27', 'half of 27'), ('27', 'twice 27'), ('27', '27 squared'), ('27', 'minus 27'), ('27', 'negative 27'),
    ('27', '−27'), ('27', '20-7'), ('27', '5-7'), ('-2', '5–7'), ('5', '5-7'), ('27', '27?'), ('27', '27 to 30'),
    ('27', '27-30'), ('\\frac{1}{2}', '12'), ('\\frac{1}{2}', '1 2'), ('\\frac{1}{2}', '2/1'),
    ('\\frac{1}{3}', '0.33'), ('\\frac{1}{3}', '0.333333'), ('\\frac{1}{3}', '0.3333333333'),
    ('\\sqrt{2}', '1.414213562'), ('\\sqrt{2}', '1.414'), ('\\pi', '3.14159'), ('\\pi', '\\frac{22}{7}'),
    ('\\infty', '-\\infty'), ('\\sqrt{2}+\\sqrt{3}', 'sqrt(2) - sqrt(3)'), ('\\sqrt{2}+\\sqrt{3}', 'sqrt(5)'),
    ('e^{-x}\\sin x', 'exp(x)*sin(x)'), ('e^{-x}\\sin x', 'cos(x)*exp(-x)'), ('x^2', 'x*2'), ('x^2', 'x2'),
    ('x^2', '2x'), ('\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}', 'Matrix([[1, 3], [2, 4]])'),
    ('Matrix([[1, 2], [3, 4]])', '[1,2,3,4]'), ('\\begin{pmatrix}1\\\\2\\end{pmatrix}', 'Matrix([[1, 2]])'),
    ('Piecewise((x, x > 0), (-x, True))', 'x'),
    ('\\begin{cases} x & \\text{if } x>0 \\\\ 1 & \\text{if } x \\le 0\\end{cases}',
     'Piecewise((x, x >= 0), (1, True))'),
    ('\\arctan x', 'tan(x)'), ('1+2i', '1 - 2*I'), ('5', '5!'), ('x=5', 'y=5'), ('x=5', 'x = -5'),
    ('x<5', 'x\\le5'), ('x<5', 'x>5'), ('x<5', '(-\\infty,5]'), ('y=2x+3', 'y=2x-3'), ('(1,2)', '(2,1)'),
    ('\\{1,2,3\\}', '\\{1,2\\}'), ('\\{1,2,3\\}', '\\{1,2,4\\}'), ('[0,1)', '[0,1]'), ('[0,1)', '(0,1)'),
    ('(-\\infty,1)\\cup(3,\\infty)', '1<x<3'), ('[3, 4, 5]', '4'), ('[3, 4, 5]', '[5,4,3]'),
    ('[3, 4, 5]', '[3,4]'), ('[0, 1]', '0'), ('[1, 2]', '2'), ('-2, 2', '2'), ('A', 'a'), ('AB', 'ab'),
    ('x+y', 'X+Y'), ('2\\sqrt{3}', '2+\\sqrt{3}'), ('2\\sqrt{3}', '23'), ('2\\sqrt{3}', '2\\sqrt[3]{3}'),
    ('5', '5m'), ('5', '5x'), ('5x', '5'), ('7', '\\boxed{5} or \\boxed{7}'), ('7', '\\boxed{5}, \\boxed{7}'),
    ('12', '1 2'), ('12', '1.2'), ('5', '2+2=5'), ('5', '2^{10^{10^{10}}}'), ('5', '9!!!!!!!!!!'),
    ('x^2+2x+1', '(x-1)^2'), ('|x-1000|', '1000-x'), ('x', '|x|'), ('x', '\\sqrt{x^2}'),
    ('5 \\text{ cm}', '5 \\text{ m}'), ('3 hours', '3 minutes'), ('3:2', '2:3'), ('10:15', '2:3'),
    ('\\text{Evelyn}', 'Eve'), ('even', 'odd'), ('262537412640768744', 'e^{\\pi\\sqrt{163}}'),
    ('10^{300}', '10^{300}+1'), ('0', 'e^{-1000}'), ('x/2', '1/2x'), ('\\frac{1}{2x}', '1/2x'), ('3x+2', '3x-2'),
    ('5', '-5'), ('5', '5+5'), ('5', '5 %'), ('5', '5‰'), ('6\\frac{1}{4}', '6/4'), ('\\frac{x}{y}', 'y/x'),
    ('x_1', 'x_2'), ('{x: 1, y: 2}', 'x = 2, y = 1'), ('x=1, y=2', '(2,1)'), ('x=1,y=2', '2, 1'),
]  # fmt: skip
"""References and answers that say something else, however little."""


@pytest.mark.parametrize(("gold", "prediction"), RIGHT)
def test_right_in_any_spelling(gold: str, prediction: str) -> None:
    verdict = score(task("math", gold), prediction)
    assert verdict.correct, verdict.reason


@pytest.mark.parametrize(("gold", "prediction"), WRONG)
def test_wrong_however_near(gold: str, prediction: str) -> None:
    verdict = score(task("math", gold), prediction)
    assert not verdict.correct, verdict.reason


@pytest.mark.parametrize(
    ("gold", "prediction", "expected"),
    [
        ("27", "27.0", True),
        ("33", "033", True),
        ("1625", "1,625", True),
        ("27", "So we get \\boxed{27}.", True),
        ("27", "They meet after 27 miles.", True),
        ("27", "Either 26 or 27.", False),
        ("27", "26, 27", False),
        ("27", "26,27", False),
        ("27", "26 or 27", False),
        ("27", "$26$ and $27$", False),
        ("27", "The answer is 26", False),
        ("\\frac{3}{4}", "0.75", True),
        ("2\\sqrt{3}", "\\sqrt{12}", True),
        ("x^2+2x+1", "(x+1)^2", True),
        ("x^2+2x+1", "(x+2)^2", False),
        ("3", "x = 3", True),
        ("6", "$\\sqrt{36}$", True),
    ],
)
def test_math(gold: str, prediction: str, expected: bool) -> None:
    assert score(task("math", gold), prediction).correct is expected


def test_math_that_never_ends_is_cut_off_and_the_next_answer_is_judged() -> None:
    worker = FormulaWorker(cpu_seconds=1)
    try:
        began = time.monotonic()
        assert not worker.ask("27", "2^{10^{10^{10}}}").equal
        assert not worker.ask("27", "9!!!!!!!!!!!!").equal
        slow = "zeta(1/2 + 10^7*i)"
        assert "within 1 seconds" in worker.ask(slow, f"{slow} + 0").why
        assert time.monotonic() - began < 60
        assert worker.ask("6", "\\sqrt{36}").equal
    finally:
        worker.close()
