"""The supervised baseline: what is learned from, that it is learned to the token, that it resumes and can be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from graph.errors import DataError
from tests.training.support.sample_rollouts import rollout, task
from tests.training.support.tiny_model import tiny_tokenizer
from tests.training.support.toy import opening
from training.export.write import export
from training.models.policy import load_trained
from training.rollouts.chat_tokens import ChatTokens
from training.rollouts.records import PlannerTurn, Rollout
from training.rollouts.store import RolloutStore, read_rollouts
from training.run import checkpoints
from training.run.metrics import read_metrics
from training.sft.__main__ import main
from training.sft.config import SFTSettings
from training.sft.examples import Examples, examples

torch.set_num_threads(1)


def settings(tmp_path: Path, **values: object) -> SFTSettings:
    given = {"model": "m", "out": str(tmp_path / "sft"), "rollouts": "r"}
    return SFTSettings(**{**given, **values})  # type: ignore[arg-type]


def made(rollouts: list[Rollout], chosen: SFTSettings) -> Examples:
    return examples(iter(rollouts), chosen)


def test_only_the_planners_own_tokens_carry_loss(tmp_path: Path) -> None:
    two_turns = rollout([([1, 2], [3, 4]), ([1, 2, 3, 4, 5], [6])])
    [row] = made([two_turns], settings(tmp_path)).rows
    assert row == {"input_ids": [1, 2, 3, 4, 5, 6], "labels": [-100, -100, 3, 4, -100, 6]}
    verdicts = [{"verdict": {"accepted": False}}, {"verdict": {"accepted": True}}]
    [row] = made([replace(two_turns, memory=verdicts)], settings(tmp_path, accepted_only=True)).rows
    assert row["labels"] == [-100, -100, -100, -100, -100, 6]


def test_successes_are_chosen_and_equal_ones_learned_once(tmp_path: Path) -> None:
    turns, others = [([1, 2], [3])], [([1, 2], [4])]
    failed = Rollout("0/t/9", task(), 0, 9, 0, failure={"kind": "unavailable", "message": "."})
    found = [rollout(turns), rollout(turns, index=1), rollout(turns, name="u"), rollout(others, 0.5, index=2), failed]
    chosen = made(found, settings(tmp_path))
    assert (len(chosen.rows), chosen.successes, chosen.rollouts, chosen.duplicates) == (2, 3, 5, 1)
    assert len(made(found, settings(tmp_path, dedupe=False)).rows) == 3
    assert len(made(found, settings(tmp_path, min_reward=0.5)).rows) == 3
    one = made(found, settings(tmp_path, min_reward=0.5, per_task=1))
    assert ([row["input_ids"] for row in one.rows], one.enough) == ([[1, 2, 3], [1, 2, 3]], 1)
    with pytest.raises(DataError, match="lower min_reward"):
        made(found, settings(tmp_path, min_reward=2.0))
    with pytest.raises(DataError, match="3 transcripts are longer"):
        made(found, settings(tmp_path, max_length=2))


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
             "micro_batch": 8, "learning_rate": 1e-3, "lora_rank": 8, "save_every": 2}  # fmt: skip
    return [*(f"--{name}={value}" for name, value in given.items()), *words]


def test_it_learns_what_succeeded_and_resumes_to_the_same_end(
    stored: Path, policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sft"
    assert main(command(stored, policy_folder, out)) == 0
    assert "32 transcripts of 32 successes in 64 rollouts" in capsys.readouterr().err
    assert [path.name for path in checkpoints.checkpoints(out)] == ["checkpoint-2", "checkpoint-4"]
    losses = [line["loss"] for line in read_metrics(out / "metrics.jsonl")]
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
    assert "--direct-arguments --tools python" in card
    assert "successful rollouts (supervised), checkpoint 4" in card


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
        (["--batch_size", "12"], "multiple of micro_batch"),
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
