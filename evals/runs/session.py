"""One evaluation from options to results: load, check, ask, record.

All options are checked before the output folder is touched, tools and their corpus before a model is loaded. What only
the first question can show (a model's key) leaves no folder behind that would block the corrected command.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.benchmarks.loading import in_split, load_tasks, sample
from evals.benchmarks.registry import Benchmark, benchmark
from evals.results import Recorded, ResultFile
from evals.runs.judge import Judge
from evals.runs.leakage import NO_SEARCH
from evals.runs.progress import RunProgress
from evals.runs.runner import Answerer, Plan, keys_of, run
from evals.task import Task
from graph.context import DEFAULT_TOOLS
from graph.errors import ConfigError
from graph.models.progress import progress_told_to
from graph.models.roles import is_small, model_for
from graph.models.spec import cheapest_first, preflight
from graph.prompts import StepForm
from graph.roles import ROLES, ROLES_WITH_SETTING
from graph.toolbox import Toolbox
from tools.counts import many
from tools.secrecy import to_be_stored, without_credentials

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.tools import BaseTool

    from graph import Context

DEFAULT_MODEL = "embedded"
AT_ONCE = 16
"""Questions that are asked at once of models that do not say how many suit them."""


@dataclass(frozen=True)
class Options:
    """The options of `python -m evals run`."""

    benchmark: str
    data: str | None = None
    split: str = "all"
    """Part of the questions, see `evals.benchmarks.loading.in_split`."""
    mode: str = "agent"
    """`agent`, or `direct` for the bare model."""
    model: str | None = None
    role_models: dict[str, str] = field(default_factory=dict)
    tools: tuple[str, ...] | None = None
    corpus: str | None = None
    context: dict[str, Any] = field(default_factory=dict)
    """Further settings of the graph's `Context`, by name."""
    samples: int = 1
    limit: int | None = None
    seed: int = 0
    judge: str | None = None
    block_leaks: bool = False
    concurrency: int | None = None
    """Questions at once; None: as many as the models answer at once, at most `AT_ONCE`."""
    out: Path | None = None
    retry_failures: bool = False


@dataclass(frozen=True)
class Session:
    """A checked evaluation, ready to run."""

    options: Options
    benchmark: Benchmark
    tasks: list[Task]
    context: Context
    settings: dict[str, Any]
    """Identify the run in its `run.json`."""

    @property
    def folder(self) -> Path:
        """The output folder."""
        part = "" if self.options.split == "all" else f"-{self.options.split}"
        return self.options.out or Path("runs", "evals", f"{self.benchmark.name}-{self.options.mode}{part}")

    @property
    def total(self) -> int:
        """Questions times samples."""
        return len(self.tasks) * self.options.samples

    @property
    def summary(self) -> str:
        """What is about to be done, in a line."""
        asked = f"{self.benchmark.title}: {many(len(self.tasks), 'question')}"
        if self.options.samples > 1:
            asked += f", {self.options.samples} answers to each"
        model = without_credentials(self.context.model or "")
        if self.options.mode == "direct":
            return f"{asked}, the bare model {model}."
        return f"{asked}, model {model}, tools {', '.join(self.context.tools or ())} (--tools names others)."


def prepare(options: Options) -> Session:
    """Load the questions and check all options.

    Raises:
        ConfigError, DataError: an option or a file is invalid.
    """
    for name in ("samples", "concurrency"):
        value: int | None = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} is {value}; give at least 1.")
    entry = benchmark(options.benchmark)
    tasks = in_split(load_tasks(options.benchmark, options.data), options.split)
    tasks = sample(tasks, options.limit, options.seed)
    context = _context(options, entry)
    settings: dict[str, Any] = {
        "benchmark": entry.name,
        **({} if options.split == "all" else {"split": options.split}),  # folders from before splits do not mention it
        "question_count": len(tasks),
        "questions": _digest(tasks),
        "mode": options.mode,
        **_as_settings(context, options.mode),
        "samples": options.samples,
        "limit": options.limit,
        "seed": options.seed,
        "judge": options.judge,
        "block_leaks": options.block_leaks,
    }
    return Session(options, entry, tasks, context, to_be_stored(settings))


