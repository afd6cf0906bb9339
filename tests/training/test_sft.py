"""The supervised baseline: what is learned from, that it is learned to the token, that it resumes and can be used."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graph.errors import ConfigError, DataError
from tests.training.support.sample_rollouts import rollout, task
from tests.training.support.sample_rows import forests
from tests.training.support.tiny_model import tiny_tokenizer
from tests.training.support.toy import opening
from training import summary
from training.export.write import export
from training.models.policy import load_trained
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.records import PlannerTurn, Rollout
from training.rollouts.store import RolloutStore, read_rollouts
from training.run import checkpoints
from training.run.metrics import read_metrics
from training.sft.__main__ import main
from training.sft.config import SFTSettings
from training.sft.examples import Examples, examples, updates
from training.update.gradient import accumulate_likelihood
from training.update.logprobs import attach_scoring
from training.update.packing import pack, pad
from training.update.rows import Row

torch.set_num_threads(1)


def settings(tmp_path: Path, **values: object) -> SFTSettings:
    given = {"model": "m", "out": str(tmp_path / "sft"), "rollouts": "r"}
    return SFTSettings(**{**given, **values})  # type: ignore[arg-type]


def made(rollouts: list[Rollout], chosen: SFTSettings) -> Examples:
    return examples(iter(rollouts), chosen)


def test_only_the_planners_own_tokens_carry_loss(tmp_path: Path) -> None:
    two_turns = rollout([([1, 2], [3, 4]), ([1, 2, 3, 4, 5], [6])])
    [row] = made([two_turns], settings(tmp_path)).rows
    assert row.input_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert row.input_ids[row.terms.positions].tolist() == [3, 4, 6]
    verdicts = [{"verdict": {"accepted": False}}, {"verdict": {"accepted": True}}]
    [row] = made([replace(two_turns, memory=verdicts)], settings(tmp_path, accepted_only=True)).rows
    assert row.input_ids[row.terms.positions].tolist() == [6]


def test_successes_are_chosen_and_equal_ones_learned_once(tmp_path: Path) -> None:
    turns, others = [([1, 2], [3])], [([1, 2], [4])]
    failed = Rollout("0/t/9", task(), 0, 9, 0, failure={"kind": "unavailable", "message": "."})
    found = [rollout(turns), rollout(turns, index=1), rollout(turns, name="u"), rollout(others, 0.5, index=2), failed]
    chosen = made(found, settings(tmp_path))
    assert (len(chosen.rows), chosen.successes, chosen.rollouts, chosen.duplicates) == (2, 3, 5, 1)
    assert len(made(found, settings(tmp_path, dedupe=False)).rows) == 3
    assert len(made(found, settings(tmp_path, min_reward=0.5)).rows) == 3
    one = made(found, settings(tmp_path, min_reward=0.5, per_task=1))
    assert ([row.input_ids.tolist() for row in one.rows], one.enough) == ([[1, 2, 3], [1, 2, 3]], 1)
    with pytest.raises(DataError, match="lower min_reward"):
        made(found, settings(tmp_path, min_reward=2.0))
    with pytest.raises(DataError, match="3 transcripts are longer"):
        made(found, settings(tmp_path, max_length=2))


@given(forests(), st.integers(1, 5), st.integers(1, 40), st.sampled_from([0.3, 1.0, 2.5]))
def test_updates_are_passes_over_all_transcripts_or_end_with_the_tokens_asked_for(
    rows: list[Row], size: int, most: int, epochs: float
) -> None:
    by_passes = updates(rows, SFTSettings(model="m", out="o", rollouts="r", batch_size=size, epochs=epochs))
    a_pass = -(-len(rows) // size)
    assert len(by_passes) == math.ceil(epochs * a_pass)
    for first in range(0, len(by_passes) - a_pass + 1, a_pass):
        assert sorted(chain(*by_passes[first : first + a_pass])) == list(range(len(rows)))
    rows = [row for row in rows if len(row.terms)]
    if rows:
        chosen = SFTSettings(model="m", out="o", rollouts="r", batch_size=size, max_trained_tokens=most)
        tokens = [len(rows[place].terms) for members in updates(rows, chosen) for place in members]
        assert sum(tokens[:-1]) < most <= sum(tokens)


@pytest.mark.parametrize(
    ("values", "said"),
    [({"epochs": 1e12}, "`epochs` is 1000000000000.0, which repeats 1 transcript 1,000,000,000,000 times"),
     ({"max_trained_tokens": 2**32 - 1}, "`max_trained_tokens` is 4294967295, which repeats")],
)  # fmt: skip
def test_more_passes_than_can_be_listed_are_refused(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    chosen = settings(tmp_path, **values)
    with pytest.raises(ConfigError, match=said):
        updates(made([rollout([([1, 2], [3])])], chosen).rows, chosen)


def test_the_packed_gradient_is_that_of_each_transcript_by_itself(policy_folder: Path, stored: Path) -> None:
    """Against transformers' own loss over labels, transcript by transcript."""
    given = SFTSettings(model=str(policy_folder), out="o", rollouts=str(stored), batch_size=6, token_budget=200)
    rows = examples(read_rollouts(stored), given).rows[:6]
    terms = sum(len(row.terms) for row in rows)
    rows = [replace(row, terms=replace(row.terms, weights=np.full(len(row.terms), 1 / terms))) for row in rows]
    gradients, losses = [], []
    for way in (pack, pad, None):
        model, _ = load_trained(str(policy_folder), None, "float32")
        if way is None:
            loss = sum(whole_loss(model, row) for row in rows) / terms
            loss.backward()
        else:
            attach_scoring(model)
            batches = way(rows, 200)
            loss = accumulate_likelihood(model, batches, torch.Tensor.backward, sync=lambda _: nullcontext())
            assert len(batches) > 1
        losses.append(float(torch.as_tensor(loss).detach()))
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert losses == pytest.approx([losses[2]] * 3, rel=1e-5)
    for gradient in gradients[:2]:
        assert (gradient - gradients[2]).norm() <= 1e-5 * gradients[2].norm()


