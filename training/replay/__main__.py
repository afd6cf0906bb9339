"""Look at stored rollouts, score them again, and turn threads of an app into rollouts.

    python -m training.replay show RUN [--step N] [--task ID] [--worst]     # the first step is 1
    python -m training.replay rescore RUN --reward SPEC --out FOLDER
    python -m training.replay samples RUN --out FILE.jsonl
    python -m training.replay threads CHECKPOINTER --scores FILE --out FOLDER [--config FILE]

Train on the output of `rescore` and `threads`: off-policy with importance weights
(`python -m training.flow_grpo --replay FOLDER ...`), or supervised on the successes
(`python -m training.sft --rollouts FOLDER ...`).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evals.loop_thread import run_on_thread
from graph.command_line import CommandLine, between
from graph.errors import DataError
from graph.rendering import arguments_text
from graph.state import ToolCall
from graph.words import speakers
from tools.counts import many
from training.algo.credit import CREDITS, ESTIMATORS, GROUPINGS
from training.rollouts.records import Rollout, groups_of
from training.rollouts.store import RolloutStore, read_rollouts
from training.run.command import run
from training.run.folder import VALIDATIONS, new_output, write_lines

_CREDIT = {"estimator": ESTIMATORS, "grouping": GROUPINGS, "credit": CREDITS}
"""Settings of what a turn is credited with, and their values."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""

    def work() -> None:
        options = _line().parse_args(argv)
        options.work(options)

    return run(work)


def _line() -> CommandLine:
    line = CommandLine(prog="python -m training.replay", description="Stored rollouts.")
    commands = line.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="print rollouts, turn by turn")
    show.add_argument("run", type=Path, help="a run's folder, its rollouts/ or one file")
    show.add_argument("--step", type=between(int, 0), help="counted from 1; of held-out runs, the updates before them")
    show.add_argument("--task", metavar="ID")
    show.add_argument("--worst", action="store_true", help="only rollouts without reward")
    show.add_argument("--limit", type=between(int, 1), default=20, metavar="N")
    show.set_defaults(work=_show)
    rescore = commands.add_parser("rescore", help="score rollouts with another reward")
    rescore.add_argument("run", type=Path)
    rescore.add_argument("--reward", required=True, metavar="SPEC", help="a reward, as for the setting `reward`")
    rescore.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    rescore.add_argument(
        "--format-weight", type=between(float, 0), default=0.0, metavar="W", help="as the setting of that name"
    )
    rescore.add_argument(
        "--length-weight", type=between(float, 0), default=0.0, metavar="W", help="as the setting of that name"
    )
    rescore.add_argument(
        "--max-tokens", type=between(int, 1), default=512, metavar="N", help="longest reply, for --length-weight"
    )
    rescore.add_argument("--concurrency", type=between(int, 1), default=16, metavar="N", help="rollouts scored at once")
    rescore.set_defaults(work=_rescore)
    samples = commands.add_parser("samples", help="write planner turns with rewards and advantages, one per line")
    samples.add_argument("run", type=Path)
    samples.add_argument("--out", type=Path, required=True, metavar="FILE")
    for name, choices in _CREDIT.items():
        samples.add_argument(f"--{name}", choices=choices, help="as the setting of that name; default: the run's own")
    samples.set_defaults(work=_samples)
    threads = commands.add_parser("threads", help="turn threads of a LangGraph checkpointer into rollouts")
    threads.add_argument("checkpointer", help="a SQLite file or postgresql://...")
    threads.add_argument("--scores", type=Path, required=True, metavar="FILE", help="thread_id and score, JSONL or CSV")
    threads.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    threads.add_argument(
        "--config", type=Path, metavar="FILE", help="settings of the app, to tokenise threads without captured tokens"
    )
    threads.set_defaults(work=_threads)
    return line


def _show(options: argparse.Namespace) -> None:
    folder = options.run if options.run.is_dir() else options.run.parent
    unit, first = ("update", 0) if folder.name == VALIDATIONS else ("step", 1)
    count = 0
    for rollout in read_rollouts(options.run):
        number = rollout.step + first
        wrong_place = options.step not in (None, number) or options.task not in (None, rollout.task.id)
        if wrong_place or (options.worst and (rollout.reward or 0.0) > 0):
            continue
        sys.stdout.write(f"=== {unit} {number}, {described(rollout)}\n")
        count += 1
        if count == options.limit:
            return
    if not count:
        raise DataError("No rollout matches; leave out --step, --task or --worst.")


