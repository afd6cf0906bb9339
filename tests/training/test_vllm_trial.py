"""What the check against a real vLLM concludes from a run; the run itself needs vLLM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from graph.errors import ModelUnavailable
from tests.training.support.toy import toy_config
from training.flow_grpo.launch import train
from training.vllm_trial import LARGEST_GAP, STEPS, verdict

torch.set_num_threads(1)


def test_a_sound_run_is_told_from_one_that_drew_from_another_policy(tmp_path: Path, policy_folder: Path) -> None:
    held_out = tmp_path / "heldout.jsonl"
    lines = [{"id": f"v{n}", "question": f"Number {n + 50}", "answers": ["shout"]} for n in range(6)]
    held_out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = {"steps": STEPS, "validation": str(held_out), "validation_every": STEPS, "learning_rate": 2e-2}
    train(toy_config(tmp_path, policy_folder, **settings))
    run = tmp_path / "run"
    assert len(verdict(run)) == 4 + STEPS

    whole = (run / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in whole.splitlines()]
    step = next(line for line in lines if "loss" in line)
    for name, wrong, said in (
        ("logprob_gap", 2 * LARGEST_GAP, "server and trainer differ by 2.0e-03"),
        ("engine/prompt_tokens_saved", 0.0, "the prefix cache saved nothing"),
    ):
        made = [{**line, name: wrong} if line is step else line for line in lines]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in made))
        with pytest.raises(ModelUnavailable, match=said):
            verdict(run)
    (run / "metrics.jsonl").write_text(whole)

    [file] = (run / "rollouts").glob("*1*.jsonl")
    file.write_text(file.read_text().replace('"policy_version": 1', '"policy_version": 0'))
    with pytest.raises(ModelUnavailable, match=r"turns by \(step, version\) are \[\(0, 0\), \(1, 0\)"):
        verdict(run)
