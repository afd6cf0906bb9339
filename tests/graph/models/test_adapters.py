"""An adapter beside the embedded model: real llama.cpp, a tiny model, and an adapter that changes what it says."""

from __future__ import annotations

import shutil
import struct
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph import Context, build_graph
from graph.__main__ import main
from graph.errors import ConfigError
from graph.models import openai_compatible
from graph.models.embedded import EmbeddedChat
from graph.models.embedded_server import stop_servers
from graph.models.gguf_header import read_header
from graph.models.server_settings import ServerSettings

SYSTEM = " ".join(f"Rule {number}: count the ships." for number in range(40))
PROMPT = [("system", SYSTEM), ("user", "How many ships are there in the harbour?")]


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "cache"))
    for name, value in (("SLOTS", "2"), ("CONTEXT", "4096"), ("THREADS", "1")):
        monkeypatch.setenv(f"AGENTFLOW_EMBEDDED_{name}", value)
    stop_servers()
    yield
    stop_servers()


def chat(gguf: Path, adapter: Path | None = None, **settings: Any) -> EmbeddedChat:
    server = ServerSettings(**{"slots": 2, "context": 2048, "threads": 1, **settings})
    path = str(adapter) if adapter else ""
    return EmbeddedChat(model=str(gguf), adapter=path, settings=server, temperature=0.0, max_tokens=8)


async def reply(model: EmbeddedChat) -> tuple[list[int], int]:
    """The tokens that the model says, and how many tokens of the prompt it had already read."""
    message = await model.ainvoke(PROMPT, logprobs=True)
    tokens = [entry["id"] for entry in message.additional_kwargs["tokens"]["logprobs"]]
    return tokens, message.response_metadata["timings"]["cache_n"]


async def test_replies_depend_on_the_adapter_and_not_on_who_asked_before(gguf: Path, lora: Path) -> None:
    """Without care a request continues from what another has read with another adapter."""
    alone, _ = await reply(chat(gguf, exact=True))
    adapted, _ = await reply(chat(gguf, lora, exact=True))
    assert alone != adapted
    base, planner = chat(gguf), chat(gguf, lora)
    for model, wanted in [(planner, adapted), (base, alone), (planner, adapted), (planner, adapted), (base, alone)]:
        assert (await reply(model))[0] == wanted
    assert (await base._endpoint()).base_url == (await planner._endpoint()).base_url


async def test_beginnings_are_kept_for_each_adapter(gguf: Path, lora: Path, tmp_path: Path) -> None:
    files = tmp_path / "cache" / "prefixes"
    first, second = await reply(chat(gguf)), await reply(chat(gguf, lora))
    kept = {path.name for path in files.iterdir()}
    assert len(kept) == 2
    for adapter, wanted in [(lora, second), (None, first)]:
        stop_servers()
        tokens, cached = await reply(chat(gguf, adapter))
        assert tokens == wanted[0]
        assert cached > 200
    assert {path.name for path in files.iterdir()} == kept
    stop_servers()
    renamed = lora.with_name("renamed.gguf")
    shutil.copyfile(lora, renamed)
    assert (await reply(chat(gguf, renamed)))[1] > 200, "it is known by its content"


async def test_a_server_starts_once_with_all_adapters_that_fit(gguf: Path, lora: Path, tmp_path: Path) -> None:
    base, planner, nobody = chat(gguf), chat(gguf, lora), chat(gguf, tmp_path / "nowhere.gguf")
    address = (await base._endpoint()).base_url
    assert (await planner._endpoint()).base_url == address
    with pytest.raises(ConfigError, match="There is no adapter file"):
        await nobody.check()
    assert await reply(base)


async def test_a_new_adapter_cuts_off_no_reply(gguf: Path, lora: Path) -> None:
    base = chat(gguf).model_copy(update={"max_tokens": 300})
    whole = str((await base.ainvoke(PROMPT)).text)
    pieces = []
    async for chunk in base.astream(PROMPT):
        if not pieces:
            await chat(gguf, lora).check()
        pieces.append(str(chunk.text))
    assert "".join(pieces) == whole


