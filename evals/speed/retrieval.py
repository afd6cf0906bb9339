"""Recall of `local_search` on multi-hop questions, compared with plain `bm25s`.

    python -m evals.speed.retrieval --corpus corpus.jsonl --questions questions.jsonl [--json]

Recall@k is the share of a question's supporting titles among the titles of the first k passages; the report shows the
mean over questions. Plain `bm25s` is the library with default settings, English stemmer and stop words, over title and
text: the five-line solution.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from graph.command_line import CommandLine, exit_code
from graph.errors import ConfigError, DataError
from tools.corpus import read_corpus
from tools.local_search import LocalIndex
from tools.passages import Passage

CUTOFFS = (2, 5, 10)

Search = Callable[[str, int], Sequence[Passage]]


@dataclass(frozen=True)
class Question:
    """A question and the titles of the passages that answer it."""

    text: str
    supporting_titles: frozenset[str]
    dataset: str


@dataclass(frozen=True)
class Retrieval:
    """The results of one search engine."""

    recall: Mapping[str, Mapping[int, float]]
    """Mean recall by data set ("all" for the whole) and by cut-off."""
    index_seconds: float
    """Time to build the index; for `local_search` including reading the corpus and writing the cache."""
    reopen_seconds: float | None
    """Time to read corpus and cached index; None without a cache."""
    query_milliseconds: float
    """Mean time of a query."""


def read_questions(path: Path) -> list[Question]:
    """Questions from a JSONL file with `question`, `supporting_titles` and optionally `dataset`.

    Raises:
        DataError: the file or one of its lines is invalid.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The questions {path} cannot be read ({error}).") from None
    questions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            titles = frozenset(entry["supporting_titles"])
            questions.append(Question(str(entry["question"]), titles, str(entry.get("dataset", "questions"))))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f'{path}, line {number}: write {{"question": ..., "supporting_titles": [...]}}.') from None
        if not titles:
            raise DataError(f"{path}, line {number}: a question without supporting titles has no recall; leave it out.")
    if not questions:
        raise DataError(f"The file {path} contains no questions.")
    return questions


def plain_bm25s(passages: Sequence[Passage]) -> Search:
    """`bm25s` with default settings: the baseline."""
    import bm25s  # type: ignore[import-untyped]
    import Stemmer  # type: ignore[import-not-found]

    stemmer = Stemmer.Stemmer("english")
    texts = [f"{passage.title}\n{passage.text}" for passage in passages]
    engine = bm25s.BM25()
    engine.index(bm25s.tokenize(texts, stemmer=stemmer, show_progress=False), show_progress=False)

    def search(query: str, k: int) -> list[Passage]:
        tokens = bm25s.tokenize([query], stemmer=stemmer, show_progress=False)
        numbers, _ = engine.retrieve(tokens, k=min(k, len(passages)), show_progress=False)
        return [passages[i] for i in numbers[0]]

    return search


def mean_recall(
    questions: Sequence[Question], titles: Sequence[Sequence[str]], cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, dict[int, float]]:
    """Mean recall of supporting titles.

    Args:
        questions: The questions.
        titles: The titles found for each question, best first.
        cutoffs: How many of them count.

    Returns:
        By data set, and "all", the recall at each cut-off, in [0, 1].
    """
    recall: dict[str, dict[int, float]] = {}
    for name in ("all", *sorted({question.dataset for question in questions})):
        pairs = [(q.supporting_titles, t) for q, t in zip(questions, titles, strict=True) if name in ("all", q.dataset)]
        recall[name] = {
            k: sum(len(support.intersection(hits[:k])) / len(support) for support, hits in pairs) / len(pairs)
            for k in cutoffs
        }
    return recall


def measure(corpus: Path, questions: Sequence[Question]) -> dict[str, Retrieval]:
    """Both engines on the same passages and questions; the user's cache is not used."""
    passages = read_corpus(corpus)
    reopen_seconds: dict[str, float] = {}
    searches: dict[str, tuple[Search, float]] = {}

    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        index = LocalIndex.open(corpus, cache_dir=Path(cache))
        searches["local_search"] = (index.search, time.perf_counter() - start)
        start = time.perf_counter()
        LocalIndex.open(corpus, cache_dir=Path(cache))
        reopen_seconds["local_search"] = time.perf_counter() - start

    start = time.perf_counter()
    searches["plain bm25s"] = (plain_bm25s(passages), time.perf_counter() - start)

    results = {}
    for name, (search, index_seconds) in searches.items():
        start = time.perf_counter()
        titles = [[hit.title for hit in search(question.text, max(CUTOFFS))] for question in questions]
        milliseconds = (time.perf_counter() - start) * 1000 / len(questions)
        results[name] = Retrieval(mean_recall(questions, titles), index_seconds, reopen_seconds.get(name), milliseconds)
    return results


def report(results: Mapping[str, Retrieval]) -> str:
    """The results as a text table."""
    head = ["engine", "questions", *(f"recall@{k}" for k in CUTOFFS), "index s", "reopen s", "ms/query"]
    rows = [head]
    for name, result in results.items():
        for dataset, recall in result.recall.items():
            whole = dataset == "all"
            reopen = "" if result.reopen_seconds is None else f"{result.reopen_seconds:.2f}"
            times = [f"{result.index_seconds:.2f}", reopen, f"{result.query_milliseconds:.2f}"] if whole else [""] * 3
            rows.append([name, dataset, *(f"{recall[k]:.3f}" for k in CUTOFFS), *times])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return exit_code(lambda: _work(arguments))


def _work(arguments: Sequence[str] | None) -> int:
    parser = CommandLine(prog="python -m evals.speed.retrieval", description="Recall of local_search.")
    parser.add_argument("--corpus", type=Path, required=True, help="JSONL file or folder, as local_search takes it")
    parser.add_argument("--questions", type=Path, required=True, help="JSONL: question, supporting_titles, dataset")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    options = parser.parse_args(arguments)
    try:
        results = measure(options.corpus, read_questions(options.questions))
    except ValueError as error:  # of the tool, which knows no other
        raise ConfigError(str(error)) from error
    if options.json:
        sys.stdout.write(json.dumps({name: asdict(result) for name, result in results.items()}, indent=2) + "\n")
    else:
        sys.stdout.write(report(results) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
