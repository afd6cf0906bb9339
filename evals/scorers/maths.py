"""Numbers and formulas, compared by value.

Amounts whose numbers stand there in digits, which nearly all are, are compared as exact fractions right here. Anything
else is read and compared by `formulas`, in a process of its own. Whatever is not understood as a whole is wrong: no
word is skipped, no number is put together from two.
"""

from __future__ import annotations

import re
from fractions import Fraction

from evals.scorers.denials import has_denial
from evals.scorers.final import final_answers
from evals.scorers.formulas.process import compare
from evals.scorers.normal import tokens
from evals.scorers.quantities import Amount, amount_of, undressed, with_decimal_comma
from evals.scorers.sentences import Stated, stated_number
from evals.scorers.units import Unit, unit_of
from evals.task import Score, Task, right, wrong

MAX_FORMULA = 1_000
"""Characters of a formula that is read."""

_NAME = re.compile(r"(?:[A-Za-z]{2,20}\s+){0,3}[A-Za-z]{3,20}\s*=\s*(?=\S)")
"""What a value can be called in words ("Total area = 5")."""
_LABEL = re.compile(r"\(?\(([A-E])\)\)?\s*(?=\S)")
_PERCENTAGES = re.compile(r"%|percent", re.IGNORECASE)
_SPAN = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_WORDS_ONLY = re.compile(r"[^\W\d_]{2,}(?:[\s'-]+[^\W\d_]+)*")
_SAME = {"no solutions": "no solution", "infinitely many solutions": "infinitely many"}
_SETS = {
    "all real numbers": "\\mathbb{R}", "all reals": "\\mathbb{R}", "all real numbers x": "\\mathbb{R}",
    "the empty set": "\\emptyset", "empty set": "\\emptyset",
}  # fmt: skip
"""Sets that are named in words."""


def score_math(task: Task, prediction: object) -> Score:
    """Right if the final number or formula of the prediction equals a reference answer."""
    readings = final_answers(prediction)
    if not readings:
        return wrong("No answer was given.")
    verdict = wrong("Does not equal the reference answer.")
    lenient: Score | None = None
    for gold in task.answers:
        for reading in readings:
            verdict = _Comparison(gold, reading, task.question).verdict()
            if verdict.exact:
                return verdict
            if verdict.correct:
                lenient = lenient or verdict
    return lenient or verdict


