"""The benchmarks: where each lives on the Hugging Face Hub, which scorer judges it, which tools its questions call for.

An entry is data only. How a row becomes a `Task` is told by `Fields`, lists of column names in order of preference,
which cover the Hub's files, the authors' own, the `data.json` files of the AgentFlow release and our own JSONL alike;
reading is in `rows.py`. The ten are those of the paper's tables (arXiv 2510.05592); `own` is any other file of
questions, by default those that come with the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graph.command_line import did_you_mean
from graph.errors import ConfigError


@dataclass(frozen=True)
class HubFile:
    """A file of a data set on the Hub."""

    repo: str
    paths: tuple[str, ...]
    """Paths that the file has or has had; the first that exists is taken."""
    revision: str = "main"
    gated: bool = False
    """Whether its terms must be accepted on the Hub, with a token, before it can be downloaded."""


@dataclass(frozen=True)
class Fields:
    """Names that a column may have, most specific first, in the spelling of `rows.column`.

    Columns that are not named here never leave the file.
    """

    id: tuple[str, ...] = ("id",)
    question: tuple[str, ...] = ("question", "problem", "query")
    answers: tuple[str, ...] = ("answers", "golden_answers", "final_answer", "answer")
    alternatives: tuple[str, ...] = ("answers", "golden_answers", "solutions")
    """Those of them that hold several answers, any of which is right; the others hold one."""
    lists_in_text: bool = False
    """Whether a list can stand in the benchmark's files as a text (`"['a', 'b']"`); elsewhere a text is a text."""
    aliases: tuple[str, ...] = ("answer_aliases", "aliases")
    choices: tuple[str, ...] = ("choices", "options")
    incorrect: tuple[str, ...] = ()
    """Columns of one wrong option each; with these, the options are put in a random but fixed order."""
    numbers: tuple[str, ...] = ()
    """The four numbers of a puzzle, as a list or as text."""
    metadata: tuple[str, ...] = ()
    """What else is kept, for reports only."""
    attachment: str = ""
    """A column that names a file; rows where it is not empty are left out, for we answer from text alone."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark."""

    name: str
    title: str
    scorer: str
    tools: tuple[str, ...]
    hub: HubFile | None
    fields: Fields = Fields()
    question_template: str = ""
    """How a question is put when a row holds none (`{numbers}` is filled in)."""
    packaged: str = ""
    """A file of questions beside this module, used when no other is named."""
    packaged_corpus: str = ""
    """What `local_search` searches for the packaged questions."""
    pages: tuple[str, ...] = ()
    """Parts of addresses where the benchmark itself can be read; a search result from there is a leak."""


_SEARCH = ("wikipedia_search", "web_search", "read_url", "generalist")
_COMPUTE = ("python", "generalist")
_EVERYTHING = ("python", "wikipedia_search", "web_search", "read_url", "generalist")
_FLASHRAG = "RUC-NLPIR/FlashRAG_datasets"

