"""Model specs: what each form means, and what a wrong one is answered with. No test here opens a connection."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from graph.errors import ConfigError, ModelUnavailable
from graph.models.embedded import EmbeddedChat
from graph.models.openai_compatible import OpenAICompatibleChat
from graph.models.spec import cheapest_first, make_model, preflight

KEYS = ("AGENTFLOW_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OLLAMA_HOST")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


def compatible(spec: str) -> OpenAICompatibleChat:
    model = make_model(spec)
    assert type(model) is OpenAICompatibleChat
    return model


@pytest.mark.parametrize(
    ("spec", "model", "url"),
    [
        ("vllm:Qwen/Qwen2.5-7B@http://gpu:8000/v1", "Qwen/Qwen2.5-7B", "http://gpu:8000/v1"),
        ("openai-compatible:m@https://host/v1/", "m", "https://host/v1"),
        ("qwen2.5:0.5b@http://127.0.0.1:11434/v1", "qwen2.5:0.5b", "http://127.0.0.1:11434/v1"),
        (" http://host:8000/v1 ", "", "http://host:8000/v1"),
        ("m@http://user:pw@host/v1", "m", "http://user:pw@host/v1"),
        ("ollama:qwen2.5:7b", "qwen2.5:7b", "http://127.0.0.1:11434/v1"),
        ("ollama:m@http://other:1/v1", "m", "http://other:1/v1"),
    ],
)
def test_a_spec_with_an_address(spec: str, model: str, url: str) -> None:
    made = compatible(spec)
    assert (made.model, made.base_url, made.api_key) == (model, url, None)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("box:1234", "http://box:1234/v1"),
        (":1234", "http://127.0.0.1:1234/v1"),
        ("https://box/", "https://box:443/v1"),
    ],
)
def test_ollama_host_in_all_its_forms(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert compatible("ollama:m").base_url == url


def test_only_agentflows_own_key_goes_to_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai-only")
    assert compatible("m@http://host/v1").api_key is None
    monkeypatch.setenv("AGENTFLOW_API_KEY", "for-this-host")
    assert compatible("m@http://host/v1").api_key == SecretStr("for-this-host")
    assert compatible("ollama:m").api_key is None


@pytest.mark.parametrize(
    ("spec", "model", "adapter"),
    [
        ("embedded+./planner.gguf", "1.5b", "planner.gguf"),
        ("embedded+planner.gguf", "1.5b", "planner.gguf"),
        ("embedded:0.5b+runs/a+b/planner.GGUF", "0.5b", "runs/a+b/planner.GGUF"),
        ("embedded:Owner/Repo-GGUF:Q8_0+./p.gguf", "Owner/Repo-GGUF:Q8_0", "p.gguf"),
        ("embedded:./base.gguf+./p.gguf", "base.gguf", "p.gguf"),
        ("./base.gguf+p.gguf", "base.gguf", "p.gguf"),
        ("./a+b/base.gguf", "a+b/base.gguf", ""),
    ],
)
def test_an_adapter_stands_behind_its_base(
    spec: str, model: str, adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+b").mkdir()
    (tmp_path / "a+b" / "base.gguf").touch()
    made = make_model(spec)
    assert isinstance(made, EmbeddedChat)
    assert made.model in (model, str(tmp_path / model))
    assert made.adapter == (str(tmp_path / adapter) if adapter else "")


@pytest.mark.parametrize("spec", ["m@http://host/v1+./p.gguf", "openai:gpt-4o+p.gguf", "ollama:m+p.gguf"])
def test_an_adapter_beside_another_model_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="beside a model that is not embedded; write `embedded"):
        make_model(spec)


@pytest.mark.parametrize(
    ("spec", "model"), [("embedded", "1.5b"), ("embedded:0.5b", "0.5b"), ("embedded:1.5B", "1.5b")]
)
def test_embedded_specs(spec: str, model: str) -> None:
    made = make_model(spec)
    assert isinstance(made, EmbeddedChat)
    assert made.model == model


@pytest.mark.parametrize("spec", ["./planner", "runs/town/export", "own.gguf", "embedded:./planner"])
def test_a_path_is_an_embedded_model(spec: str) -> None:
    made = make_model(spec)
    assert isinstance(made, EmbeddedChat)
    assert made.model == str(Path(spec.removeprefix("embedded:")).absolute())


def test_an_embedded_file_is_looked_for_only_when_it_is_used(tmp_path: Path) -> None:
    made = make_model(f"embedded:{tmp_path / 'own.gguf'}")
    with pytest.raises(ConfigError, match=r"no model file .*own\.gguf"):
        made.invoke("q")


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "gpt",
        "vllm:model",
        "embedded:7b",
        "m@http://",
        "http:/host",
        "ollama:",
        "two words",
        "m@host/v1",
    ],
)
def test_a_malformed_spec_is_answered_with_the_valid_forms(spec: str) -> None:
    with pytest.raises(ConfigError, match="`embedded:0\\.5b`"):
        make_model(spec)


def test_a_provider_without_its_key_or_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY"):
        make_model("openai:gpt-4o-mini")
    monkeypatch.setitem(sys.modules, "langchain_anthropic", None)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    with pytest.raises(ConfigError, match="pip install langchain-anthropic"):
        make_model("anthropic:claude")
    with pytest.raises(ConfigError, match="no-such-provider"):
        make_model("no-such-provider:model")


def test_a_provider_gets_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def record(model: str, **settings: Any) -> BaseChatModel:
        given.update(settings, model=model)
        return OpenAICompatibleChat(model=model, base_url="http://unused/v1")

    monkeypatch.setattr("langchain.chat_models.init_chat_model", record)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    make_model("openai:gpt-4o-mini", temperature=0.25, timeout=7)
    assert given == {"model": "gpt-4o-mini", "model_provider": "openai", "temperature": 0.25, "timeout": 7}


def test_equal_arguments_share_a_model_and_different_settings_do_not() -> None:
    spec = "m@http://host/v1"
    assert make_model(spec, temperature=0.5) is make_model(spec, temperature=0.5)
    assert make_model(spec, temperature=0.5) is not make_model(spec, temperature=0.0)


def test_a_model_that_takes_long_to_load_is_checked_last() -> None:
    specs = ["embedded", "embedded:o/r", "/no/such.gguf", "m@http://host/v1"]
    models = {spec: make_model(spec) for spec in specs}
    assert cheapest_first(models.values()) == [models[spec] for spec in [specs[3], specs[2], specs[0], specs[1]]]


async def test_preflight_says_that_nobody_is_there() -> None:
    # Port 9 (discard) of the loopback interface: nothing listens there.
    with pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1:9"):
        await preflight(make_model("m@http://127.0.0.1:9/v1", timeout=3))


def test_importing_specs_imports_nothing_heavy() -> None:
    script = (
        "import sys, graph.models.spec; "
        "print([name for name in ('httpx', 'aiohttp', 'langchain', 'xllamacpp', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
