"""Chat templates of other models' GGUF files, rendered by llama.cpp around prompts as the graph writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from graph.models.embedded import EmbeddedChat
from graph.models.embedded_server import served, stop_servers
from graph.models.server import Endpoint, post_json
from graph.models.server_settings import ServerSettings

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
OWN = {
    "smollm2": "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif %}" + CHATML,
    "thinks at once": CHATML.replace("assistant\\n' }}", "assistant\\n<think>\\n' }}"),
    "no system message": "{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
}
"""Minimal templates of documented shapes; those of the other families come with the package trl."""
FROM_TRL = ["qwen3", "qwen3_instruct_2507", "llama3", "llama3_1", "llama3_2", "gemma", "gemma3", "phi3", "phi3_5"]

SYSTEM = " ".join(f"Rule {number}: count the ships." for number in range(9))
CHAT = [("system", SYSTEM), ("user", "How many?"), ("assistant", "Seven, I think."), ("user", "Count again!")]
SETTINGS = ServerSettings(slots=1, context=2048, threads=1)


def template(name: str) -> str:
    if name in OWN:
        return OWN[name]
    trl = pytest.importorskip("trl", reason="the extra `train` is not installed")
    path = Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja"
    if not path.is_file():
        pytest.skip(f"this version of trl has no template {name}")
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def _stopped_servers() -> Iterator[None]:
    yield
    stop_servers()


@pytest.mark.parametrize("name", [*OWN, *FROM_TRL])
async def test_a_chat_is_rendered_whole_and_its_beginning_is_kept(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    pytest.importorskip("xllamacpp", reason="the extra `embedded` is not installed")
    from tests.training.support.tiny_gguf import tiny_gguf
    from tests.training.support.tiny_model import tiny_model

    monkeypatch.setenv("AGENTFLOW_CACHE", str(tmp_path / "cache"))
    path = tiny_gguf(tiny_model(), "qwen2", tmp_path / "model.gguf", template(name))
    model = EmbeddedChat(model=str(path), settings=SETTINGS, temperature=0.0, max_tokens=2)
    await model.ainvoke(CHAT)
    first = await model.ainvoke([CHAT[0], ("user", "Something else?")])
    assert first.response_metadata["timings"]["cache_n"] > len(SYSTEM) // 8

    root = (await served(str(path), SETTINGS)).root
    messages = [{"role": role, "content": text} for role, text in CHAT]
    prompt = str((await post_json(Endpoint(root), "/apply-template", {"messages": messages}))["prompt"])
    places = [prompt.find(text) for _, text in CHAT]
    assert places == sorted(places)
    assert min(places) >= 0
    assert all(prompt.count(text) == 1 for _, text in CHAT)
