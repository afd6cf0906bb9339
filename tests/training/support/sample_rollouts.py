"""Random rollouts whose turns extend each other, or do not."""

from __future__ import annotations

from hypothesis import strategies as st

from evals.task import Task
from training.rollouts.records import Group, PlannerTurn, Rollout, rollout_id


def task(name: str = "t") -> Task:
    return Task(id=name, question=f"question {name}", answers=("42",), scorer="exact_match")


def rollout(
    turns: list[tuple[list[int], list[int]]],
    reward: float = 1.0,
    name: str = "t",
    index: int = 0,
    logprobs: list[list[float]] | None = None,
    roles: list[str] | None = None,
) -> Rollout:
    """A rollout of (prompt, completion) turns."""
    mark = rollout_id(0, task(name), index)
    told = logprobs or [[-0.5 - token / 10 for token in completion] for _, completion in turns]
    made = tuple(
        PlannerTurn(mark, tuple(prompt), tuple(completion), tuple(logs), 0, 1.0, "stop", role)
        for (prompt, completion), logs, role in zip(turns, told, roles or [""] * len(turns), strict=True)
    )
    return Rollout(mark, task(name), step=0, index=index, seed=index, turns=made, reward=reward)


@st.composite
def groups(draw: st.DrawFn, vocabulary: int = 8, roles: tuple[str, ...] = ("",)) -> list[Group]:
    """One to three groups of ragged rollouts: forks, empty completions, rollouts without a turn, equal rewards."""
    tokens = st.integers(0, vocabulary - 1)
    made = []
    for number in range(draw(st.integers(1, 3))):
        opening = draw(st.lists(tokens, min_size=1, max_size=4))
        members = []
        for index in range(draw(st.integers(1, 4))):
            turns: list[tuple[list[int], list[int]]] = []
            transcript = opening
            for _ in range(draw(st.integers(0, 3))):
                completion = draw(st.lists(tokens, max_size=4))
                turns.append((transcript, completion))
                extended = transcript + completion + draw(st.lists(tokens, max_size=3))
                transcript = extended if draw(st.integers(0, 4)) else draw(st.lists(tokens, min_size=1, max_size=5))
            reward = draw(st.sampled_from([0.0, 0.5, 1.0]))
            played = draw(st.lists(st.sampled_from(roles), min_size=len(turns), max_size=len(turns)))
            members.append(rollout(turns, reward, f"t{number}", index, roles=played))
        made.append(Group(task(f"t{number}"), tuple(members)))
    return made
