"""What a run has trained, as others use it: Hub folder, model card, and a GGUF file that llama.cpp runs alike."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from evals.__main__ import parser
from graph.errors import ConfigError, DataError
from graph.models.embedded import EmbeddedChat
from graph.models.server import post_json
from graph.models.server_settings import ServerSettings
from graph.models.spec import make_model
from tests.training.support.tiny_gguf import tiny_gguf, tiny_llama
from tests.training.support.tiny_model import tiny_model, tiny_tokenizer
from tests.training.support.toy import toy_config
from training.export.__main__ import main, next_steps
from training.export.card import agent_options, model_card
from training.export.gguf import KINDS, interleaved, write_gguf
from training.export.write import export, merge
from training.flow_grpo.launch import train
from training.models.policy import load_policy, load_trained

torch.set_num_threads(1)

MODELS = {"llama": tiny_llama, "qwen2": lambda: tiny_model(spread=0.3)}
PROMPT = "Number 12 is what the planner says to the other tools"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, policy_folder: Path) -> Path:
    """Two updates with an adapter."""
    folder = tmp_path_factory.mktemp("exported")
    train(toy_config(folder, policy_folder, steps=2, learning_rate=1e-2))
    return folder / "run"


def logits(model: PreTrainedModel, ids: Sequence[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([list(ids)])).logits[0].float()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arch", MODELS)
def test_llama_cpp_computes_what_the_trainer_computes(arch: str, kind: Any, tmp_path: Path) -> None:
    """Wrongly ordered query and key rows change the tokens of the llama case."""
    pytest.importorskip("xllamacpp", reason="the extra `embedded` is not installed")
    model = MODELS[arch]()
    base = tiny_gguf(model, arch, tmp_path / "base.gguf")
    write_gguf(model, base, tmp_path / "out.gguf", kind)
    ids = tiny_tokenizer().encode(PROMPT)
    lengths = range(2, len(ids), 3)
    chat = EmbeddedChat(model=str(tmp_path / "out.gguf"), settings=ServerSettings(slots=1, context=512, threads=1))

    async def told() -> list[float | None]:
        """The likeliest next token's log-probability after each prompt; none for a token that is half a character."""
        endpoint = await chat._endpoint()
        found: list[float | None] = []
        for length in lengths:
            body = {"prompt": ids[:length], "max_tokens": 1, "temperature": 0, "logprobs": 1, "cache_prompt": False}
            choice = (await post_json(endpoint, "/completions", body))["choices"][0]
            drawn = (choice.get("logprobs") or {}).get("content") or []
            found.append(drawn[0]["logprob"] if drawn else None)
        return found

    scores = logits(model, ids).log_softmax(-1)
    compared = 0
    for length, found in zip(lengths, asyncio.run(told()), strict=True):
        best = scores[length - 1]
        if found is not None:
            compared += 1
            assert found == pytest.approx(float(best.max()), abs=0.01 if kind == "F16" else 0.3)
    assert compared > len(lengths) // 2


def test_rows_are_reordered_as_transformers_undoes_it() -> None:
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    rows = np.arange(48.0).reshape(24, 2)
    processor = LlamaTensorProcessor(config={"num_attention_heads": 6, "num_key_value_heads": 3})
    for name, heads in (("blk.0.attn_q.weight", 6), ("blk.0.attn_k.weight", 3)):
        np.testing.assert_array_equal(processor.process(interleaved(rows, heads), name).weights, rows)
    assert interleaved(np.arange(8), 1).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


@pytest.mark.parametrize("arch", MODELS)
def test_transformers_reads_the_file_back_and_metadata_is_the_bases(arch: str, tmp_path: Path) -> None:
    model = MODELS[arch]()
    base = tiny_gguf(model, arch, tmp_path / "base.gguf")
    write_gguf(model, base, tmp_path / "out.gguf")
    again, _ = load_policy(str(tmp_path / "out.gguf"), "float32")
    ids = tiny_tokenizer().encode(PROMPT)
    torch.testing.assert_close(logits(again, ids), logits(model, ids), atol=0.02, rtol=0.02)
    one, two = (GGUFReader(path).fields for path in (base, tmp_path / "out.gguf"))
    assert list(one) == list(two)
    differing = [name for name in one if one[name].contents() != two[name].contents()]
    assert differing == ["general.file_type"]
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "out.gguf").tensors}
    assert kinds["blk.0.attn_norm.weight"] == "F32"
    assert kinds["blk.0.attn_q.weight"] == "F16"


