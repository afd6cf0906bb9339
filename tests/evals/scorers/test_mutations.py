"""Right answers stay right in every spelling, and wrong as soon as one thing in them is changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evals.scorers import score

from .asked import OPTIONS, task

Spelling = Callable[[str], str]

DECORATIONS: list[Spelling] = [
    "{}".format, "{}.".format, " {} ".format, "**{}**".format, "The answer is {}.".format, "Answer: {}".format,
    "<answer>{}</answer>".format, "\\boxed{{{}}}".format, "So we get \\boxed{{{}}}.".format,
    "It took long.\nFinal answer: {}".format,
]  # fmt: skip
TAKEN_BACK: list[Spelling] = [
    "not {}".format, "It is not {}.".format, "It isn't {}".format, "The answer is not {}".format,
    "I doubt that the answer is {}".format, "I don't think the answer is {}.".format, "neither {} nor anything".format,
    "{} is wrong".format, "{} is incorrect.".format, "anything but not {}".format, "Is it {}?".format,
    "The wrong answer is {}".format, "The answer is {}. Wait, that is wrong.".format, "\\boxed{{{}}} Hmm, no.".format,
]  # fmt: skip
JOINTS = [" or ", " and ", ", ", "; ", " / ", "\n", " or maybe ", " and not "]
EXACT_LOOKS = settings(max_examples=80, deadline=None)


def right(scorer: str, gold: str, prediction: str) -> bool:
    return score(task(scorer, gold), prediction).correct


# Numbers


def grouped(number: int, separator: str) -> str:
    return f"{number:,}".replace(",", separator)


INTEGERS = st.integers(-(10**9), 10**9)
INTEGER_SPELLINGS: list[Callable[[int], str]] = [
    str, lambda n: f"{n:,}", lambda n: f"{n}.0", lambda n: f"+{n}" if n > 0 else str(n),
    lambda n: str(n).replace("-", "−"), lambda n: f"${n}$", lambda n: f"\\({n}\\)", lambda n: f"{2 * n}/2",
    lambda n: f"\\frac{{{3 * n}}}{{3}}", lambda n: f"x = {n}", lambda n: f"{n} \\text{{ cm}}", lambda n: f"{n} km",
    lambda n: f"{n} people", lambda n: f"about {n}", lambda n: f"\\approx {n}", lambda n: f"{n}*1", lambda n: f"({n})",
    lambda n: grouped(n, "{,}"), lambda n: grouped(n, "\\,"), lambda n: grouped(n, "'"), lambda n: f"{n}^\\circ",
    lambda n: f"They are {n} in total." if n >= 0 else str(n), lambda n: f"{n}e0", lambda n: f"[{n}]",
]  # fmt: skip


@EXACT_LOOKS
@given(INTEGERS, st.sampled_from(INTEGER_SPELLINGS), st.sampled_from(DECORATIONS))
def test_an_integer_is_itself_in_every_spelling(number: int, spell: Callable[[int], str], decorate: Spelling) -> None:
    assert right("math", str(number), decorate(spell(number)))


@EXACT_LOOKS
@given(INTEGERS, INTEGERS, st.sampled_from(INTEGER_SPELLINGS), st.sampled_from(DECORATIONS))
def test_another_integer_is_wrong_in_every_spelling(
    number: int, other: int, spell: Callable[[int], str], decorate: Spelling
) -> None:
    assume(number != other)
    assert not right("math", str(number), decorate(spell(other)))
    assert not right("match", str(number), decorate(spell(other)))


@EXACT_LOOKS
@given(
    st.integers(1, 999), st.integers(1, 99), st.integers(2, 99), st.sampled_from(["{} {}/{}", "{}\\frac{{{}}}{{{}}}"])
)
def test_a_mixed_number_is_the_sum_of_its_parts(whole: int, above: int, below: int, form: str) -> None:
    assume(above < below)
    assume(Fraction(int(f"{whole}{above}"), below) != whole + Fraction(above, below))  # 1 1/10 is 11/10
    value = whole + Fraction(above, below)
    said = form.format(whole, above, below)
    assert right("math", str(value), said)
    assert right("math", said, f"\\frac{{{value.numerator}}}{{{value.denominator}}}")
    assert not right("math", f"{whole}{above}/{below}", said)
    assert not right("math", str(Fraction(whole * above, below)), said)


@EXACT_LOOKS
@given(
    st.lists(st.integers(0, 9999).map(str), min_size=2, max_size=4),
    st.sampled_from(
        [" ", "  ", " or ", " and ", ", ", "; ", "\n", "\\text{ or }", "\\text{ and }", " \\quad ", "i", " to ", "–"]
    ),
)
def test_two_numbers_are_never_put_together(numbers: list[str], joint: str) -> None:
    said = joint.join(numbers)
    assume(not all(len(part) == 3 for part in numbers[1:]))  # 1 234 is one number
    glued = "".join(numbers).lstrip("0") or "0"
    for gold in {glued, *numbers}:
        assert not right("math", gold, said)
        assert not right("gaia", gold, said)


@EXACT_LOOKS
@given(st.integers(1, 10**6), st.sampled_from(["thousand", "million", "billion", "trillion"]))
def test_a_scale_is_part_of_the_number(number: int, scale: str) -> None:
    power = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}[scale]
    for scorer in ("math", "match"):
        assert right(scorer, str(number * 10**power), f"{number} {scale}")
        assert right(scorer, f"{number} {scale}", str(number * 10**power))
        assert not right(scorer, str(number), f"{number} {scale}")
        assert not right(scorer, f"{number} {scale}", str(number))


UNITS = [
    "cm",
    "km",
    "miles",
    "kg",
    "pounds",
    "hours",
    "minutes",
    "dollars",
    "euros",
    "degrees",
    "radians",
    "cm^2",
    "m/s",
    "km/h",
]


@EXACT_LOOKS
@given(st.integers(2, 10**4), st.sampled_from(UNITS), st.sampled_from(UNITS))
def test_a_unit_may_be_left_out_and_not_exchanged(number: int, unit: str, other: str) -> None:
    for scorer in ("math", "match"):
        assert right(scorer, f"{number} {unit}", f"{number} {unit}")
        assert right(scorer, str(number), f"{number} {unit}")
        assert right(scorer, f"{number} {unit}", f"{number} {other}") is (unit == other)


# Formulas

LETTERS = st.sampled_from("abxyz")


@st.composite
def formulas(draw: st.DrawFn, depth: int = 2) -> tuple[str, str]:
    """One formula as sympy and as LaTeX write it."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        leaf = draw(LETTERS | st.integers(1, 99).map(str))
        return leaf, leaf
    (a, latex_a), (b, latex_b) = draw(formulas(depth - 1)), draw(formulas(depth - 1))
    forms = [
        (f"({a} + {b})", f"\\left({latex_a} + {latex_b}\\right)"), (f"({a} - {b})", f"({latex_a}-{latex_b})"),
        (f"({a})*({b})", f"({latex_a}) \\cdot ({latex_b})"),
        (f"({a})/({b} + 100)", f"\\frac{{{latex_a}}}{{{latex_b} + 100}}"),
        (f"({a})**2", f"({latex_a})^2"), (f"sqrt({a})", f"\\sqrt{{{latex_a}}}"), (f"sin({a})", f"\\sin({latex_a})"),
        (f"exp(({a})/50)", f"e^{{\\frac{{{latex_a}}}{{50}}}}"), (f"log(Abs({a}) + 1)", f"\\ln(|{latex_a}| + 1)"),
        (f"Abs({a})", f"|{latex_a}|"), (f"atan({a})", f"\\arctan({latex_a})"),
    ]  # fmt: skip
    return draw(st.sampled_from(forms))


