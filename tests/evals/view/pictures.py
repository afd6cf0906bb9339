"""The pictures of README, from runs that are made for them: `python -m tests.evals.view.pictures --out docs`.

Two evaluations of the real graph against a scripted model server, and a real training of a tiny model, which takes a
minute. Nothing of any benchmark is in them.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evals.__main__ import main as evals
from evals.speed.fake_server import ChatRequest, FakeModelServer, Replier
from tests.evals.view.screenshots import main as screenshots

QUESTIONS = 40


def questions(path: Path) -> Path:
    """Sums in words, with their answers."""
    chance = random.Random(1)
    lines = []
    for n in range(QUESTIONS):
        crates, each, left = chance.randrange(11, 90), chance.randrange(11, 90), chance.randrange(2, 11)
        text = f"A ship unloads {crates} crates of {each} jars, and {left} jars break. How many jars are whole?"
        lines.append(
            json.dumps({"id": f"jars-{n:02}", "question": text, "answers": [str(crates * each - left)]}) + "\n"
        )
    path.write_text("".join(lines), encoding="utf-8")
    return path


def captain(skill: int) -> Replier:
    """A model that sees what has to be computed in `skill` of 10 questions, and otherwise forgets the broken jars."""

    def reply(request: ChatRequest) -> str:
        said = "\n".join(str(message["content"]) for message in request.messages[1:])
        found = re.search(r"unloads (\d+) crates of (\d+) jars, and (\d+) jars", said)
        a, b, c = map(int, found.groups()) if found else (0, 0, 0)
        knows = (3 * a + b) % 10 < skill
        sum_of_it = f"{a} * {b} - {c}" if knows else f"{a} * {b}"
        match request.role:
            case "analyst":
                return "The jars in all crates are asked for, less those that break: one product, one difference."
            case "planner":
                if request.turn == 1 and (a + b) % 4 == 0:
                    return "Let me first think about what a crate is."
                return (
                    "Justification: no number of the question has been used yet.\n"
                    f"Context: {a} crates, {b} jars each, {c} broken\nSub-Goal: Compute {sum_of_it}\nTool Name: python"
                )
            case "executor":
                broken = (a * b) % 9 == 0 and "Results so far" not in said and request.turn == 1
                return f"```python\nprint({sum_of_it}{'' if broken and not knows else ')'}\n```"
            case "verifier":
                return json.dumps({"reason": "the number of jars is computed", "result": "accept", "answer": "",
                                   "missing": "nothing", "next": "stop"})  # fmt: skip
            case _:
                results = re.findall(r"Result: (\d+)", said)
                return f"Answer: {results[-1] if results else 'unknown'}"

    return reply


def evaluation(folder: Path, asked: Path, skill: int) -> Path:
    """An evaluation of the real graph."""
    with FakeModelServer(captain(skill), latency=0.05) as server:
        words = ["run", "own", "--data", str(asked), "--out", str(folder), "--model", server.spec, "--no-progress"]
        if evals([*words, "--tools", "python", "--concurrency", "4", "--max-turns", "4"]):
            raise SystemExit(2)
    return folder


def training(folder: Path) -> Path:
    """A training of a tiny model that learns which of two tools is the right one."""
    from tests.training.support.toy import toy_config, toy_policy
    from training.flow_grpo.launch import train

    policy = toy_policy(folder / "policy")
    held_out = folder / "heldout.jsonl"
    lines = [{"id": f"h{n}", "question": f"Number {n}", "answers": ["shout"]} for n in range(100, 150)]
    held_out.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    config = toy_config(
        folder, policy, steps=15, lora_rank=0, learning_rate=5e-3, tasks_per_step=8, group_size=8,
        validation=str(held_out), validation_every=3, validation_temperature=1.0,
    )  # fmt: skip
    train(config)
    return Path(config.out).rename(folder / "planner")


def main(argv: Sequence[str] | None = None) -> int:
    """Make the runs and take the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.evals.view.pictures")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--runs", type=Path, help="where the runs are kept and found again (default: nowhere)")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.runs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        asked = questions(folder / "jars.jsonl")
        runs = [
            evaluation(folder / "before", asked, 5),
            evaluation(folder / "after", asked, 8),
            folder / "planner" if (folder / "planner").is_dir() else training(folder),
        ]
        places = {
            "view-run": "#/run?set=0&run=jars-03/0",
            "view-runs": "#/set?set=0",
            "view-training": "#/training?set=2",
        }
        at = [word for name, place in places.items() for word in ("--at", f"{name}={place}")]
        return screenshots([*map(str, runs), "--out", str(given.out), *at])


if __name__ == "__main__":
    sys.exit(main())
