"""Measures what a run costs besides its models: the real graph with a fake model server of fixed latency.

    python -m evals.speed --rollouts 256 --turns 3 --latency-ms 50 [--processes 2] [--json]
    python -m evals.speed --rollouts 4 --speculate [--model embedded] [--seed S] [--json]
    python -m evals.speed --questions 200 [--json]      # the evaluation's own cost: runner, scorer, results on disk
    python -m evals.speed --model embedded --questions 8 [--seed S] [--json]      # a model by role, cold and warm
    python -m evals.speed --programs 64 [--json]       # the sandbox alone

The server runs in its own process and answers every request with a valid reply after the latency. `ideal_seconds` is
the sum of the latencies of one run's calls: the time all runs would take if nothing else cost anything.

With `--speculate` the same questions are asked sequentially, with and without planning ahead (`graph.speculation`), and
answers, steps and seconds are compared. With a real model (`--model embedded`) the questions come from `evals/own`,
drawn by `--seed`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from evals.speed.planning_ahead import AheadReport
from evals.speed.programs import ProgramsReport, measure_programs
from evals.speed.questions import QuestionsReport, measure_questions
from evals.speed.roles import RolesReport, measure_roles
from evals.speed.rollouts import SpeedReport, bench_tools, measure, measure_ahead, serving
from evals.speed.table import table
from graph import Context
from graph.command_line import CommandLine, between, exit_code

Report = SpeedReport | AheadReport | QuestionsReport | RolesReport | ProgramsReport


def main() -> int:
    """Command line."""

    def work() -> int:
        options = _options()
        report = _measured(options)
        if options.json:
            sys.stdout.write(json.dumps(asdict(report)) + "\n")
        elif isinstance(report, RolesReport):
            sys.stdout.write(table(report))
        else:
            for name, value in asdict(report).items():
                sys.stdout.write(f"{name:26} {value}\n")
        return 0

    return exit_code(work)


def _options() -> argparse.Namespace:
    parser = CommandLine(prog="python -m evals.speed", description="Time runs of the graph without a model.")
    parser.add_argument("--rollouts", type=between(int, 1), default=256)
    parser.add_argument("--turns", type=between(int, 1), default=3)
    parser.add_argument("--latency-ms", type=between(float, 0), default=50.0)
    parser.add_argument("--processes", type=between(int, 1), default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--speculate", action="store_true", help="compare runs with and without planning ahead")
    parser.add_argument(
        "--questions", type=between(int, 0), default=0, metavar="N", help="time an evaluation of N questions"
    )
    parser.add_argument(
        "--programs", type=between(int, 0), default=0, metavar="N", help="time N programs in the sandbox"
    )
    parser.add_argument("--seed", type=int, default=0, help="with --model: draws the questions")
    parser.add_argument("--model", metavar="SPEC", help="with --speculate or --questions: a real model")
    options = parser.parse_args()
    if options.model and not (options.speculate or options.questions):
        parser.error("--model goes with --speculate or --questions; the rest is measured with the fake server")
    return options


def _measured(options: argparse.Namespace) -> Report:
    if options.programs:
        return measure_programs(options.programs)
    if options.questions and options.model:
        return measure_roles(options.model, options.questions, options.seed)
    if options.questions:
        with serving(options.turns, options.latency_ms) as url:
            context = Context(model=f"fake@{url}", max_turns=options.turns)
            return measure_questions(options.questions, bench_tools(), context)
    if options.speculate:
        return measure_ahead(options.rollouts, options.turns, options.latency_ms, options.model, options.seed)
    return measure(options.rollouts, options.turns, options.latency_ms, options.processes)


if __name__ == "__main__":
    sys.exit(main())