@EXACT_LOOKS
@given(formulas())
def test_a_formula_is_itself_as_sympy_and_as_latex_write_it(written: tuple[str, str]) -> None:
    plain, latex = written
    assert right("math", latex, plain)
    assert right("math", plain, f"${latex}$")
    assert right("math", plain, f"({latex}) + 0")


@EXACT_LOOKS
@given(formulas(), st.sampled_from(["{} + 1", "{} - 1/7", "{} + sqrt(2)/10**9", "{} + 10**(-300)"]))
def test_a_formula_is_wrong_when_it_is_changed(written: tuple[str, str], change: str) -> None:
    plain, latex = written
    assert not right("math", latex, change.format(plain))


@EXACT_LOOKS
@given(st.lists(st.integers(-99, 99), min_size=2, max_size=5, unique=True), st.randoms(use_true_random=False))
def test_order_counts_in_tuples_and_not_in_sets(items: list[int], chance: object) -> None:
    shuffled = list(reversed(items))
    one, other = (", ".join(map(str, order)) for order in (items, shuffled))
    assert right("math", f"\\{{{one}\\}}", f"{{{other}}}")
    assert not right("math", f"({one})", f"({other})")
    assert not right("math", f"[{one}]", f"[{other}]")
    assert not right("math", f"({one})", f"({one}, 100)")
    assert not right("math", f"\\{{{one}\\}}", f"\\{{{one}, 100\\}}")
    assert not right("math", f"[{one}]", str(items[0]))