class _Comparison:
    """One reading against one reference answer."""

    def __init__(self, gold: str, reading: str, question: str) -> None:
        self.gold_text = _SETS.get(undressed(gold).lower(), gold.strip())
        self.text = _SETS.get(undressed(reading).lower(), reading.strip())
        self.question = question
        self.nouns: tuple[str, ...] = ()

    def verdict(self) -> Score:
        """Whether they are equal, and under which rules."""
        if not self.gold_text or max(len(self.gold_text), len(self.text)) > MAX_FORMULA:
            return wrong("Has no single final number or formula.")
        if self.gold_text == self.text or _squeezed(self.gold_text) == _squeezed(self.text):
            return right(f"Equals {self.gold_text}.")
        if _WORDS_ONLY.fullmatch(undressed(self.gold_text)) and self._is_same_in_words():
            return right(f"Equals {self.gold_text}.")
        self.nouns = tuple(re.findall(r"[^\W\d_]{3,}", self.question)[:200])
        gold = amount_of(self.gold_text, self.nouns)
        if gold.number is None and (own := _nouns_after_number(self.gold_text)):
            self.nouns = (*self.nouns, *own)
            gold = amount_of(self.gold_text, self.nouns)
        first = self._against(gold, self.text)
        said = undressed(self.text)
        label = None if first.correct else _LABEL.match(said) or _NAME.match(said)
        if label is None or has_denial(label[0]):
            return first
        second = self._against(gold, said[label.end() :])
        return second.leniently() if second.correct else first

    def _is_same_in_words(self) -> bool:
        """Whether both are the same words; a short one in capitals (AB) is a name, and keeps its case."""
        gold, said = undressed(self.gold_text), undressed(self.text)
        spelled, said_so = (" ".join(tokens(text)) for text in (gold, said))
        same_case = len(gold) > 3 or gold.isupper() == said.isupper()
        return same_case and _SAME.get(spelled, spelled) == _SAME.get(said_so, said_so)

    def _against(self, gold: Amount, text: str) -> Score:
        said = amount_of(text, self.nouns)
        if gold.unit is not None and said.unit is not None and gold.unit.powers != said.unit.powers:
            verdict = wrong(f"Has another unit than {self.gold_text}.")
        elif gold.number is not None and said.number is not None:
            verdict = self._numbers(gold, said)
        else:
            verdict = self._formulas(gold, said, text)
        if verdict.correct:
            return verdict.leniently() if said.about and not gold.about else verdict
        stated = stated_number(text) if said.number is None and gold.number is not None else None
        return verdict if stated is None else self._in_sentence(gold, stated)

    def _numbers(self, gold: Amount, said: Amount) -> Score:
        """Two numbers; a unit, like a percent sign, may be left out by one of them."""
        same_value = said.value is not None and gold.value == said.value * _factor(gold.unit, said.unit)
        if same_value or (gold.percent and gold.number == said.number):
            return right(f"Equals {self.gold_text}.")
        if said.percent and gold.number == said.number and _PERCENTAGES.search(self.question):
            return right(f"Equals {self.gold_text}, which the question asks for in percent.").leniently()
        return wrong(f"Is {_shown(self.text)}, not {self.gold_text}.")

    def _formulas(self, gold: Amount, said: Amount, text: str) -> Score:
        """Two formulas, without their units and, where that fails, as they stand."""
        if gold.number is not None and with_decimal_comma(said) == gold.number:
            return right(f"Equals {self.gold_text}, with a decimal comma.").leniently()
        factor = _factor(gold.unit, said.unit)
        core = said.core if factor == 1 else f"({said.core})*({factor})"
        found = compare(_percentage(gold), _percentage(said, core))
        if not found.equal and (gold.core, core) != (undressed(self.gold_text), undressed(text)):
            found = compare(self.gold_text, text)
        if found.equal:
            return right(f"Equals {self.gold_text}.")
        return self._in_span(gold, text) or wrong(found.why or f"Does not equal {self.gold_text}.")

    def _in_span(self, gold: Amount, text: str) -> Score | None:
        """The verdict on the only formula in a sentence, with the unit that follows it."""
        spans = list(_SPAN.finditer(text))
        if len(spans) != 1 or spans[0].group(0) == text:
            return None
        inner = next(group for group in spans[0].groups() if group is not None)
        before, after = text[: spans[0].start()], text[spans[0].end() :]
        if stated_number(f"{before} 7 {after}") is None:
            return None
        return self._against(gold, f"{inner} {after}") if after.strip(" .") else self._against(gold, inner)

    def _in_sentence(self, gold: Amount, stated: Stated) -> Score:
        """The verdict on the one number that a sentence states; a unit that follows it must not be another."""
        words = stated.tail.split()
        units = (unit_of(" ".join(words[:length]), self.nouns) for length in range(len(words), 0, -1))
        unit = next((found for found in units if found is not None), None)
        if gold.unit is not None and (unit.powers if unit else None) not in (gold.unit.powers, None):
            return wrong(f"Has another unit than {self.gold_text}.")
        if gold.value != stated.number * _factor(gold.unit, unit):
            return wrong(f"States {stated.number}, not {self.gold_text}.")
        verdict = right(f"States {self.gold_text}.")
        return verdict.leniently() if stated.about and not gold.about else verdict


def _factor(gold: Unit | None, said: Unit | None) -> Fraction:
    """What a number in one unit is multiplied with to be in the other."""
    return Fraction(1) if gold is None or said is None else said.factor / gold.factor


def _percentage(amount: Amount, core: str | None = None) -> str:
    """The formula of an amount, with its percent sign."""
    core = amount.core if core is None else core
    return f"({core})/100" if amount.percent else core


def _nouns_after_number(text: str) -> tuple[str, ...]:
    """The words after the number of a reference answer, which are its unit whatever they are."""
    match = re.match(r"[^A-Za-z]*\d[^A-Za-z]*((?:[A-Za-z]{3,}\s*){1,3})\Z", undressed(text))
    return tuple(match[1].split()) if match else ()


def _squeezed(text: str) -> str:
    """A formula without what does not show: the commands that set sizes and spaces, and space that parts no names."""
    text = re.sub(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[,;:!]", "", undressed(text))
    return re.sub(r" (?!\w)|(?<!\w) ", "", " ".join(text.split()))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