_ENTRIES = (
    Benchmark(
        name="bamboogle",
        title="Bamboogle",
        scorer="match",
        tools=_SEARCH,
        hub=HubFile(_FLASHRAG, ("bamboogle/test.jsonl",)),
        fields=Fields(lists_in_text=True),
        pages=("datasets/chiayewken/bamboogle", "github.com/ofirpress/self-ask"),
    ),
    Benchmark(
        name="2wiki",
        title="2WikiMultihopQA",
        scorer="match",
        tools=_SEARCH,
        hub=HubFile(_FLASHRAG, ("2wikimultihopqa/dev.jsonl",)),
        pages=("2wikimultihop",),
    ),
    Benchmark(
        name="hotpotqa",
        title="HotpotQA",
        scorer="match",
        tools=_SEARCH,
        hub=HubFile(_FLASHRAG, ("hotpotqa/dev.jsonl",)),
        fields=Fields(lists_in_text=True),
        pages=("hotpotqa.github.io", "hotpot_qa", "hotpotqa/hotpot"),
    ),
    Benchmark(
        name="musique",
        title="MuSiQue",
        scorer="match",
        tools=_SEARCH,
        hub=HubFile(_FLASHRAG, ("musique/dev.jsonl",)),
        pages=("stonybrooknlp/musique", "dgslibisey/musique"),
    ),
    Benchmark(
        name="gaia",
        title="GAIA (text only)",
        scorer="gaia",
        tools=_EVERYTHING,
        hub=HubFile(
            "gaia-benchmark/GAIA", ("2023/validation/metadata.jsonl", "2023/validation/metadata.parquet"), gated=True
        ),
        fields=Fields(
            id=("id", "task_id"),
            answers=("final_answer", "answers", "answer"),
            choices=(),
            metadata=("level",),
            attachment="file_name",
        ),
        pages=("gaia-benchmark", "datasets/gaia"),
    ),
    Benchmark(
        name="aime24",
        title="AIME 2024",
        scorer="math",
        tools=_COMPUTE,
        hub=HubFile("HuggingFaceH4/aime_2024", ("data/train-00000-of-00001.parquet",)),
        pages=("aime_2024", "2024_aime_i", "aime24"),
    ),
    Benchmark(
        name="amc23",
        title="AMC 2023",
        scorer="math",
        tools=_COMPUTE,
        hub=HubFile("math-ai/amc23", ("test-00000-of-00001.parquet", "data/test-00000-of-00001.parquet")),
        pages=("amc23", "2023_amc_12"),
    ),
    Benchmark(
        name="gameof24",
        title="Game of 24",
        scorer="gameof24",
        tools=_COMPUTE,
        hub=HubFile("nlile/24-game", ("data/train-00000-of-00001.parquet",)),
        fields=Fields(
            question=("query",),
            answers=("answers", "solutions", "answer"),
            choices=(),
            numbers=("numbers", "puzzles", "question"),
            lists_in_text=True,
        ),
        question_template=(
            "Using each of the numbers {numbers} exactly once, the operations +, -, × and / and brackets, "
            "write an expression that equals 24."
        ),
        pages=("4nums.com", "24-game", "game-of-24"),
    ),
    Benchmark(
        name="gpqa",
        title="GPQA",
        scorer="choice",
        tools=_EVERYTHING,
        hub=HubFile("Idavidrein/gpqa", ("gpqa_diamond.csv",), gated=True),
        fields=Fields(
            id=("id", "record_id"),
            answers=("answers", "answer", "correct_answer"),
            incorrect=("incorrect_answer_1", "incorrect_answer_2", "incorrect_answer_3"),
        ),
        pages=("idavidrein/gpqa", "datasets/gpqa"),
    ),
    Benchmark(
        name="medqa",
        title="MedQA",
        scorer="choice",
        tools=_SEARCH,
        hub=HubFile("GBaker/MedQA-USMLE-4-options", ("phrases_no_exclude_test.jsonl",)),
        pages=("medqa-usmle", "bigbio/med_qa", "jind11/medqa"),
    ),
    Benchmark(
        name="own",
        title="Own questions",
        scorer="match",
        tools=("python", "local_search"),
        hub=None,
        packaged="own/questions.jsonl",
        packaged_corpus="own/corpus.jsonl",
        fields=Fields(  # our own files, and those of the data sets that people train on (NQ, DeepMath-103K, ARC, GSM8K)
            question=("question", "problem", "prompt", "query"),
            answers=("answers", "golden_answers", "answer", "final_answer", "solution", "answerkey"),
            numbers=("numbers",),
            metadata=("family", "split", "level", "type", "dataset", "supporting_titles", "source"),
        ),
    ),
)

BENCHMARKS: Mapping[str, Benchmark] = {entry.name: entry for entry in _ENTRIES}


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ConfigError: there is none; the sentence lists those there are.
    """
    try:
        return BENCHMARKS[name]
    except KeyError:
        hint = did_you_mean(name, BENCHMARKS)
        raise ConfigError(f"There is no benchmark {name!r}; choose one of {', '.join(BENCHMARKS)}.{hint}") from None