async def carry_out(session: Session, progress: RunProgress) -> Recorded:
    """Run a session, or continue where it stopped.

    Args:
        session: The session.
        progress: Is informed about every answer, and about what is awaited before the first.

    Raises:
        AgentFlowError: the run cannot start, or every question would fail.
    """
    options = session.options
    with ResultFile(session.folder, session.settings) as file:
        if options.retry_failures:
            file.drop_failures()
        progress.go_on(len(file.results), session.folder)
        for result in file.results:
            progress.advance(result)
        if len(file.results) < session.total:
            answerer = _answerer(session)
            models = _models(session.context)
            with progress_told_to(progress):
                for model in cheapest_first(models):
                    await preflight(model)
            judge = _judge(options)
            at_once = options.concurrency or _at_once([*models, *([judge.model] if judge else [])])
            results = await run(
                session.tasks,
                answerer,
                file,
                Plan(options.samples, options.seed, at_once, pages=session.benchmark.pages),
                judge=judge,
                on_result=progress.advance,
            )
        else:  # complete, but perhaps killed before the file was sorted
            file.finish(keys_of(session.tasks, options.samples))
            results = file.results
    return Recorded(session.folder, session.settings, results)


def _context(options: Options, entry: Benchmark) -> Context:
    """The graph's settings: options first, then the environment, then the benchmark's own defaults."""
    from graph import Context

    corpus = options.corpus or os.environ.get("AGENTFLOW_CORPUS")
    if corpus is None and options.data is None and entry.packaged_corpus:
        corpus = str(Path(str(files("evals"))) / entry.packaged_corpus)
    names = os.environ.get("AGENTFLOW_TOOLS", "").split(",")
    tools = options.tools or tuple(name.strip() for name in names if name.strip()) or _tools(entry, corpus)
    settings: dict[str, Any] = {
        role: spec for role in ROLES_WITH_SETTING if (spec := _model(f"AGENTFLOW_{role.upper()}_MODEL", options, role))
    }
    model = options.model or os.environ.get("AGENTFLOW_MODEL") or DEFAULT_MODEL
    return Context(model=model, tools=tools, corpus=corpus, **settings, **options.context)


def _model(variable: str, options: Options, role: str) -> str | None:
    """A role's model; `--model` applies to every role without its own option."""
    return options.role_models.get(role) or (os.environ.get(variable) if options.model is None else None)


def _tools(entry: Benchmark, corpus: str | None) -> tuple[str, ...]:
    """The benchmark's tools; with a corpus, `local_search` replaces web search.

    Own questions without a corpus may need anything, so they get the agent's default tools.
    """
    if corpus is None:
        return entry.tools if "local_search" not in entry.tools else DEFAULT_TOOLS
    return ("local_search", *(name for name in entry.tools if name in NO_SEARCH))


_BEFORE = {"brief_verdicts": False, "speculate": False, "checks": "on", "max_chat_chars": 4000, "justify": True}
"""The behaviour of runs from before these settings existed, whose folders do not mention them."""


def _as_settings(context: Context, mode: str) -> dict[str, Any]:
    """The context as plain data; for the bare model, only the settings it uses."""
    settings = asdict(context)
    small = is_small(model_for("planner", context, {}))
    settings["analyse"] = context.analyses(is_small=small)
    settings["justify"] = StepForm.of(context, is_small=small) is not StepForm.SHORT  # a direct step never had one
    settings["planner_model"] = settings.pop("planner")
    settings["tools"] = list(settings["tools"] or ())
    settings["ask_before"] = list(settings["ask_before"])
    for name, value in _BEFORE.items():
        if settings[name] == value:
            del settings[name]
    if mode == "direct":
        return {name: settings[name] for name in ("model", "generator", "max_tokens", "temperature")}
    return settings


def _digest(tasks: list[Task]) -> str:
    """A hash of the questions, with references and scorers."""
    content = json.dumps([[task.id, task.prompt, task.answers, task.scorer] for task in tasks], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()


def _answerer(session: Session) -> Answerer:
    from evals.runs.answerers import agent, bare_model, guarded_tools

    context = session.context
    if session.options.mode == "direct":
        return bare_model(context)
    from graph import build_graph

    named: Sequence[BaseTool | str] | None = context.tools
    if session.options.block_leaks:
        named = guarded_tools(context.tools or (), context.corpus, session.benchmark.pages)
    context = replace(context, tools=None)
    tools = Toolbox(named).select(context, model_for("generalist", context, {}))
    return agent(build_graph(tools=tools, max_turns=context.max_turns), context)


def _models(context: Context) -> list[BaseChatModel]:
    """The models of all roles, each once."""
    return list({id(model): model for model in (model_for(role, context, {}) for role in ROLES)}.values())


def _at_once(models: Sequence[BaseChatModel]) -> int:
    """How many questions suit the models: waiting for a busy one would count in the seconds of a question."""
    return min(getattr(model, "calls_at_once", AT_ONCE) for model in models)


def _judge(options: Options) -> Judge | None:
    if options.judge is None:
        return None
    import platformdirs

    from graph.models.spec import make_model

    model = make_model(options.judge, temperature=0.0, max_tokens=256)
    return Judge(model, options.judge, Path(platformdirs.user_cache_dir("agentflow")) / "judge")
