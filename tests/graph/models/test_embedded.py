"""The embedded model: settings without it, and the real 0.5B model where its file can be had."""

from __future__ import annotations

import asyncio
import json
import platform
import subprocess
import sys
import threading
import time
from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import pytest
from langchain_core.messages import AIMessage

from graph.errors import AgentFlowError, ConfigError
from graph.models.download import MODEL_FILES, fetch
from graph.models.embedded import EmbeddedChat
from graph.models.embedded_server import _parameters
from graph.models.server import post_json
from graph.models.server_settings import ServerSettings

WORDS = ["alpha", "river", "stone", "window", "table", "light", "green", "seven", "north", "quiet", "paper"]


@pytest.fixture(scope="module")
def small_model() -> EmbeddedChat:
    pytest.importorskip("xllamacpp", reason="the extra `embedded` is not installed")
    try:
        fetch(MODEL_FILES["0.5b"])
    except AgentFlowError as error:
        pytest.skip(f"the 0.5B model cannot be obtained: {error}")
    settings = ServerSettings(slots=4, context=1024)
    return EmbeddedChat(model="0.5b", settings=settings, temperature=0.0, max_tokens=12, timeout=240)


def test_settings_come_from_the_environment_and_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTFLOW_EMBEDDED_SLOTS", "2")
    monkeypatch.setenv("AGENTFLOW_EMBEDDED_CONTEXT", "4096")
    assert ServerSettings.from_environment() == ServerSettings(slots=2, context=4096)
    assert EmbeddedChat(settings=ServerSettings(slots=8)).settings.slots == 8
    assert ServerSettings.from_environment().gpu_layers == -1
    monkeypatch.setenv("AGENTFLOW_EMBEDDED_GPU_LAYERS", "0")
    assert ServerSettings.from_environment().gpu_layers == 0
    monkeypatch.setenv("AGENTFLOW_EMBEDDED_GPU_LAYERS", "all")
    with pytest.raises(ConfigError, match="GPU_LAYERS is 'all'; it must be a whole number from 0 on"):
        ServerSettings.from_environment()
    monkeypatch.delenv("AGENTFLOW_EMBEDDED_GPU_LAYERS")
    monkeypatch.setenv("AGENTFLOW_EMBEDDED_EXACT", "1")
    monkeypatch.setenv("AGENTFLOW_EMBEDDED_REPACK", "0")
    assert EmbeddedChat().settings.exact
    assert EmbeddedChat().settings.repack is False
    monkeypatch.delenv("AGENTFLOW_EMBEDDED_REPACK")
    assert EmbeddedChat().settings.repack is None
    monkeypatch.setenv("AGENTFLOW_EMBEDDED_SLOTS", "none")
    with pytest.raises(ConfigError, match="AGENTFLOW_EMBEDDED_SLOTS is 'none'"):
        ServerSettings.from_environment()
    monkeypatch.delenv("AGENTFLOW_EMBEDDED_SLOTS")
    monkeypatch.setenv("AGENTFLOW_EMBEDDED_EXACT", "yes")
    with pytest.raises(ConfigError, match="AGENTFLOW_EMBEDDED_EXACT is 'yes'; it must be 1 or 0"):
        ServerSettings.from_environment()


@pytest.mark.parametrize(
    ("built_with", "asked_for", "repacks"),
    [("AVX2 = 1", None, True), ("AVX2 = 1 | AVX512 = 1", None, False), ("AVX512 = 1", True, True), ("", False, False)],
)
def test_weights_are_repacked_where_that_is_faster(
    built_with: str, asked_for: bool | None, repacks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    xllamacpp = pytest.importorskip("xllamacpp", reason="the extra `embedded` is not installed")
    monkeypatch.setattr(xllamacpp, "get_system_info", lambda: f"CPU : {built_with} | ")
    params = _parameters(xllamacpp, Path("model.gguf"), "model", ServerSettings(repack=asked_for))
    assert params["no_extra_bufts"] is not repacks


@pytest.mark.parametrize(("kinds", "calls"), [(("CPU", "ACCEL"), 1), (("CPU", "GPU"), 6), (("IGPU",), 6)])
def test_it_takes_several_calls_at_once_where_it_has_a_gpu(
    kinds: tuple[str, ...], calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = Enum("types", {f"GGML_BACKEND_DEVICE_TYPE_{kind}": kind for kind in kinds})
    monkeypatch.setitem(sys.modules, "xllamacpp", SimpleNamespace(get_device_info=lambda: [{"type": t} for t in types]))
    assert EmbeddedChat(settings=ServerSettings(slots=6)).calls_at_once == calls
    assert EmbeddedChat(settings=ServerSettings(slots=6, gpu_layers=0)).calls_at_once == 1


async def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="the extra `embedded` is not installed")
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(ConfigError, match=r"wrong\.gguf is not a GGUF file"):
        await EmbeddedChat(model=str(wrong)).ainvoke("q")
    wrong.write_bytes(b"GGUF" + b"\x00" * 64)
    with pytest.raises(ConfigError, match=r"cannot load .*wrong\.gguf"):
        await EmbeddedChat(model=str(wrong)).ainvoke("q")


async def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    model = EmbeddedChat(model="0.5b", settings=ServerSettings(slots=1, context=512, threads=1))
    with pytest.raises(ConfigError, match=r"pip install xllamacpp"):
        await model.ainvoke("q")


@pytest.mark.embedded
async def test_it_answers_counts_and_streams(small_model: EmbeddedChat) -> None:
    reply = await small_model.ainvoke("What is 2+2? Reply with the number only.")
    assert "4" in str(reply.content)
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["input_tokens"] > 20
    assert reply.response_metadata["model_name"] == "0.5b"

    chunks = [chunk async for chunk in small_model.astream("Count from 1 to 4.")]
    assert len([chunk for chunk in chunks if chunk.content]) > 3
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) > 3


