"""An adapter alone as a GGUF file: llama.cpp computes with it what PEFT computes, beside an unchanged base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from gguf import GGUFReader
from torch import nn
from transformers import PreTrainedModel

from graph.errors import ConfigError, DataError
from graph.models.embedded import EmbeddedChat
from graph.models.server import post_json
from graph.models.server_settings import ServerSettings
from tests.training.support.tiny_gguf import tiny_adapter, tiny_gguf, tiny_llama
from tests.training.support.tiny_model import tiny_model, tiny_tokenizer
from tests.training.support.toy import toy_config
from training.export.__main__ import main
from training.export.gguf import write_gguf
from training.export.gguf_adapter import write_gguf_adapter
from training.flow_grpo.launch import train

torch.set_num_threads(1)

MODELS = {"llama": tiny_llama, "qwen2": lambda: tiny_model(spread=0.3)}
IDS = tiny_tokenizer().encode("Number 12 is what the planner says to the other tools")
LENGTHS = range(2, len(IDS), 2)
SETTINGS = ServerSettings(slots=2, context=256, threads=1)


def made(arch: str, folder: Path) -> tuple[PreTrainedModel, Path, Path]:
    """A model, its GGUF file, and the folder of an adapter."""
    model = MODELS[arch]()
    write_gguf(model, tiny_gguf(model, arch, folder / "shape.gguf"), folder / "base.gguf")
    tiny_adapter(MODELS[arch](), folder / "adapter")
    return model, folder / "base.gguf", folder / "adapter"


def best(model: nn.Module) -> list[float]:
    """The likeliest next token's log-probability after each prompt."""
    with torch.no_grad():
        scores = model(torch.tensor([IDS])).logits[0].float().log_softmax(-1)
    return [float(scores[length - 1].max()) for length in LENGTHS]


async def told(chat: EmbeddedChat) -> list[float | None]:
    """The same from the chat's server; none for a token that is half a character."""
    endpoint = await chat._endpoint()
    assert endpoint.served is not None
    values: list[float | None] = []
    for length in LENGTHS:
        body = {"prompt": IDS[:length], "max_tokens": 1, "temperature": 0, "logprobs": 1}
        body |= endpoint.served.applied(chat.adapter).fields
        choice = (await post_json(endpoint, "/completions", body))["choices"][0]
        drawn = (choice.get("logprobs") or {}).get("content") or []
        values.append(drawn[0]["logprob"] if drawn else None)
    return values


def same(values: Sequence[float | None], wanted: Sequence[float]) -> bool:
    pairs = [pair for pair in zip(values, wanted, strict=True) if pair[0] is not None]
    assert len(pairs) >= 4
    return all(value == pytest.approx(other, abs=0.01) for value, other in pairs)


@pytest.mark.parametrize("arch", MODELS)
async def test_one_server_computes_with_and_without_it(arch: str, tmp_path: Path) -> None:
    """Wrongly ordered query and key rows change the tokens of the llama case; all ask the same, of the same slots."""
    pytest.importorskip("xllamacpp", reason="the extra `embedded` is not installed")
    model, base, folder = made(arch, tmp_path)
    write_gguf_adapter(folder, base, tmp_path / "planner.gguf", name="planner")
    other = tiny_adapter(MODELS[arch](), tmp_path / "other", seed=1)
    write_gguf_adapter(tmp_path / "other", base, tmp_path / "executor.gguf", name="executor")
    adapted = tiny_adapter(MODELS[arch](), tmp_path / "again")
    plain = EmbeddedChat(model=str(base), settings=SETTINGS)
    first, second = [
        plain.model_copy(update={"adapter": str(tmp_path / f"{name}.gguf")}) for name in ("planner", "executor")
    ]
    assert not same(best(adapted), best(model))
    assert not same(best(adapted), best(other))
    for chat, wanted in [(plain, model), (first, adapted), (second, other), (plain, model), (first, adapted)] * 2:
        assert same(await told(chat), best(wanted))
    addresses = {(await chat._endpoint()).base_url for chat in (plain, first, second)}
    assert len(addresses) == 1


def test_the_file_is_small_and_says_what_it_is(tmp_path: Path) -> None:
    _, base, folder = made("qwen2", tmp_path)
    out = tmp_path / "planner.gguf"
    write_gguf_adapter(folder, base, out, name="my planner")
    reader = GGUFReader(out)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.type"] == "adapter"
    assert fields["general.architecture"] == "qwen2"
    assert fields["general.name"] == "my planner"
    assert fields["general.license"] == "cc0-1.0"
    assert fields["adapter.lora.alpha"] == 6.0
    assert len(reader.tensors) == 2 * 2 * 7  # both matrices of seven modules in two layers
    assert {tensor.tensor_type.name for tensor in reader.tensors} == {"F16"}
    assert not list(tmp_path.glob("*.tmp"))