def test_a_base_of_another_model_is_refused(tmp_path: Path) -> None:
    qwen = tiny_model()
    base = tiny_gguf(qwen, "qwen2", tmp_path / "base.gguf")
    cases: list[tuple[PreTrainedModel, Path, str]] = [
        (tiny_llama(), base, "not the base of this model"),
        (qwen, tmp_path / "nowhere.gguf", "There is no GGUF file"),
        (qwen, tmp_path / "text.gguf", "is not a GGUF file"),
        (qwen, tiny_gguf(qwen, "gemma", tmp_path / "gemma.gguf"), "architecture 'gemma'"),
    ]
    (tmp_path / "text.gguf").write_text("not a model, whatever its name says; and some more words")
    for model, file, words in cases:
        with pytest.raises(ConfigError, match=words):
            write_gguf(model, file, tmp_path / "out.gguf")
    with torch.no_grad():
        qwen.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    with pytest.raises(DataError, match="not finite in F16"):
        write_gguf(qwen, base, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_run_becomes_a_folder_that_others_read(
    run: Path, policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_gguf(tiny_model(), "qwen2", tmp_path / "base.gguf")
    out = tmp_path / "planner"
    assert main([str(run), "--out", str(out), "--gguf", "--base", str(base)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"exported to {out}\nserve   vllm serve {out} --served-model-name ")
    assert "python -m graph" not in shown  # an agent of one's own is not run by our graph's command
    assert (out / "planner-F16.gguf").is_file()
    ids = tiny_tokenizer().encode(PROMPT)
    trained, _ = load_trained(str(policy_folder), run / "checkpoint-2", "float32")
    untrained, _ = load_policy(str(policy_folder), "float32")
    wanted = logits(trained, ids)  # type: ignore[arg-type]
    assert (wanted - logits(untrained, ids)).abs().max() > 0.05
    weights = list(out.rglob("*.safetensors"))
    assert len(weights) == 2
    assert all(file.stat().st_mode & 0o666 == out.stat().st_mode & 0o666 for file in weights)
    merged = AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(logits(merged, ids), wanted, atol=1e-4, rtol=1e-4)
    assert AutoTokenizer.from_pretrained(out).encode(PROMPT) == ids
    alone, _ = load_trained(str(policy_folder), out / "adapter", "float32")
    torch.testing.assert_close(logits(alone, ids), wanted)  # type: ignore[arg-type]
    card = (out / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc0-1.0"
    assert "base_model" not in front  # the toy's policy is no model of the Hub
    assert "checkpoint 2" in card
    assert "mean reward of a rollout" in card
    assert str(tmp_path) not in card
    assert str(policy_folder) not in card + (out / "adapter" / "adapter_config.json").read_text()
    first, _ = load_trained(str(policy_folder), run / "checkpoint-1", "float32")
    export(run, tmp_path / "first", checkpoint=1)
    earlier = AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    torch.testing.assert_close(logits(earlier, ids), logits(first, ids), atol=1e-4, rtol=1e-4)  # type: ignore[arg-type]
    assert {path.name for path in tmp_path.iterdir()} == {"base.gguf", "planner", "first"}


def test_an_adapter_is_merged_without_rounding(run: Path, policy_folder: Path) -> None:
    model, _ = load_trained(str(policy_folder), run / "checkpoint-2", "bfloat16")
    ids = tiny_tokenizer().encode(PROMPT)
    reference, _ = load_trained(str(policy_folder), run / "checkpoint-2", "bfloat16")
    wanted = logits(reference.float(), ids)  # type: ignore[arg-type]
    torch.testing.assert_close(logits(merge(model), ids), wanted, atol=1e-4, rtol=1e-4)


def test_the_card_tells_what_is_there_and_no_more() -> None:
    settings = {"model": "Qwen/Qwen2.5-0.5B-Instruct", "tasks": "/home/me/town/train.jsonl", "tools": ["python"],
                "direct_arguments": True, "verify": "rules", "answer": "model", "analyse": False,
                "max_turns": 3}  # fmt: skip
    card = model_card("p", settings, [], update=None, files=[])
    assert "Measured" not in card
    assert "/home/me" not in card
    assert "town/train.jsonl" in card
    assert yaml.safe_load(card.split("---")[1])["base_model"] == "Qwen/Qwen2.5-0.5B-Instruct"
    assert "add it here" in card
    assert agent_options(settings) in card
    assert "# p\n\nThe planner of an AgentFlow agent: Qwen/" in card
    two = model_card("p", {**settings, "role": ["planner", "executor"]}, [], update=None, files=["p.gguf"])
    assert "--planner-model PATH --executor-model PATH" in two
    assert "The planner and executor of an AgentFlow agent" in two
    own = model_card("p", {**settings, "agent": "my_agent:make", "role": None}, [], update=None, files=[])
    assert "The policy of the agent `my_agent:make`" in own
    assert "python -m graph" not in own
    lines = [{"update": 1, "reward": 0.25}, {"update": 9, "reward": 0.5, "kl": "x"}]
    card = model_card("p", {**settings, "command": "training.sft"}, lines, update=9, files=["p.gguf"], licence="mit")
    assert "| mean reward of a rollout | 0.25 (update 1) | 0.5 (update 9) |" in card
    assert "KL" not in card
    assert "supervised" in card


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["EMPTY"], "cannot be read"),
        (["RUN", "--checkpoint", "7"], "there are 1, 2"),
        (["RUN", "--out", "RUN"], "exists already"),
        (["RUN", "--out", "NEW", "--gguf"], "of the same model with --base"),
        (["RUN", "--out", "NEW", "--gguf", "--base", "nowhere.gguf"], "There is no GGUF file"),
    ],
)
def test_mistakes_are_told(
    words: list[str], said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"RUN": str(run), "NEW": str(tmp_path / "new"), "EMPTY": str(tmp_path)}
    assert main([known.get(word, word) for word in words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


async def test_a_folder_is_a_model_if_it_holds_one_gguf_file(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `embedded` is not installed")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"holds no GGUF file: export the run .* --gguf"):
        await make_model(str(tmp_path)).ainvoke("q")
    model = tiny_model(spread=0.3)
    write_gguf(model, tiny_gguf(model, "qwen2", tmp_path / "base"), tmp_path / "planner.gguf")
    # Two embedded models in one process: each answers as itself.
    other = tmp_path / "other"
    other.mkdir()
    llama = tiny_llama()
    write_gguf(llama, tiny_gguf(llama, "llama", tmp_path / "llama"), other / "llama.gguf")
    for folder in (tmp_path, other):
        reply = await make_model(str(folder), temperature=0.0, max_tokens=4).ainvoke("Number 3")
        assert reply.response_metadata["model_name"] == str(folder)
    (tmp_path / "second.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match="contains 2 GGUF files"):
        await EmbeddedChat(model=str(tmp_path), settings=ServerSettings(slots=2, context=300)).ainvoke("q")


@pytest.mark.parametrize(("checks", "options"), [("on", ["--checks", "on"]), ("auto", []), (None, [])])
def test_a_planner_is_served_with_the_checks_that_it_was_trained_with(checks: str | None, options: list[str]) -> None:
    told = agent_options({"checks": checks} if checks else {}, "x").split()
    assert told == ["--planner-model", "x", "--analysis", "--justification", *options]


@pytest.mark.parametrize("wanted", [True, False])
def test_an_embedded_planner_is_asked_as_it_was_trained_though_its_defaults_are_others(wanted: bool) -> None:
    told = agent_options({"analyse": wanted, "justify": wanted}, "./planner.gguf").split()
    given = parser().parse_args(["run", "own", *told])
    assert (given.analysis, given.justification) == (wanted, wanted)


@pytest.mark.parametrize("in_process", [True, False])
def test_the_commands_that_follow_an_export_are_told_with_their_options(in_process: bool) -> None:
    settings = {"direct_arguments": True, "verify": "rules", "max_turns": 4}
    lines = next_steps(settings, "./planner", in_process=in_process).splitlines()
    told = dict(line.split(maxsplit=1) for line in lines)
    spec = "./planner" if in_process else "vllm:planner@http://localhost:8000/v1"
    options = f"--planner-model {spec} --direct-arguments --analysis --verify rules --max-turns 4"
    assert told["use"] == f'python -m graph "QUESTION" {options}'
    assert told["measure"] == f"python -m evals run own {options}"
    assert ("serve" in told) is not in_process
    given = parser().parse_args(told["measure"].split()[3:])
    assert (given.planner_model, given.verify, given.max_turns) == (spec, "rules", 4)