# What is taken back, and second answers


@pytest.mark.parametrize(
    ("scorer", "gold"),
    [
        ("match", "Tom Grebis"), ("match", "52"), ("match", "4 July 1776"), ("match", "320 km/h"), ("math", "27"),
        ("math", "\\frac{1}{2}"), ("math", "x^2+1"), ("gaia", "17"), ("gaia", "egalitarian"), ("choice", "Delirium"),
    ],
)  # fmt: skip
def test_an_answer_that_is_taken_back_is_wrong(scorer: str, gold: str) -> None:
    accepted = [form(gold) for form in TAKEN_BACK if right(scorer, gold, form(gold))]
    assert not accepted


@pytest.mark.parametrize("letter", "ABCD")
def test_a_letter_that_is_taken_back_is_wrong(letter: str) -> None:
    gold = OPTIONS["ABCD".index(letter)]
    assert not [form(letter) for form in TAKEN_BACK if right("choice", gold, form(letter))]


@pytest.mark.parametrize(
    ("scorer", "gold", "other"),
    [
        ("match", "Tom Grebis", "Emily Black"), ("match", "52", "53"), ("match", "4 July 1776", "5 July 1776"),
        ("match", "yes", "no"), ("math", "27", "28"), ("math", "\\frac{1}{2}", "\\frac{1}{3}"), ("math", "x^2", "x^3"),
        ("gaia", "17", "18"), ("gaia", "egalitarian", "standardized"), ("choice", "Delirium", "Dementia"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("joint", JOINTS)
def test_a_second_answer_makes_the_first_one_wrong(scorer: str, gold: str, other: str, joint: str) -> None:
    if joint == " and not ":
        assert not right(scorer, gold, f"{other}{joint}{gold}")
        return
    for said in (f"{gold}{joint}{other}", f"{other}{joint}{gold}"):
        for decorate in ("{}", "<answer>{}</answer>", "\\boxed{{{}}}", "The answer is {}.")[
            : 3 if joint == "\n" else 4
        ]:
            assert not right(scorer, gold, decorate.format(said)), decorate.format(said)
    assert not right(scorer, gold, f"\\boxed{{{gold}}}{joint}\\boxed{{{other}}}")


# Dates and names

DAYS = st.dates(date(1000, 1, 1), date(2999, 12, 31))
DATE_SPELLINGS: list[Callable[[date], str]] = [
    lambda d: f"{d.day} {d:%B} {d.year}", lambda d: f"{d:%B} {d.day}, {d.year}", lambda d: f"{d:%b} {d.day}, {d.year}",
    lambda d: f"{d.day} {d:%b}. {d.year}", lambda d: d.isoformat(), lambda d: f"the {d.day}th of {d:%B}, {d.year}",
    lambda d: f"on {d:%B} {d.day} {d.year}", lambda d: f"{d.day}-{d:%b}-{d.year}",
]  # fmt: skip


@EXACT_LOOKS
@given(DAYS, st.sampled_from(DATE_SPELLINGS), st.sampled_from(DATE_SPELLINGS), st.integers(1, 400))
def test_a_date_is_itself_in_every_spelling_and_no_other(
    day: date, spell: Callable[[date], str], respell: Callable[[date], str], shift: int
) -> None:
    assert right("match", spell(day), respell(day))
    other = day + timedelta(days=shift)
    assert not right("match", spell(day), respell(other))
    assert not right("match", spell(day), f"{day:%B} {day.year}")
    assert not right("match", spell(day), str(day.year))


FIRST = ["Rachel", "Thomas", "Wolfgang", "Franklin", "Marie", "Charlotte", "Nikola"]
MIDDLE = ["Anne", "Alva", "Amadeus", "Delano", "Sophie", "Maria"]
LAST = ["Maddow", "Edison", "Mozart", "Roosevelt", "Curie", "Adams", "Jordan", "Bush"]
TITLES = ["President", "Dr.", "Sir", "Professor", "Queen", "General", "Mr."]


@EXACT_LOOKS
@given(*(st.sampled_from(names) for names in (FIRST, MIDDLE, LAST, FIRST, LAST, TITLES)))
def test_a_person_is_told_from_every_other(
    first: str, middle: str, last: str, other_first: str, other_last: str, title: str
) -> None:
    assert right("match", f"{first} {last}", f"{title} {first} {last}")
    assert right("match", f"{title} {first} {middle} {last}", f"{first} {middle} {last}")
    shares_its_name = last in ("Adams", "Jordan", "Bush")
    assert right("match", f"{first} {middle} {last}", f"{first} {last}") is not shares_its_name
    assert not right("match", f"{first} {last}", f"{first} {middle} {last}")
    assert not right("match", f"{first} {middle} {last}", last)
    assert not right("match", f"{first} {middle} {last}", f"{first} {middle}")
    assert not right("match", f"{first} {middle} {last}", f"{last} {middle} {first}")
    if other_first != first:
        assert not right("match", f"{first} {middle} {last}", f"{title} {other_first} {last}")
    if other_last != last:
        assert not right("match", f"{first} {middle} {last}", f"{first} {other_last}")


# Choices

CHOOSING = [
    "{letter}", "({letter})", "{letter}.", "{letter}. {text}", "{text}", "{text} ({letter})", "Option {letter}",
    "The answer is {letter}", "The answer is ({letter}) {text}, because of the fever.", "The {place} option",
    "option {number}", "The answer is the {place} option.", "The diagnosis is {text}.",
    "{text} is the most likely diagnosis.", "The patient has {text} because of the infection.", "\\boxed{{{letter}}}",
    "<answer>{letter}</answer>", "Not {other}, so {letter}.", "{other} is wrong, so {letter}",
    "It is not {other_text}, so it is {text}", "{letter}, not {other}",
]  # fmt: skip


@EXACT_LOOKS
@given(st.sampled_from(CHOOSING), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_exactly_the_option_that_is_chosen_is_right(form: str, gold: int, chosen: int, other: int) -> None:
    assume(chosen != other)
    place = ("first", "second", "third", "fourth")[chosen]
    said = form.format(
        letter="ABCD"[chosen], text=OPTIONS[chosen], place=place, number=chosen + 1, other="ABCD"[other],
        other_text=OPTIONS[other],
    )  # fmt: skip
    assert right("choice", OPTIONS[gold], said) is (gold == chosen), said