@pytest.mark.embedded
async def test_it_keeps_to_a_schema(small_model: EmbeddedChat) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["mauve", "ochre"]}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["colour", "n"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "c", "schema": schema, "strict": True}}
    reply = await small_model.ainvoke("What is the weather?", response_format=wanted, max_tokens=60)
    value = json.loads(str(reply.content))
    assert value["colour"] in ("mauve", "ochre")
    assert reply.content == json.dumps(value, separators=(",", ":")), "no tokens are spent on white space"
    wanted["json_schema"]["schema"] = {"type": "string", "pattern": "(?=no lookahead)"}
    assert (await small_model.ainvoke("What is the weather?", response_format=wanted)).content, "asked without it"


@pytest.mark.embedded
async def test_static_beginnings_are_read_once_though_roles_alternate(small_model: EmbeddedChat) -> None:
    systems = [f"You are role {role}. " + " ".join(WORDS[role:] + WORDS) * 3 for role in range(4)]

    async def read(role: int, text: str) -> tuple[int, int]:
        reply: AIMessage = await small_model.ainvoke([("system", systems[role]), ("user", text)], max_tokens=2)
        timings = reply.response_metadata["timings"]
        return timings["prompt_n"], timings["cache_n"]

    first = [await read(role, "What is a river?") for role in range(4)]
    second = [await read(role, "Name a stone, please.") for role in range(4)]
    assert min(cached for _, cached in second) > 60, (first, second)
    assert max(read for read, _ in second) < 40, (first, second)


@pytest.mark.embedded
@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="shown on x86 only")
async def test_what_is_cached_changes_no_reply(small_model: EmbeddedChat) -> None:
    """To the last bit, wherever the cached part ends, where the weights are not repacked."""
    plain = EmbeddedChat(model=small_model.model, settings=ServerSettings(slots=2, context=1024, repack=False))
    endpoint = await plain._endpoint()

    async def read(prompt: str, *, cached: bool) -> tuple[int, list[tuple[int, float]]]:
        body = {"prompt": prompt, "max_tokens": 8, "temperature": 0, "logprobs": 1, "cache_prompt": cached}
        reply = await post_json(endpoint, "/completions", body)
        drawn = reply["choices"][0]["logprobs"]["content"]
        return reply["timings"]["cache_n"], [(token["id"], token["logprob"]) for token in drawn]

    for length in range(40, 45):
        beginning = " ".join((WORDS * 4)[:length])
        for end in ("of the river? Seven. And", "of the stone, the window and the table? North. And"):
            question = f"{beginning}. What is the colour {end}"
            _, alone = await read(question, cached=False)
            await read(f"{beginning}. How many are there, and who counts them? I", cached=True)
            reused, again = await read(question, cached=True)
            assert reused >= length
            assert again == alone


@pytest.mark.embedded
async def test_in_exact_mode_neither_repetition_nor_company_changes_a_reply(small_model: EmbeddedChat) -> None:
    settings = ServerSettings(context=1024, exact=True)
    exact = EmbeddedChat(model=small_model.model, settings=settings, temperature=0.0, max_tokens=24, timeout=240)
    question = "Name three rivers of Europe, and the sea that each of them flows into."

    async def read(text: str) -> tuple[str, int]:
        reply: AIMessage = await exact.ainvoke(text, logprobs=True)
        return json.dumps(reply.additional_kwargs["tokens"]["logprobs"]), reply.response_metadata["timings"]["cache_n"]

    first = await read(question)
    again, *_ = await asyncio.gather(read(question), read("Name three mountains."), read(question[:30]))
    assert first == again
    assert first[1] == 0


@pytest.mark.embedded
def test_threads_and_loops_share_one_server_and_requests_run_together(small_model: EmbeddedChat) -> None:
    answers: list[str] = []

    def ask(model: EmbeddedChat) -> None:
        answers.append(str(model.invoke("Say yes.").content))

    models = [small_model, small_model.model_copy(), small_model.model_copy(), small_model.model_copy()]
    threads = [threading.Thread(target=ask, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
    assert len(answers) == 4
    addresses = {asyncio.run(model._endpoint()).base_url for model in models}
    assert len(addresses) == 1


@pytest.mark.embedded
def test_exit_is_quick_and_quiet_even_with_a_reply_in_the_making(small_model: EmbeddedChat) -> None:
    script = """
import contextlib, threading, time
from graph.models.embedded import EmbeddedChat
from graph.models.embedded_server import _parameters
from graph.models.server_settings import ServerSettings
model = EmbeddedChat(model="0.5b", settings=ServerSettings(slots=1, context=2048), timeout=200)
model.invoke("Say yes.", max_tokens=2)
def wait():
    with contextlib.suppress(BaseException):
        model.invoke("Count to ten thousand.")
threading.Thread(target=wait, daemon=True).start()
time.sleep(0.5)
print(time.time())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    took = time.time() - float(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert took < 20