def whole_loss(model: Any, row: Row) -> torch.Tensor:
    """The sum over a transcript's tokens with loss, as transformers computes it from labels."""
    labels = torch.full((1, len(row)), -100)
    labels[0, row.terms.positions.tolist()] = torch.tensor(row.input_ids[row.terms.positions].tolist())
    loss: torch.Tensor = model(input_ids=torch.tensor(row.input_ids.tolist())[None], labels=labels).loss
    return loss * len(row.terms)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's rollouts: choosing `shout` was right, `double` wrong."""
    folder = tmp_path_factory.mktemp("run")
    store, chat, tokenizer = RolloutStore(folder / "rollouts"), ChatTokens(tiny_tokenizer()), tiny_tokenizer()
    for number in range(32):
        prompt = opening(chat, f"Number {number}")
        for index, tool in enumerate(("double", "shout")):
            reply = [*tokenizer.encode(f"Tool: {tool}\nInput: x"), chat.end_of_turn]
            mark = f"0/t{number}/{index}"
            turn = PlannerTurn(mark, tuple(prompt), tuple(reply), (-1.0,) * len(reply), 0, 1.0, "stop")
            store.append(Rollout(mark, task(f"t{number}"), 0, index, 0, turns=(turn,), reward=float(index)))
    return folder


def command(stored: Path, policy: Path, out: Path, *words: str) -> list[str]:
    given = {"model": policy, "rollouts": stored, "out": out, "dtype": "float32", "epochs": 4, "batch_size": 32,
             "learning_rate": 1e-3, "lora_rank": 8, "save_every": 2}  # fmt: skip
    return [*(f"--{name}={value}" for name, value in given.items()), *words]