def test_a_barely_trained_adapter_loses_no_digits(tmp_path: Path) -> None:
    """Entries of 1e-7 are below what F16 can tell from zero."""
    _, base, _ = made("qwen2", tmp_path)
    adapted = tiny_adapter(tiny_model(spread=0.3), tmp_path / "young", size=1e-7)
    write_gguf_adapter(tmp_path / "young", base, tmp_path / "out.gguf", name="young")
    matrices = {
        tensor.name: np.asarray(tensor.data, np.float64) for tensor in GGUFReader(tmp_path / "out.gguf").tensors
    }
    change = matrices["blk.1.ffn_up.weight.lora_b"] @ matrices["blk.1.ffn_up.weight.lora_a"]
    weights = {name: weight.detach().double().numpy() for name, weight in adapted.named_parameters()}
    up, down = [
        next(value for name, value in weights.items() if f"layers.1.mlp.up_proj.lora_{side}" in name) for side in "BA"
    ]
    np.testing.assert_allclose(change, up @ down, rtol=0.01, atol=2e-3 * np.abs(up @ down).max())


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"use_dora": True}, "it uses use_dora"),
        ({"modules_to_save": ["lm_head"]}, "it uses modules_to_save"),
        ({"peft_type": "IA3"}, "it is a IA3"),
    ],
)
def test_what_llama_cpp_cannot_apply_is_refused(setting: dict[str, object], said: str, tmp_path: Path) -> None:
    _, base, folder = made("qwen2", tmp_path)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | setting))
    with pytest.raises(ConfigError, match=f"{said}; export the merged model"):
        write_gguf_adapter(folder, base, tmp_path / "out.gguf", name="p")
    assert not (tmp_path / "out.gguf").exists()


def test_rank_stabilised_adapters_keep_their_scale(tmp_path: Path) -> None:
    _, base, folder = made("qwen2", tmp_path)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_rslora": True}))
    write_gguf_adapter(folder, base, tmp_path / "out.gguf", name="p")
    fields = GGUFReader(tmp_path / "out.gguf").fields
    assert fields["adapter.lora.alpha"].contents() == 12.0  # alpha / root of 4, times the rank of 4


def test_a_base_that_is_not_its_own_and_broken_weights_are_refused(tmp_path: Path) -> None:
    model, base, folder = made("qwen2", tmp_path)
    (tmp_path / "text.gguf").write_text("not a model, whatever its name says")
    cases = [
        (tmp_path / "nowhere.gguf", "There is no GGUF file"),
        (tmp_path / "text.gguf", "is not a GGUF file"),
        (tiny_gguf(model, "gemma", tmp_path / "gemma.gguf"), "architecture 'gemma'"),
    ]
    for file, said in cases:
        with pytest.raises(ConfigError, match=said):
            write_gguf_adapter(folder, file, tmp_path / "out.gguf", name="p")
    tiny_adapter(tiny_model(), tmp_path / "broken", size=float("inf"))
    with pytest.raises(DataError, match="not finite in F16"):
        write_gguf_adapter(tmp_path / "broken", base, tmp_path / "out.gguf", name="p")
    assert not (tmp_path / "out.gguf").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, policy_folder: Path) -> Path:
    """One update with an adapter."""
    folder = tmp_path_factory.mktemp("trained")
    train(toy_config(folder, policy_folder, steps=1, learning_rate=1e-2))
    return folder / "run"


def test_the_command_writes_one_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tiny_gguf(tiny_model(), "qwen2", tmp_path / "base.gguf")
    out = tmp_path / "new" / "planner.gguf"
    command = [str(run), "--gguf-adapter", "--base", str(base), "--out", str(out)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"exported to {out} (0.")
    assert shown.count("\n") == 1  # how an agent of one's own names a model is its own affair
    assert [path.name for path in out.parent.iterdir()] == ["planner.gguf"]
    assert out.read_bytes()[:4] == b"GGUF"
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err


def test_it_is_told_how_to_use_it(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a model that is known by name, and the options of a run of our graph."""
    ours = tmp_path / "run"
    shutil.copytree(run, ours)
    settings = yaml.safe_load((ours / "config.yaml").read_text())
    settings |= {"agent": None, "role": None, "verify": "rules", "direct_arguments": True}
    (ours / "config.yaml").write_text(yaml.safe_dump(settings))
    for name, spec in (
        ("qwen2.5-coder-1.5b-instruct-q4_k_m", "embedded"),
        ("other", f"embedded:{tmp_path}/other.gguf"),
    ):
        base = tiny_gguf(tiny_model(), "qwen2", tmp_path / f"{name}.gguf")
        out = tmp_path / f"{name}-planner.gguf"
        assert main([str(ours), "--gguf-adapter", "--base", str(base), "--out", str(out)]) == 0
        asked = "--direct-arguments --analysis --verify rules"
        use = f'use     python -m graph "QUESTION" --planner-model {spec}+{out} {asked}'
        assert use in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN", "--gguf-adapter", "--out", "NEW.gguf"], "name a GGUF file of the same model with --base"),
        (["RUN", "--gguf-adapter", "--out", "NEW.gguf", "--base", "nowhere.gguf"], "There is no GGUF file"),
        (["RUN", "--gguf-adapter", "--out", "NEW"], "writes a file and not a folder"),
        (["RUN", "--gguf-adapter", "--gguf"], "one after the other"),
        (["RUN", "--gguf-adapter", "--checkpoint", "7", "--base", "nowhere.gguf"], "there are 1"),
    ],
)
def test_mistakes_are_told(
    words: list[str], said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"RUN": str(run), "NEW": str(tmp_path / "new"), "NEW.gguf": str(tmp_path / "new.gguf")}
    assert main([known.get(word, word) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
