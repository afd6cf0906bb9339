"""Metrics of a step's rollouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from statistics import fmean, pstdev

from evals.reports.tools import tool_use
from training.rollouts.records import PlannerTurn, Rollout, failures_by_kind
from training.rollouts.time_spent import time_figures


def step_metrics(rollouts: Sequence[Rollout], *, version: int, roles: Sequence[str] = ()) -> dict[str, float]:
    """What rollouts show, apart from the update.

    Args:
        rollouts: of one step, failed ones included.
        version: the policy's version when the step began; older turns are stale.
        roles: those that are trained, where there are several.

    Returns:
        Means over finished rollouts (reward, its terms, turns), over turns (length, rejection, tools) and counts. What
        is a role's own is told for each as `figure/role`.
    """
    finished = [rollout for rollout in rollouts if rollout.reward is not None]
    figures: dict[str, float] = {"rollouts": len(rollouts), "failed": len(rollouts) - len(finished)}
    figures |= {f"failed/{kind}": count for kind, count in failures_by_kind(rollouts).items()}
    figures |= time_figures([rollout.spent for rollout in rollouts])
    if not finished:
        return figures
    rewards = [rollout.reward or 0.0 for rollout in finished]
    outcomes = [rollout.rewards.get("outcome", rollout.reward or 0.0) for rollout in finished]
    figures |= {
        "reward": fmean(rewards),
        "reward_std": pstdev(rewards),
        "pass_rate": fmean(outcome >= 1.0 for outcome in outcomes),
        "turns": fmean(len(rollout.memory) for rollout in finished),
        "seconds_per_rollout": fmean(rollout.seconds for rollout in finished),
    }
    hurried = [rollout.reward or 0.0 for rollout in finished if rollout.hurried]
    if hurried:
        figures |= {"hurried": len(hurried), "reward_of_hurried": fmean(hurried)}
    for term in sorted({name for rollout in finished for name in rollout.rewards}):
        figures[f"reward/{term}"] = fmean(rollout.rewards.get(term, 0.0) for rollout in finished)
    for kind, count in Counter(rollout.ended_by for rollout in finished).items():
        figures[f"ended_by/{kind or 'unknown'}"] = count / len(finished)
    for role in roles:
        figures |= {f"{name}/{role}": value for name, value in _of_role(finished, role, version).items()}
    return figures | _of_turns(finished, version)


def _of_role(finished: Sequence[Rollout], role: str, version: int) -> dict[str, float]:
    of_runs = [[turn for turn in rollout.turns if turn.role == role] for rollout in finished]
    turns = [turn for own in of_runs for turn in own]
    acted = [len(own) for own in of_runs if own]
    figures = {"acted": len(acted) / len(finished)}
    return figures | {"turns": fmean(acted), **_of_sampling(turns, version)} if acted else figures


def _of_sampling(turns: Sequence[PlannerTurn], version: int) -> dict[str, float]:
    return {
        "completion_tokens": fmean(len(turn.completion_ids) for turn in turns),
        "prompt_tokens": fmean(len(turn.prompt_ids) for turn in turns),
        "cut_off": fmean(turn.finish_reason == "length" for turn in turns),
        "staleness": fmean(version - turn.policy_version for turn in turns),
        "rewritten": fmean(turn.rewritten for turn in turns),
        "unreadable_calls": fmean(turn.unreadable for turn in turns),
    }


def _of_turns(finished: Sequence[Rollout], version: int) -> dict[str, float]:
    drawn = [turn for rollout in finished for turn in rollout.turns]
    figures = _of_sampling(drawn, version) if drawn else {}
    kept = [turn for rollout in finished for turn in rollout.memory]
    if kept:
        name = "failed_turns" if kept[0].get("role") else "rejected_turns"  # in another graph than ours nobody judges
        figures[name] = fmean(not turn["verdict"]["accepted"] for turn in kept)
        figures["unreadable_plans"] = fmean(bool(turn["plan"]["error"]) for turn in kept)
        uses = [tool_use(rollout.memory) for rollout in finished]
        figures["tool_errors"] = sum(use.failed for use in uses) / len(kept)
        for prefix, counts in (("tool", [use.tools for use in uses]), ("error", [use.errors for use in uses])):
            for name, count in Counter(chain(*(each.elements() for each in counts))).items():
                figures[f"{prefix}/{name}"] = count / len(kept)
    later = [
        turn["reply"] in {earlier["reply"] for earlier in rollout.memory[:place]}
        for rollout in finished
        for place, turn in enumerate(rollout.memory)
        if place
    ]
    if later:
        figures["repeated_plans"] = fmean(later)
    return figures
