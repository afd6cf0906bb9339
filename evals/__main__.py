"""Measures an agent: `python -m evals run gameof24`, then `report`, `compare`, `view`; `sweep` runs it with several
turn limits, `list` lists the benchmarks."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.view.command import add_options as add_view_options
from evals.view.command import view
from graph.command_line import CommandLine, between, exit_code
from graph.errors import ConfigError
from graph.roles import ROLES_WITH_SETTING
from graph.terminal.options import add_planning_options, check_mode
from tools.counts import many

if TYPE_CHECKING:
    from evals.results import Recorded
    from evals.runs.session import Options, Session

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = CommandLine(prog="python -m evals", description=__doc__)
    top.add_version()
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_run(commands.add_parser("run", help="ask the questions of a benchmark, or go on where a run stopped"))
    sweep = commands.add_parser("sweep", help="a benchmark with several turn limits: one figure and one table")
    _add_run(sweep, several_limits=True)
    sweep.add_argument("--against", type=Path, metavar="DIR", help="another sweep, drawn beside this one and compared "
                       "with it question by question: the untrained planner, say")  # fmt: skip
    report = commands.add_parser("report", help="the numbers of one or more runs, as tables and as an HTML page")
    report.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    report.add_argument("--html", type=Path, metavar="FILE", help="where the report goes (default: DIR/report.html); "
                        "the page with every run turn by turn goes beside it")  # fmt: skip
    report.add_argument("--no-view", action="store_true", help="leave that page out")
    comparison = commands.add_parser("compare", help="what changes from run A to run B, question by question")
    comparison.add_argument("a", type=Path, metavar="A")
    comparison.add_argument("b", type=Path, metavar="B")
    comparison.add_argument("--seed", type=between(int, 0), default=0, help="of the bootstrap")
    comparison.add_argument("--json", action="store_true", help="print JSON and nothing else")
    combinations = commands.add_parser("combinations", help="tools that runs use together, and no earlier run did")
    combinations.add_argument("after", nargs="+", type=Path, metavar="DIR", help="evaluations, trainings, measurements")
    combinations.add_argument("--before", nargs="+", type=Path, required=True, metavar="DIR", help="the earlier runs")
    combinations.add_argument("--ordered", action="store_true", help="the same tools in another order are new, too")
    add_view_options(commands.add_parser("view", help="look at runs, evaluations and training in a browser"))
    commands.add_parser("list", help="the benchmarks, their scorers and tools")
    return top


def _add_run(run: argparse.ArgumentParser, *, several_limits: bool = False) -> None:
    run.add_argument("benchmark", metavar="BENCHMARK", help="a name that `python -m evals list` shows")
    run.add_argument(
        "--data", metavar="PATH", help="a file of questions, or a folder of such files, instead of the Hub"
    )
    default = "sweep" if several_limits else "MODE"
    run.add_argument("--out", type=Path, metavar="DIR", help=f"default: runs/evals/BENCHMARK-{default}")
    run.add_argument("--mode", choices=("agent", "direct"), default="agent", help="direct: the bare model, no tools")
    run.add_argument("--model", metavar="SPEC", help="model of every role (default: embedded)")
    for role in ROLES_WITH_SETTING:
        run.add_argument(f"--{role}-model", metavar="SPEC", help=f"model of the {role}, if another")
    run.add_argument("--tools", metavar="A,B", help="tools instead of the benchmark's own")
    run.add_argument("--corpus", metavar="PATH", help="what local_search searches; it then replaces web search")
    run.add_argument("--samples", type=int, default=1, metavar="K", help="answers to each question")
    run.add_argument("--split", default="all", metavar="NAME", help="part of the questions: look, held or all "
                     "(default); look at the answers of `look` only while changing the agent")  # fmt: skip
    run.add_argument("--limit", type=int, metavar="N", help="ask N questions, drawn by --seed")
    run.add_argument("--seed", type=int, default=0, metavar="S")
    run.add_argument("--concurrency", type=int, metavar="C", help="questions at once (default: what the models can "
                     "do, one for a model on this CPU, 16 for servers)")  # fmt: skip
    if several_limits:
        run.add_argument("--max-turns", "--max_turns", required=True, metavar="N,N", help="turn limits, as 1,2,3,5,8")
    else:
        run.add_argument("--max-turns", type=int, metavar="N", help="turns that the agent may take (default: 10)")
    run.add_argument("--max-seconds", type=float, metavar="S", help="seconds of work on one question")
    run.add_argument("--max-tokens", type=int, metavar="N", help="longest reply of a model")
    run.add_argument("--temperature", type=float, metavar="T")
    run.add_argument("--planner-temperature", type=float, metavar="T")
    add_planning_options(run)
    run.add_argument("--direct-arguments", action="store_true", help="the planner writes the input of simple tools")
    run.add_argument("--verify", choices=("model", "rules"))
    run.add_argument("--answer", choices=("model", "last_result"))
    run.add_argument("--checks", choices=("auto", "on", "off"), help="hold replies to the checks for small models "
                     "(auto: those of embedded models)")  # fmt: skip
    run.add_argument("--brief-verdicts", action="store_true", help="tell the planner of an accepted step only that")
    run.add_argument("--speculate", action="store_true", help="plan the next step while the last is judged")
    run.add_argument("--judge", metavar="SPEC", help="a model whose opinion is recorded beside the exact score")
    run.add_argument("--block-leaks", action="store_true", help="withhold search results that quote the question")
    run.add_argument(
        "--retry-failures",
        action="store_true",
        help="repeat questions with infrastructure failures",
    )
    run.add_argument("--no-progress", action="store_true")


def options_from(given: argparse.Namespace) -> Options:
    """The options of `run` as data.

    Raises:
        ConfigError: options contradict each other.
    """
    from evals.runs.session import Options

    check_mode(given)
    context: dict[str, Any] = {
        "max_turns": given.max_turns,
        "max_seconds": given.max_seconds,
        "max_tokens": given.max_tokens,
        "temperature": given.temperature,
        "planner_temperature": given.planner_temperature,
        "analyse": given.analysis,
        "justify": given.justification,
        "direct_arguments": given.direct_arguments or None,
        "verify": given.verify,
        "answer": given.answer,
        "checks": given.checks,
        "brief_verdicts": given.brief_verdicts or None,
        "speculate": given.speculate or None,
    }
    tools = None
    if given.tools is not None:
        tools = tuple(name.strip() for name in given.tools.split(",") if name.strip())
        if not tools:
            raise ConfigError("--tools names no tool; give at least one, or leave the option out.")
    return Options(
        benchmark=given.benchmark,
        data=given.data,
        split=given.split,
        mode=given.mode,
        model=given.model,
        role_models={role: spec for role in ROLES_WITH_SETTING if (spec := getattr(given, f"{role}_model"))},
        tools=tools,
        corpus=given.corpus,
        context={name: value for name, value in context.items() if value is not None},
        samples=given.samples,
        limit=given.limit,
        seed=given.seed,
        judge=given.judge,
        block_leaks=given.block_leaks,
        concurrency=given.concurrency,
        out=given.out,
        retry_failures=given.retry_failures,
    )


def run_command(given: argparse.Namespace) -> int:
    """`run`: exit code 0 when everything is answered, 130 when interrupted."""
    from evals.reports.metrics import summarise
    from evals.reports.terminal import print_report
    from evals.runs.session import prepare

    session = prepare(options_from(given))
    recorded = _recorded(session, shown=not given.no_progress)
    if recorded is None:
        return INTERRUPTED
    print_report([summarise(recorded)])
    print(
        f"Results: {session.folder}; look at every run with `python -m evals view {session.folder}`.", file=sys.stderr
    )
    return 0


def _recorded(session: Session, *, shown: bool) -> Recorded | None:
    """Carries a session out; None if it was interrupted."""
    from evals.garbage import collect_less_often
    from evals.loop_thread import run_on_thread
    from evals.runs.progress import run_progress
    from evals.runs.session import carry_out

    collect_less_often()
    # A run is stopped the same way by Ctrl-C and by `kill`: the questions in flight are given up, the rest is on disk.
    # Shells have SIGINT ignored in background jobs; there SIGTERM keeps its own meaning, or nothing would stop the run.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    if shown:
        print(session.summary, file=sys.stderr)
    progress = run_progress(session.benchmark.title, session.total, shown=shown)
    try:
        with progress:
            return run_on_thread(carry_out(session, progress))
    except KeyboardInterrupt:
        print(
            f"Stopped with {progress.done:,} of {many(session.total, 'answer')} in {session.folder}; "
            "the same command goes on from there.",
            file=sys.stderr,
        )
        return None


def sweep_command(given: argparse.Namespace) -> int:
    """`sweep`: a run for each turn limit; figure and tables are written anew after each."""
    from evals.reports.terminal import print_sweep
    from evals.runs.sweep import recorded_curve, sessions_of, write

    limits, given.max_turns = given.max_turns, None
    against = recorded_curve(given.against) if given.against else None
    folder, sessions = sessions_of(options_from(given), limits)
    for session in sessions:
        if _recorded(session, shown=not given.no_progress) is None:
            return INTERRUPTED
        curves = write(folder, against)
    print_sweep(curves)
    print(f"Figure and tables: {folder}; every run: `python -m evals view {folder}`.", file=sys.stderr)
    return 0


def report_command(given: argparse.Namespace) -> int:
    """`report`: tables on standard output, the report in a file, and beside it the page to which its questions link."""
    from evals.reports.metrics import summarise
    from evals.reports.page import page
    from evals.reports.terminal import print_report
    from evals.results import read_run, write_atomically
    from evals.view.export import export
    from evals.view.library import Library

    folders = list(dict.fromkeys(given.folders))
    runs = [read_run(folder) for folder in folders]
    html: Path = given.html or folders[0] / "report.html"
    view = None if given.no_view else html.with_suffix(".view.html")
    text = page(runs, view.name if view else "")
    try:
        write_atomically(html, text.encode("utf-8", errors="replace"))
        if view:
            export(Library(folders), view)
    except OSError as error:
        raise ConfigError(f"The report cannot be written to {html} ({error.strerror}); name another --html.") from None
    print_report([summarise(run) for run in runs])
    print(f"Report: {html}" + (f", every run turn by turn: {view}" if view else ""), file=sys.stderr)
    return 0


def compare_command(given: argparse.Namespace) -> int:
    """`compare`: a table, or JSON."""
    from evals.reports.compare import compare
    from evals.reports.terminal import print_comparison
    from evals.results import read_run

    comparison = compare(read_run(given.a), read_run(given.b), given.seed)
    if given.json:
        print(json.dumps(comparison.as_dict(), ensure_ascii=False, indent=2))
    else:
        print_comparison(comparison)
    return 0


def combinations_command(given: argparse.Namespace) -> int:
    """`combinations`: a table."""
    from evals.reports.cells import table
    from evals.reports.tools import unseen_cells
    from evals.view.comparison import combinations
    from evals.view.library import Library

    before, after = (
        [row for source in Library(paths).sources for row in source.index.rows] for paths in (given.before, given.after)
    )
    found = combinations(before, after, ordered=given.ordered)
    runs = sum(each.runs for each in found)
    earlier = many(len(before), "earlier run")
    print(f"{runs} of {many(len(after), 'run')} use tools together that none of the {earlier} did.")
    if found:
        print(f"\n{table(unseen_cells(found, ordered=given.ordered))}")
    return 0


def list_command(_: argparse.Namespace) -> int:
    """`list`: one line for each benchmark."""
    from evals.benchmarks.registry import BENCHMARKS

    for entry in BENCHMARKS.values():
        home = "questions that come along, or --data" if entry.hub is None else entry.hub.repo
        gated = " (gated)" if entry.hub is not None and entry.hub.gated else ""
        print(f"{entry.name:<10} {entry.title:<18} scorer {entry.scorer:<9} {home}{gated}")
        print(f"{'':<10} tools {', '.join(entry.tools)}")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run_command,
    "sweep": sweep_command,
    "report": report_command,
    "compare": compare_command,
    "combinations": combinations_command,
    "view": view,
    "list": list_command,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and say in one sentence what is wrong with it, if something is."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")

    def work() -> int:
        given = parser().parse_args(argv)
        return COMMANDS[given.command](given)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