async def test_only_the_planner_is_computed_with_it(gguf: Path, lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole graph; its requests are looked at on their way to the server."""
    sent: list[tuple[str, object]] = []
    post = openai_compatible.post_stream

    def seen(endpoint: Any, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        sent.append((str(body["messages"][0]["content"]), body.get("lora")))
        return post(endpoint, path, body)

    monkeypatch.setattr(openai_compatible, "post_stream", seen)
    prompts = {role: f"You are the {role}." for role in ("analyst", "planner", "executor", "verifier", "generator")}
    context = Context(
        model=str(gguf), planner=f"{gguf}+{lora}", tools=("python",), analyse=True, max_turns=2, max_tokens=16,
        checks="off",
    )  # fmt: skip
    await build_graph(prompts=prompts).ainvoke({"question": "How many ships?"}, context=context)
    scales = {role: [lora for text, lora in sent if f"You are the {role}." in text] for role in prompts}
    assert scales["planner"]
    assert scales["analyst"]
    assert scales["generator"]
    for role, values in scales.items():
        for value in values:
            on = [{"id": 0, "scale": 1.0}]
            off = [{"id": 0, "scale": 0.0}]
            assert value == on if role == "planner" else value in (None, off)


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ("nowhere.gguf", "There is no adapter file"),
        ("text.gguf", "is not a GGUF file"),
        ("cut.gguf", "is cut off or damaged"),
        ("model.gguf", "is a whole model and not an adapter"),
        ("vector.gguf", "is an adapter of the kind 'control_vector'"),
        ("llama.gguf", "was made for the architecture 'llama'"),
        ("narrow.gguf", "has no counterpart there"),
        ("sibling.gguf", "the norms of its base differ"),
    ],
)
def test_an_adapter_that_does_not_fit_is_told_in_one_sentence(
    adapter: str, said: str, gguf: Path, lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.gguf").write_text("not an adapter, whatever its name says")
    (tmp_path / "cut.gguf").write_bytes(lora.read_bytes()[:200])
    shutil.copyfile(gguf, tmp_path / "model.gguf")
    _write(tmp_path / "vector.gguf", "qwen2", "control_vector")
    _write(tmp_path / "llama.gguf", "llama", "lora")
    _write(tmp_path / "narrow.gguf", "qwen2", "lora")
    _for_sibling(tmp_path)
    planner = f"embedded:{gguf}+{tmp_path / adapter}"
    assert main(["How many ships?", "--model", str(gguf), "--planner-model", planner, "--tools", "python"]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "loading the model" not in line]
    assert said in error
    assert error.startswith("error: ")


def _write(path: Path, architecture: str, kind: str) -> None:
    """An adapter file by another program."""
    import numpy as np
    from gguf import GGUFType, GGUFWriter

    writer = GGUFWriter(path, architecture)
    writer.add_type(GGUFType.ADAPTER)
    writer.add_string("adapter.type", kind)
    writer.add_float32("adapter.lora.alpha", 8.0)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((4, 48), np.float32))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", np.ones((48, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _for_sibling(folder: Path) -> None:
    """An adapter for another model of the same shape."""
    import torch

    from tests.training.support.tiny_gguf import tiny_adapter, tiny_gguf
    from tests.training.support.tiny_model import tiny_model
    from training.export.gguf import write_gguf
    from training.export.gguf_adapter import write_gguf_adapter

    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight[0] += 0.5
    write_gguf(model, tiny_gguf(model, "qwen2", folder / "shape"), folder / "its_base")
    tiny_adapter(model, folder / "its_adapter")
    write_gguf_adapter(folder / "its_adapter", folder / "its_base", folder / "sibling.gguf", name="sibling")


def test_a_header_is_read_as_the_package_reads_it(gguf: Path) -> None:
    from gguf import GGUFReader

    header, reader = read_header(gguf), GGUFReader(gguf)
    assert {
        name: tuple(map(int, tensor.shape))
        for name, tensor in zip((tensor.name for tensor in reader.tensors), reader.tensors, strict=True)
    } == {name: tensor.shape for name, tensor in header.tensors.items()}
    assert [header.data + header.tensors[tensor.name].offset for tensor in reader.tensors] == [
        int(tensor.data_offset) for tensor in reader.tensors
    ]
    assert header.number("block_count") == 2
    assert header.fields["general.name"] == "Tiny"


@given(place=st.integers(0, 1500), value=st.binary(min_size=1, max_size=12), end=st.integers(0, 1500))
def test_a_damaged_header_is_never_more_than_a_value_error(
    place: int, value: bytes, end: int, lora: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(lora.read_bytes()[:4000])
    content[place : place + len(value)] = value
    damaged = tmp_path_factory.getbasetemp() / "damaged.gguf"
    for data in (bytes(content), bytes(content[:end])):
        damaged.write_bytes(data)
        try:
            header = read_header(damaged)
        except ValueError:
            continue
        assert header.data > struct.calcsize("<4sIQQ") - 1
