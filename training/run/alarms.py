"""Warnings of a collapsing policy, while there is time to stop."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

_WINDOW = 20
"""Number of recent steps that a step is compared with."""

_MANY = 0.5
"""Share of runs out of time from which it is said, since their rewards then tell little of the policy."""

_SOME = 0.05
"""Share of rollouts without a reward from which it is said."""

_FAILED = "failed/"

_LEFT_OUT = {
    "late": (
        "were cancelled as stragglers",
        "biases the reward towards quick runs; raise tail_seconds or tail_fraction, or lower max_turns",
    ),
    "unavailable": (
        "met a server or service that did not answer",
        "biases the reward towards runs that do without it; see that it can serve so many, or lower concurrency",
    ),
    "reward": (
        "ended in an error of the reward function",
        "never punishes what the policy wrote there; let the function return a number, e.g. 0 for an answer that it "
        "cannot read",
    ),
    "defect": (
        "failed with an error",
        "biases the reward towards the others; the log and the stored rollouts tell the errors",
    ),
}
"""By kind of failure, what happened to the runs, and what comes of it and can be done."""


_SKIPPED = "No update was made: all runs of the step ran out of time and earned the same."


class Alarms:
    """Compares each step with the steps before it. An alarm is raised once, and again only after its sign has gone."""

    def __init__(self) -> None:
        self._past: deque[Mapping[str, float]] = deque(maxlen=_WINDOW)
        self._raised: set[str] = set()

    def check(self, metrics: Mapping[str, float]) -> list[str]:
        """Warnings about a step, as sentences.

        Args:
            metrics: the step's figures as `training.rollouts.figures.step_metrics` names them.
        """
        entropies = [name for name in metrics if name == "entropy" or name.startswith("entropy/")]
        signs = {
            **{name: self._entropy(metrics, name) for name in entropies},
            "length": self._length(metrics),
            "repeats": self._repeats(metrics),
            "variance": self._variance(metrics),
            "gap": self._gap(metrics),
            **{name: _left_out(metrics, name) for name in metrics if name.startswith(_FAILED)},
            "calls": self._calls(metrics),
            "time": out_of_time(metrics.get("ended_by/time", 0.0)),
            "skipped": _SKIPPED if metrics.get("skipped_update") else "",
        }
        self._past.append(metrics)
        new = [text for name, text in signs.items() if text and name not in self._raised]
        self._raised = {name for name, text in signs.items() if text}
        return new

    def _usual(self, name: str) -> float | None:
        values = sorted(past[name] for past in self._past if name in past)
        return values[len(values) // 2] if len(values) >= 5 else None

    def _entropy(self, metrics: Mapping[str, float], name: str) -> str | None:
        now, usual = metrics[name], self._usual(name)
        if usual is None or now > 0.2 * usual:
            return None
        whose = "policy's entropy" if name == "entropy" else f"entropy of the role {name.partition('/')[2]}"
        return (
            f"The {whose} fell to {now:.3g} nats a token (recently {usual:.3g}): it repeats itself and stops "
            "learning; lower learning_rate, or raise beta, clip_high or temperature."
        )

    def _length(self, metrics: Mapping[str, float]) -> str | None:
        now, usual = metrics.get("completion_tokens"), self._usual("completion_tokens")
        if now is None or usual is None or usual / 3 < now < usual * 3:
            return None
        return (
            f"Replies now take {now:.0f} tokens (recently {usual:.0f}): read some rollouts before you go on "
            "(python -m training.replay show)."
        )

    def _repeats(self, metrics: Mapping[str, float]) -> str | None:
        now = metrics.get("repeated_plans")
        if now is None or now < 0.5 or metrics.get("turns", 0) < 2:
            return None
        return f"{now:.0%} of the later plans of a run repeat an earlier one word for word: the planner is stuck."

    def _variance(self, metrics: Mapping[str, float]) -> str | None:
        now, solved = metrics.get("zero_variance"), metrics.get("pass_rate", metrics.get("reward", 0.0))
        if now is None or now < 0.9:
            return None
        end = "each is all solved or not at all: use larger groups or other tasks"
        if solved > 0.9:
            end = "all solved: use harder tasks"
        elif solved < 0.1:
            end = "none solved: use easier tasks or a better prompt"
        return f"{now:.0%} of the groups have rewards without variance and teach nothing ({end})."

    def _calls(self, metrics: Mapping[str, float]) -> str | None:
        now = metrics.get("unreadable_calls")
        if now is None or now < 0.5:
            return None
        return (
            f"Replies hold {now:.2g} tool calls on average that cannot be read and stay text: show the form in the "
            "agent's prompt, or start from a model that keeps its template's form."
        )

    def _gap(self, metrics: Mapping[str, float]) -> str | None:
        now = metrics.get("logprob_gap")
        if now is None or now < 0.2:
            return None
        return (
            f"Sampler and trainer disagree by {now:.2g} nats a token: check that both use one model, one precision and "
            "one temperature."
        )


def _left_out(metrics: Mapping[str, float], name: str) -> str:
    """A sentence about rollouts without a reward, of one kind of failure; empty if these are few."""
    share, kind = metrics[name] / max(1.0, metrics.get("rollouts", 1.0)), name.removeprefix(_FAILED)
    if share < _SOME:
        return ""
    what, remedy = _LEFT_OUT.get(kind, _LEFT_OUT["defect"])
    return f"{share:.0%} of the rollouts {what} and were left out ({name}), which {remedy}."


def out_of_time(share: float) -> str:
    """A sentence about runs that ended because their time was over; empty if these are few.

    Args:
        share: of the finished runs, `ended_by/time` of `step_metrics`.
    """
    if share < _MANY:
        return ""
    return (
        f"{share:.0%} of the runs ended because their time was over, so their rewards tell little of the policy: raise "
        "max_seconds, or let fewer run at once (concurrency)."
    )