def test_it_learns_what_succeeded_and_resumes_to_the_same_end(
    stored: Path, policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sft"
    assert main(command(stored, policy_folder, out)) == 0
    assert "32 transcripts of 32 successes in 64 rollouts" in capsys.readouterr().err
    assert [path.name for path in checkpoints.checkpoints(out)] == ["checkpoint-2", "checkpoint-4"]
    lines = read_metrics(out / "metrics.jsonl")
    losses = [line["loss"] for line in lines]
    for line in lines:  # what all prompts begin with is computed once
        assert line["tokens/computed"] < line["tokens/rows"] / 4
    assert losses[0] == pytest.approx(negative_log_likelihood(stored, policy_folder, None), rel=1e-3)
    assert losses == sorted(losses, reverse=True)
    learned = negative_log_likelihood(stored, policy_folder, out / "checkpoint-4")
    assert learned < losses[-1]

    (out / "checkpoint-4" / checkpoints.MARKER).unlink()
    assert main(command(stored, policy_folder, out)) == 0
    lines = read_metrics(out / "metrics.jsonl")
    assert [line["update"] for line in lines] == [1, 2, 3, 4]
    assert [line["loss"] for line in lines] == pytest.approx(losses, abs=1e-5)
    assert negative_log_likelihood(stored, policy_folder, out / "checkpoint-4") == pytest.approx(learned, abs=1e-5)

    (stored / "config.yaml").write_text("direct_arguments: true\ntools: [python]\nmodel: other\n")
    assert export(out, tmp_path / "planner") is None
    card = (tmp_path / "planner" / "README.md").read_text()
    assert "--direct-arguments --analysis --tools python" in card
    assert "successful rollouts (supervised), checkpoint 4" in card


def test_it_sees_as_many_tokens_as_a_run_of_reinforcement_learning(
    stored: Path, policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sft"
    most = ["--max_trained_tokens=700", "--save_every=100", "--packing=off"]
    assert main(command(stored, policy_folder, out, *most)) == 0
    lines = read_metrics(out / "metrics.jsonl")
    trained = sum(line["tokens/trained"] for line in lines)
    longest = max(len(turn.completion_ids) for kept in read_rollouts(stored) for turn in kept.turns)
    assert 700 <= trained < 700 + longest
    assert all(line["tokens/computed"] >= line["tokens/rows"] for line in lines)
    assert summary.main([str(out)]) == 0
    assert f"{trained:,.0f} tokens with loss" in capsys.readouterr().out


def negative_log_likelihood(stored: Path, policy: Path, weights: Path | None) -> float:
    """Mean over the sampled tokens of all successful rollouts, turn by turn."""
    model, _ = load_trained(str(policy), weights, "float32")
    found = []
    for kept in read_rollouts(stored / "rollouts"):
        for turn in kept.turns if kept.reward == 1.0 else ():
            with torch.no_grad():
                logits = model(torch.tensor([turn.prompt_ids + turn.completion_ids])).logits[0]
            scores = logits[len(turn.prompt_ids) - 1 : -1].log_softmax(-1)
            found.append(scores.gather(1, torch.tensor(turn.completion_ids)[:, None]))
    return -float(torch.cat(found).mean())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rollouts", "nowhere"], "holds no rollouts"),
        (["--min_reward", "3"], "lower min_reward"),
        (["--epoch", "3"], "Did you mean --epochs?"),
        (["--epochs", "0"], "`epochs`"),
        (["--max_trained_tokens", "0"], "`max_trained_tokens`"),
        (["--model", "nowhere.gguf"], "no GGUF file"),
        (["--lora_targets", "nothing"], "does not fit"),
    ],
)
def test_mistakes_are_told(
    words: list[str],
    said: str,
    stored: Path,
    policy_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(command(stored, policy_folder, tmp_path / "sft", *words)) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ")
    assert said in told