def described(rollout: Rollout) -> str:
    """A rollout as text: its place in its step, question, turns, answer."""
    earned = f"reward {rollout.reward:.3g}" if rollout.reward is not None else f"failed: {dict(rollout.failure or {})}"
    thread = f" (thread {rollout.task.metadata['thread']})" if "thread" in rollout.task.metadata else ""
    lines = [
        f"task {rollout.task.id}, rollout {rollout.index}{thread}: {earned}, ended by {rollout.ended_by or '?'}, "
        f"{many(len(rollout.memory), 'turn')}",
        f"question: {rollout.task.prompt}",
        f"expected: {' | '.join(rollout.task.answers)}; answered: {rollout.answer}",
    ]
    roles = dict.fromkeys(turn.role for turn in rollout.turns)
    if len(roles) > 1:
        lines.append("sampled: " + ", ".join(_sampled(rollout, role) for role in roles))
    spoken = speakers(rollout.memory, [turn.role for turn in rollout.turns])
    for number, (turn, role) in enumerate(zip(rollout.memory, spoken, strict=True), 1):
        lines.append(f"--- turn {number}{role and f', {role}'}: {turn['reply'].strip()}")
        told = [_called(call) for call in turn["calls"]] if role else [f"-> {turn['observation'].strip()}"]
        lines += [f"    {each}".replace("\n", "\n       ") for each in told]
    return "\n".join(lines)


def _called(call: ToolCall) -> str:
    """A tool call of another graph, with its result."""
    outcome = call["error"]["message"] if call["error"] else call["result"]
    return f"{call.get('tool', '')} {arguments_text(call)} -> {outcome.strip()}"


def _sampled(rollout: Rollout, role: str) -> str:
    lengths = [len(turn.completion_ids) for turn in rollout.turns if turn.role == role]
    return f"{role} {many(sum(lengths), 'token')} in {many(len(lengths), 'turn')}"


def _rescore(options: argparse.Namespace) -> None:
    from training.rollouts.rewards import make_reward

    reward = make_reward(
        options.reward,
        format_weight=options.format_weight,
        length_weight=options.length_weight,
        max_tokens=options.max_tokens,
        cache=options.out.with_name(f"{options.out.name}.judged"),  # verdicts outlive an interrupted attempt
    )
    before = list(read_rollouts(options.run))

    async def scored(rollout: Rollout, limit: asyncio.Semaphore) -> Rollout:
        if rollout.reward is None:
            return rollout
        state: dict[str, Any] = {"answer": rollout.answer, "memory": rollout.memory, "ended_by": rollout.ended_by}
        async with limit:
            earned = await reward(rollout.task, state, rollout.turns)
        return replace(rollout, reward=earned.total, rewards=dict(earned.terms))

    async def all_of_them() -> list[Rollout]:
        limit = asyncio.Semaphore(options.concurrency)
        return await asyncio.gather(*(scored(rollout, limit) for rollout in before))

    with new_output(options.out) as folder:
        after = run_on_thread(all_of_them())
        _write(after, folder)
    changed = sum(one.reward != other.reward for one, other in zip(before, after, strict=True))
    left_out = sum(rollout.reward is None for rollout in before)
    failed = f" ({left_out} failed because of a server or service and have none)" if left_out else ""
    sys.stdout.write(f"{changed} of {many(len(before), 'reward')} changed{failed}; rollouts in {options.out}\n")


def _write(rollouts: Iterable[Rollout], folder: Path) -> int:
    """Writes a folder of rollouts; returns how many there are."""
    folder.mkdir()
    store = RolloutStore(folder)
    count = 0
    for rollout in rollouts:
        store.append(rollout)
        count += 1
    return count


def _samples(options: argparse.Namespace) -> None:
    from training.replay.samples import credit_settings, samples_of

    settings = credit_settings(options.run, {name: getattr(options, name) for name in _CREDIT})
    groups = groups_of(list(read_rollouts(options.run)))
    lines = [line for group in groups for line in samples_of(group, settings)]
    write_lines(options.out, lines)
    sys.stdout.write(f"{many(len(lines), 'planner turn')} in {options.out}\n")


def _threads(options: argparse.Namespace) -> None:
    from training.replay.threads import Rendering, read_scores, rollouts_of_threads

    scores = read_scores(options.scores)
    rendering = None
    if options.config is not None:
        from training.flow_grpo.config import load_config
        from training.models.policy import load_tokenizer
        from training.rollouts.chat_tokens import ChatTokens

        config = load_config(options.config, {"out": str(options.out)})
        rendering = Rendering(ChatTokens(load_tokenizer(config.model)), config.context)
    with new_output(options.out) as folder:
        count = _write(rollouts_of_threads(options.checkpointer, scores, rendering), folder)
    sys.stdout.write(f"{many(count, 'rollout')} in {options.out}\n")
    if left_out := len(scores) - count:
        sys.stdout.write(f"{many(left_out, 'thread')} without captured tokens left out; --config tokenises them\n")


if __name__ == "__main__":
    sys.exit(main())
