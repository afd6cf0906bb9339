"""Folders like those that evaluations and trainings write, made with the real writers, in a moment and without models.

python -m tests.evals.view.samples FOLDER     # before/, after/, training/ and saved.json, to look at
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evals.results import Result, ResultFile
from evals.task import Task
from training.rollouts.figures import step_metrics
from training.rollouts.records import PlannerTurn, Rollout, rollout_id
from training.rollouts.store import RolloutStore
from training.run.metrics import MetricsFile

TOOLS = ("python", "wikipedia_search", "local_search")

SYSTEM = "You are the planner of a team that answers questions with tools."


def turn(
    tool: str, goal: str, result: str, *, accepted: bool = True, stop: bool = False, kind: str = ""
) -> dict[str, Any]:
    """A finished turn, as the graph keeps it."""
    error = {"kind": kind, "message": f"{tool} did not work"} if kind else None
    reply = f"Justification: it comes next.\nContext: the question\nSub-Goal: {goal}\nTool Name: {tool}"
    call = {"arguments": {"query": goal}, "result": "" if error else result, "error": error, "seconds": 0.21}
    return {
        "reply": reply,
        "plan": {
            "justification": "it comes next.", "context": "the question", "sub_goal": goal, "tool_name": tool,
            "input": "", "reply": reply, "error": None,
        },
        "calls": [call],
        "error": error,
        "verdict": {
            "accepted": accepted, "stop": stop, "reason": "" if error else f"the result says {result}", "answer": "",
            "missing": "", "source": "rules" if error else "model",
        },
        "observation": f"Result: {result}\nAccepted.",
    }  # fmt: skip


def usage(turns: int) -> dict[str, dict[str, float]]:
    """What the roles of a run of so many turns cost."""
    cost = {"calls": turns, "input_tokens": 700 * turns, "output_tokens": 40 * turns, "seconds": 0.5 * turns}
    once = {"calls": 1, "input_tokens": 200, "output_tokens": 8, "seconds": 0.3}
    return {"analyst": once, "planner": cost, "executor": cost, "verifier": cost, "generator": once}


def trace(question: str, memory: list[dict[str, Any]]) -> dict[str, Any]:
    """The trace of a run of these turns."""
    texts = [SYSTEM, f"Question: {question}", "Answer: it"]
    steps: list[dict[str, Any]] = []
    now = 0.0

    def ask(role: str, number: int, seconds: float, reply: str) -> None:
        nonlocal now
        texts.append(reply)
        prompt = [["system", 0], ["human", 1]]
        steps.append({"role": role, "turn": number, "started": now, "seconds": seconds, "prompt": prompt,
                      "reply": len(texts) - 1, "input_tokens": 700, "output_tokens": 40})  # fmt: skip
        now += seconds

    ask("analyst", 0, 0.3, "A fact is asked for.")
    for number, made in enumerate(memory, 1):
        ask("planner", number, 0.5, made["reply"])
        ask("executor", number, 0.2, "{}")
        steps.append({"tool": made["plan"]["tool_name"], "turn": number, "started": now, "seconds": 0.21})
        now += 0.21
        ask("verifier", number, 0.3, "accept")
    ask("generator", len(memory), 0.3, "Answer: it")
    return {"texts": texts, "steps": steps}


def evaluation(folder: Path, count: int = 30, right: Callable[[int], bool] = lambda n: n % 3 != 0) -> Path:
    """An evaluation whose n-th question is answered rightly if `right` says so."""
    chance = random.Random(count)
    with ResultFile(folder, {"benchmark": "own", "question_count": count, "samples": 1, "mode": "agent"}) as file:
        for n in range(count):
            question = f"Which town did traveller {n} found, near the river Aldera?"
            memory = [turn(chance.choice(TOOLS), f"look traveller {n} up", f"Town {n}") for _ in range(1 + n % 3)]
            if n % 5 == 0:
                memory.insert(0, turn("web_search", "search the web", "", accepted=False, kind="timeout"))
            memory[-1]["verdict"]["stop"] = True
            failed = n % 10 == 9
            answer = f"Town {n}" if right(n) else "Nowhere"
            file.append(
                Result(
                    task=f"t{n}",
                    sample=0,
                    benchmark="own",
                    question=question,
                    gold=[f"Town {n}"],
                    prediction="" if failed else answer,
                    correct=right(n) and not failed,
                    exact=right(n) and not failed,
                    value=float(right(n) and not failed),
                    reason="It is what the reference says." if right(n) else "It differs from the reference.",
                    seed=n,
                    seconds=1.0 + n / 10,
                    turns=memory,
                    trace=trace(question, memory),
                    usage=usage(len(memory)),
                    ended_by="verifier",
                    failure={"kind": "unavailable", "message": "the server was down"} if failed else None,
                )
            )
    return folder


def rollout(step: int, task: Task, index: int, chance: random.Random) -> Rollout:
    """A rollout of a policy that chooses the right tool more often the later the step."""
    good = chance.random() < 0.25 + 0.06 * step
    identity = rollout_id(step, task, index)
    memory = [turn("local_search" if good else "wikipedia_search", f"find {task.id}", f"Fact {task.id}")]
    if not good:
        memory.insert(0, turn("wikipedia_search", "look around", "", accepted=False, kind="empty"))
    ids = [chance.randrange(256) for _ in range(12)]
    drawn = tuple(
        PlannerTurn(run=identity, prompt_ids=tuple(range(40 + 10 * n)), completion_ids=tuple(ids),
                    logprobs=tuple(-chance.random() * 4 for _ in ids), policy_version=step, temperature=1.0,
                    finish_reason="stop", role="solver" if step == 5 and n else "planner")
        for n in range(len(memory))
    )  # fmt: skip
    return Rollout(
        id=identity, task=task, step=step, index=index, seed=index, turns=drawn, reward=float(good),
        rewards={"outcome": float(good)}, answer=f"Fact {task.id}" if good else "?", ended_by="verifier",
        analysis="A fact is asked for.", memory=memory, usage=usage(len(memory)), trace=trace(task.question, memory),
        seconds=2.0,
    )  # fmt: skip


def _task(name: str, steps: int) -> Task:
    """A question whose answer takes so many steps; 0: it does not say."""
    metadata = {"steps": [{"tool": "local_search"}] * steps} if steps else {}
    return Task(
        id=name, question=f"What is fact {name}?", answers=(f"Fact {name}",), benchmark="town", metadata=metadata
    )


def training(folder: Path, steps: int = 8, tasks: int = 4, group: int = 4, held_out: int = 0) -> Path:
    """A training run that learns which tool to take.

    With held-out questions they are asked before it and after every fourth step, and every second question takes two
    steps.
    """
    chance = random.Random(0)
    store, metrics = RolloutStore(folder / "rollouts"), MetricsFile(folder / "metrics.jsonl")
    for step in range(steps):
        every = []
        for number in range(tasks):
            task = _task(f"t{number}", 1 + number % 2 if held_out else 0)
            for index in range(group):
                made = rollout(step, task, index, chance)
                if step == 1 and number == 0 and index == 0:
                    failure = {"kind": "unavailable", "message": "the search was down"}
                    made = Rollout(id=made.id, task=task, step=step, index=index, seed=0, failure=failure)
                store.append(made)
                every.append(made)
        figures = step_metrics(every, version=step) | {
            "loss": 0.1, "entropy": 1.2 - 0.1 * step, "kl": 0.002 * step, "clipped_low": 0.01, "clipped_high": 0.02,
            "logprob_gap": 0.001, "largest_logprob_gap": 0.02, "seconds/rollout": 4.0, "seconds/update": 7.0,
            "seconds/sync": 0.2, "grad_norm": 0.5, "zero_variance": 0.25, "entropy/planner": 0.5,
            "entropy/solver": 0.25, "acted/planner": 1.0, "acted/solver": 0.75,
        }  # fmt: skip
        metrics.append({"update": step + 1, "time": 1.7e9 + step, **figures})
    validations = RolloutStore(folder / "validations")
    for step in range(0, steps + 1, 4) if held_out else ():
        for number in range(held_out):
            validations.append(rollout(step, _task(f"h{number}", 1 + number % 2), 0, chance))
    MetricsFile(folder / "alarms.jsonl").append(
        {"update": 3, "time": 1.7e9, "text": "The policy's entropy fell to 0.1."}
    )
    (folder / "config.yaml").write_text("estimator: grpo\nupdates_per_step: 1\nmodel: tiny\n", encoding="utf-8")
    return folder


def replied(role: str, text: str, *calls: dict[str, Any], old: bool = False) -> dict[str, Any]:
    """A turn of another graph, as `training.rollouts.run_record` writes it; `old`: as it did without the role."""
    plan = {"justification": "", "context": "", "sub_goal": "", "tool_name": calls[0]["tool"] if calls else "",
            "input": "", "reply": text, "error": None}  # fmt: skip
    verdict = {"accepted": True, "stop": False, "reason": "", "answer": "", "missing": "", "source": "rules"}
    observation = "\n".join(call["result"] for call in calls)
    whole = {"reply": text, "plan": plan, "calls": list(calls), "error": None, "verdict": verdict,
             "observation": observation}  # fmt: skip
    return whole if old else {**whole, "role": role}


def own_agent(folder: Path, *, old: bool = False) -> Path:
    """A training run of another graph: its planner, which uses a tool, and its solver, both trained."""
    task = Task(id="figs", question="What do 2 figs cost?", answers=("14",), benchmark="own")
    for part, steps in (("rollouts", (0, 1)), ("validations", (0, 2))):
        store = RolloutStore(folder / part)
        for step in steps:
            identity = rollout_id(step, task, 0)
            call = {"tool": "price", "arguments": {"article": "fig"}, "result": "7 each", "error": None, "seconds": 0.1}
            said = (("planner", f"plan {step}", call), ("solver", f"solution {step}"))
            turns = tuple(
                PlannerTurn(run=identity, prompt_ids=(1, 2), completion_ids=(3, 4 + n), logprobs=(-0.5, -0.1),
                            policy_version=step, temperature=1.0, finish_reason="stop", role=role)
                for n, (role, *_) in enumerate(said)
            )  # fmt: skip
            store.append(
                Rollout(id=identity, task=task, step=step, index=0, seed=0, turns=turns, reward=float(step > 0),
                        rewards={"outcome": float(step > 0)}, answer=f"answer {step}", ended_by="agent",
                        memory=[replied(*each, old=old) for each in said])
            )  # fmt: skip
    (folder / "config.yaml").write_text("tasks: train.jsonl\nvalidation: heldout.jsonl\n", encoding="utf-8")
    return folder


def saved_run(path: Path, question: str = "Which town lies on the Aldera?", *, finished: bool = True) -> Path:
    """What `python -m graph --save` writes."""
    memory = [turn("web_search", "search the web", "", accepted=False, kind="timeout"),
              turn("local_search", "find the town", "Town\n" * 40, stop=True)]  # fmt: skip
    document = {"schema": 1, "finished": finished, "question": question, "analysis": "A town is asked for.",
                "memory": memory, "answer": "Corvell" if finished else "", "ended_by": "verifier" if finished else "",
                "usage": usage(2), "seconds": 3.4, "trace": trace(question, memory)}  # fmt: skip
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


HOSTILE = (
    '<script>window.pwned = 1</script><img src=x onerror="window.pwned = 2"><svg onload=window.pwned=3>'
    '</script></pre></details><a href="javascript:window.pwned=4">link</a> <iframe src=//evil.example></iframe>'
    "{{7*7}} ${window.pwned=5} \u202egnp.exe\u202c \x00\x1b[31m \ud800 \U0001f468\u200d\U0001f469 &lt;b&gt;"
)
"""Markup, handlers, links, templates, text that turns around, control characters, half a surrogate pair."""


def hostile(folder: Path, giant: int = 1_000_000) -> Path:
    """An evaluation, a training run and a saved run in which every text attacks the reader."""
    folder.mkdir(parents=True, exist_ok=True)
    bad = turn(HOSTILE, HOSTILE, HOSTILE + "A" * giant)
    bad["error"] = {"kind": HOSTILE, "message": HOSTILE}
    bad["verdict"] |= {"reason": HOSTILE, "missing": HOSTILE, "answer": HOSTILE, "source": HOSTILE}
    costs = {HOSTILE: {"calls": 1, "input_tokens": 1, "output_tokens": 1, "seconds": 1.0}, "__proto__": {}}
    traced = trace(HOSTILE, [bad])
    step = {"role": HOSTILE, "turn": 1, "started": float("nan"), "seconds": 1.0, "prompt": [[HOSTILE, 99]], "reply": -7}
    traced["steps"].append(step)
    whole = HOSTILE.replace("\ud800", "?")  # settings come from a command line, which is valid text
    with ResultFile(folder / "eval", {"benchmark": whole, whole: whole, "samples": 1}) as file:
        file.append(
            Result(task=HOSTILE, sample=0, benchmark=HOSTILE, question=HOSTILE, gold=[HOSTILE], prediction=HOSTILE,
                   correct=False, exact=False, value=0.0, reason=HOSTILE, seed=0, seconds=1.0, turns=[bad],
                   trace=traced, usage=costs, ended_by=HOSTILE, leaks=[HOSTILE],
                   judge={"correct": True, "reason": HOSTILE})
        )  # fmt: skip
    task = Task(id=HOSTILE, question=HOSTILE, answers=(HOSTILE,), choices=(HOSTILE, "b"))
    store = RolloutStore(folder / "training" / "rollouts")
    for step in range(2):
        store.append(
            Rollout(id=f"{step}/{HOSTILE}/0", task=task, step=step, index=0, seed=0, reward=1.0, rewards={HOSTILE: 1.0},
                    answer=HOSTILE, ended_by=HOSTILE, analysis=HOSTILE, memory=[bad], usage=costs, trace=traced)
        )  # fmt: skip
    figures = {"update": 1, "reward": float("nan"), f"tool/{HOSTILE}": 1.0, f"failed/{HOSTILE}": 1}
    MetricsFile(folder / "training" / "metrics.jsonl").append(figures)
    MetricsFile(folder / "training" / "alarms.jsonl").append({"update": HOSTILE, "text": HOSTILE})
    text = json.dumps({"question": HOSTILE, "analysis": HOSTILE, "memory": [bad], "answer": HOSTILE, "usage": costs,
                       "report": HOSTILE, "trace": traced})  # fmt: skip
    (folder / "saved.json").write_text(text, encoding="utf-8")
    return folder


def main() -> None:
    """Write the samples."""
    folder = Path(sys.argv[1])
    evaluation(folder / "before")
    evaluation(folder / "after", right=lambda n: n % 4 != 1)
    training(folder / "training")
    saved_run(folder / "saved.json")
    hostile(folder / "hostile")


if __name__ == "__main__":
    main()
