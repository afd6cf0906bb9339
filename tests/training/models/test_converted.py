"""A GGUF file is dequantised once: the second load reads the copy, which holds the same weights and tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from graph.models.download import cache_directory
from tests.training.support.tiny_gguf import tiny_gguf, tiny_llama
from training.export.gguf import write_gguf
from training.models import converted, policy
from training.models.policy import hub_folder, load_policy

PROMPT = "Who is the mayor of Vienna?<|im_end|>"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "cache"))
    return quantised(tmp_path / "a.gguf", seed=1)


def quantised(path: Path, seed: int) -> Path:
    model = tiny_llama(seed)
    base = tiny_gguf(model, "llama", path.with_suffix(".base.gguf"))
    write_gguf(model, base, path, "Q8_0")
    return path


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What models are loaded from, in order."""
    loaded: list[str] = []
    load = policy._from_pretrained

    def spy(spec: str, dtype: str) -> PreTrainedModel:
        loaded.append(spec)
        return load(spec, dtype)

    monkeypatch.setattr(policy, "_from_pretrained", spy)
    return loaded


def test_the_second_load_dequantises_nothing_and_gives_the_same_model(file: Path, places: list[str]) -> None:
    first, tokenizer = load_policy(str(file), "bfloat16")
    second, same_tokenizer = load_policy(str(file), "bfloat16")
    assert places[0] == str(file)
    assert Path(places[1]).is_relative_to(cache_directory())
    assert not list(Path(places[1]).glob("*.gguf"))
    assert type(second) is type(first)
    theirs = second.state_dict()
    for name, weight in first.state_dict().items():
        assert weight.dtype == theirs[name].dtype == torch.bfloat16
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=0)
    assert same_tokenizer.encode(PROMPT) == tokenizer.encode(PROMPT)
    assert same_tokenizer.chat_template == tokenizer.chat_template
    assert same_tokenizer.eos_token_id == tokenizer.eos_token_id
    assert second.generation_config.eos_token_id == first.generation_config.eos_token_id
    load_policy(str(file), "float32")  # of another type: a copy of its own
    assert places[2] == str(file)


def test_another_file_under_the_same_name_is_dequantised_anew(file: Path, places: list[str]) -> None:
    before, _ = load_policy(str(file), "float32")
    quantised(file, seed=2)
    after, _ = load_policy(str(file), "float32")
    assert places == [str(file), str(file)]
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)


def test_a_conversion_that_was_cut_off_leaves_no_copy(
    file: Path, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(converted, "put", _full)
        load_policy(str(file), "float32")
    assert [path.suffix for path in (cache_directory() / "dequantised").iterdir()] == [".lock"]
    load_policy(str(file), "float32")
    assert places == [str(file), str(file)]


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_where_the_cache_cannot_be_written_the_file_is_loaded_all_the_same(
    file: Path, tmp_path: Path, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    monkeypatch.setenv("AGENTFLOW_CACHE", str(blocked))
    load_policy(str(file), "float32")
    assert places == [str(file)]


def test_the_cache_is_bounded_and_drops_what_was_used_longest_ago(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converted, "KEPT", 2)
    others = [quantised(tmp_path / f"{seed}.gguf", seed) for seed in (2, 3)]
    first = hub_folder(str(file), "float32")
    second = hub_folder(str(others[0]), "float32")
    assert hub_folder(str(file), "float32") == first  # used again
    third = hub_folder(str(others[1]), "float32")
    kept = {str(path) for path in (cache_directory() / "dequantised").iterdir() if path.is_dir()}
    assert kept == {first, third}
    assert second not in kept


def test_other_models_keep_their_names() -> None:
    assert hub_folder("Qwen/Qwen2.5-0.5B-Instruct") == "Qwen/Qwen2.5-0.5B-Instruct"
