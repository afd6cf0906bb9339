"""The metrics of a run: pure functions from results to a summary.

Failures of the environment count as wrong answers: they stay in the denominator, and their number is shown beside the
accuracy. With K samples, a question's score is the mean over its samples, and the interval is Wilson's for the number
of *questions*: samples of one question are not independent, and treating them as such would make it too narrow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from evals.reports.intervals import pass_at_k, wilson
from evals.reports.tools import error_kinds
from evals.results import Recorded, Result
from graph.words import tool_label


def by_question(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The samples of each question, questions in order of appearance."""
    grouped: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        grouped[result.task].append(result)
    return dict(grouped)


@dataclass(frozen=True)
class RoleCost:
    """The average cost of a role per run."""

    calls: float
    input_tokens: float
    output_tokens: float
    seconds: float


@dataclass(frozen=True)
class JudgeAgreement:
    """The judge's opinions compared with the exact scorer's verdicts."""

    opinions: int
    accuracy: float
    agreement: float
    only_judge: int
    """Answers that are correct according to the judge only."""
    only_scorer: int


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of some questions of a run."""

    questions: int
    exact: float
    """The mean over questions of the mean over samples, in [0, 1]."""
    lenient: float
    interval: tuple[float, float]
    """Of the exact accuracy."""


@dataclass(frozen=True)
class Summary:
    """The metrics of one run. Means are over all samples of all questions."""

    name: str
    settings: dict[str, Any]
    questions: int
    by_question: dict[str, tuple[float, float]]
    """Accuracy under the exact rules and turns, means over the samples of each question."""
    results: int
    expected: int
    """Questions times samples; more than `results` if the run is unfinished."""
    accuracy: float
    """Under the exact rules: the mean over questions of the mean over samples, in [0, 1]."""
    interval: tuple[float, float]
    """Of the accuracy."""
    lenient: float
    """The same mean under the lenient rules."""
    families: dict[str, Accuracy]
    """By kind of question; empty if the benchmark names none."""
    value: float
    """Mean of the scorer's partial measure (F1 where it has one)."""
    pass_at: dict[int, float]
    failures: Counter[str]
    """Runs without a trustworthy answer, by kind."""
    turns: float
    seconds: float
    roles: dict[str, RoleCost]
    tools: Counter[str]
    """Turns by chosen tool, see `graph.words.tool_label`."""
    all_turns: int
    rejected: Counter[str]
    """Rejected turns, by who rejected them: rules or model."""
    errors: Counter[str]
    """Errors of turns and calls, by kind."""
    ended_by: Counter[str]
    leaks: int
    """Results with a suspected leak."""
    judge: JudgeAgreement | None

    @property
    def unfinished(self) -> bool:
        """Whether answers are missing."""
        return self.results < self.expected


def summarise(run: Recorded) -> Summary:
    """All metrics of one run."""
    results = run.results
    questions = by_question(results)
    accuracy = mean_of_questions(questions, exact=True)
    fewest = min(len(samples) for samples in questions.values())
    turns = [turn for result in results for turn in result.turns]
    return Summary(
        name=run.name,
        settings=run.settings,
        questions=len(questions),
        by_question={
            task: (fmean(result.exact for result in samples), fmean(len(result.turns) for result in samples))
            for task, samples in questions.items()
        },
        results=len(results),
        expected=int(run.settings.get("question_count", len(questions))) * int(run.settings.get("samples", 1)),
        accuracy=accuracy,
        interval=wilson(accuracy, len(questions)),
        lenient=mean_of_questions(questions, exact=False),
        families=_families(results),
        value=fmean(result.value for result in results),
        pass_at={
            k: fmean(
                pass_at_k(len(samples), sum(result.exact for result in samples), k) for samples in questions.values()
            )
            for k in _powers_of_two(fewest)
        },
        failures=Counter(result.failure["kind"] for result in results if result.failure),
        turns=fmean(len(result.turns) for result in results),
        seconds=fmean(result.seconds for result in results),
        roles=_role_costs(results),
        tools=tool_mix(results),
        all_turns=len(turns),
        rejected=Counter(
            str(turn["verdict"].get("source", "rules"))
            for turn in turns
            if turn.get("verdict") and not turn["verdict"].get("accepted")
        ),
        errors=Counter(kind for turn in turns for kind in error_kinds(turn)),
        ended_by=Counter(result.ended_by for result in results if result.ended_by),
        leaks=sum(bool(result.leaks) for result in results),
        judge=_agreement(results),
    )


def mean_of_questions(questions: Mapping[str, Sequence[Result]], *, exact: bool) -> float:
    """The mean over questions of the share of right samples, under the exact or the lenient rules."""
    return fmean(
        fmean(result.exact if exact else result.correct for result in samples) for samples in questions.values()
    )


def _families(results: Sequence[Result]) -> dict[str, Accuracy]:
    families: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.family:
            families[result.family].append(result)
    return {family: _accuracy(by_question(members)) for family, members in families.items()}


def _accuracy(questions: Mapping[str, Sequence[Result]]) -> Accuracy:
    exact = mean_of_questions(questions, exact=True)
    return Accuracy(
        questions=len(questions),
        exact=exact,
        lenient=mean_of_questions(questions, exact=False),
        interval=wilson(exact, len(questions)),
    )


def tool_mix(results: Sequence[Result]) -> Counter[str]:
    """Turns by the tool they chose."""
    return Counter(tool_label(turn) for result in results for turn in result.turns)


def _powers_of_two(limit: int) -> list[int]:
    """1, 2, 4, ... up to the limit, and the limit itself."""
    powers = [1]
    while powers[-1] * 2 <= limit:
        powers.append(powers[-1] * 2)
    return powers if powers[-1] == limit else [*powers, limit]


def _role_costs(results: Sequence[Result]) -> dict[str, RoleCost]:
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        for role, cost in result.usage.items():
            totals[role].update(cost)
    return {
        role: RoleCost(
            calls=total["calls"] / len(results),
            input_tokens=total["input_tokens"] / len(results),
            output_tokens=total["output_tokens"] / len(results),
            seconds=total["seconds"] / len(results),
        )
        for role, total in totals.items()
    }


def _agreement(results: Sequence[Result]) -> JudgeAgreement | None:
    pairs = [
        (result.exact, bool(result.judge["correct"]))
        for result in results
        if result.judge and result.judge["correct"] is not None
    ]
    if not pairs:
        return None
    return JudgeAgreement(
        opinions=len(pairs),
        accuracy=fmean(judged for _, judged in pairs),
        agreement=fmean(exact == judged for exact, judged in pairs),
        only_judge=sum(judged and not exact for exact, judged in pairs),
        only_scorer=sum(exact and not judged for exact, judged in pairs),
    )
